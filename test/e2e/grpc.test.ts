import { once } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { testCa } from '../support/pki.ts';
import type { Upstream } from '../support/upstream.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const HOST = 'grpc.corp.test';

/** Messages are text: no schema is needed to see what passes. */
const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/echo.Echo/${name}`,
  requestStream,
  responseStream,
  ...text,
});
const SERVICE = {
  Unary: method('Unary', false, false),
  Collect: method('Collect', true, false),
  Repeat: method('Repeat', false, true),
  Chat: method('Chat', true, true),
  Fail: method('Fail', false, false),
  Hang: method('Hang', false, true),
} satisfies grpc.ServiceDefinition;

interface GrpcUpstream extends Upstream {
  /** `authorization` of each call. */
  readonly seen: string[];
  /** Resolves when a call of Hang is cancelled. */
  readonly cancelled: Promise<void>;
}

const credentialOf = (call: { metadata: grpc.Metadata }): string =>
  String(call.metadata.get('authorization')[0]);

function withTrailer(credential: string): grpc.Metadata {
  const trailers = new grpc.Metadata();
  trailers.set('x-credential', credential);
  return trailers;
}

/** Each method gives the credential back, in messages and in trailers. */
async function startGrpc(): Promise<GrpcUpstream> {
  const seen: string[] = [];
  const { promise: cancelled, resolve: cancel } = Promise.withResolvers<void>();
  const note = (call: { metadata: grpc.Metadata }): string => {
    const credential = credentialOf(call);
    seen.push(credential);
    return credential;
  };
  const handlers: grpc.UntypedServiceImplementation = {
    Unary: (call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) => {
      const credential = note(call);
      done(null, `${call.request} with ${credential}`, withTrailer(credential));
    },
    Collect: (call: grpc.ServerReadableStream<string, string>, done: grpc.sendUnaryData<string>) => {
      const credential = note(call);
      const parts: string[] = [];
      call.on('data', (part: string) => parts.push(part));
      call.on('end', () => done(null, `${parts.join('+')} with ${credential}`, withTrailer(credential)));
    },
    Repeat: (call: grpc.ServerWritableStream<string, string>) => {
      const credential = note(call);
      for (const n of [1, 2, 3]) call.write(`${n} ${call.request} ${credential}`);
      call.end(withTrailer(credential));
    },
    Chat: (call: grpc.ServerDuplexStream<string, string>) => {
      const credential = note(call);
      call.on('data', (part: string) => call.write(`${part} ${credential}`));
      call.on('end', () => call.end(withTrailer(credential)));
    },
    Fail: (call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) => {
      const credential = note(call);
      done({ code: grpc.status.NOT_FOUND, details: `nothing for ${credential}` });
    },
    Hang: (call: grpc.ServerWritableStream<string, string>) => {
      note(call);
      call.write('one');
      call.on('cancelled', () => cancel());
    },
  };
  const server = new grpc.Server();
  server.addService(SERVICE, handlers);
  const { cert, key } = await (await testCa()).issue([HOST]);
  const credentials = grpc.ServerCredentials.createSsl(null, [
    { cert_chain: Buffer.from(cert), private_key: Buffer.from(key) },
  ]);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return {
    port,
    address: `127.0.0.1:${port}`,
    seen,
    cancelled,
    close: async () => server.forceShutdown(),
  };
}

interface Scene extends Sandbox {
  readonly secret: string;
  readonly stub: string;
  /** What stands in a message instead of the secret. */
  readonly shown: string;
  readonly upstream: GrpcUpstream;
  readonly client: grpc.Client;
  readonly metadata: grpc.Metadata;
}

async function scene(): Promise<Scene> {
  // Longer than the stub, so that a message keeps its length only if that is seen to.
  const secret = `${canary('key-')}-and-more`;
  const upstream = closing(await startGrpc());
  const box = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'grpc', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  const stub = box.session.stubs['API_KEY'] ?? '';
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${stub}`);
  return {
    ...box,
    secret,
    stub,
    shown: stub.padEnd(secret.length, '*'),
    upstream,
    client: clientOf(box),
    metadata,
  };
}

/** grpc-js reads its proxy from the environment. */
function clientOf({ session, gate }: Sandbox): grpc.Client {
  const before = process.env['grpc_proxy'];
  process.env['grpc_proxy'] = session.proxyUrl;
  try {
    const client = new grpc.Client(`${HOST}:443`, grpc.credentials.createSsl(Buffer.from(gate.ca)));
    onTestFinished(() => client.close());
    return client;
  } finally {
    if (before === undefined) delete process.env['grpc_proxy'];
    else process.env['grpc_proxy'] = before;
  }
}

interface Outcome {
  readonly messages: string[];
  readonly status: grpc.StatusObject;
}

/** All that a call brings. */
async function outcome(call: grpc.ClientReadableStream<string>): Promise<Outcome> {
  const messages: string[] = [];
  call.on('data', (message: string) => messages.push(message));
  call.on('error', () => undefined);
  const status = await new Promise<grpc.StatusObject>(resolve => call.on('status', resolve));
  return { messages, status };
}

/** A call that has one answer. */
async function single(begin: (done: grpc.requestCallback<string>) => grpc.ClientUnaryCall): Promise<Outcome> {
  const messages: string[] = [];
  const call = begin((_, value) => {
    if (value !== undefined) messages.push(value);
  });
  const status = await new Promise<grpc.StatusObject>(resolve => call.on('status', resolve));
  return { messages, status };
}

const { requestSerialize: serialize, responseDeserialize: deserialize } = text;

async function expectSwapped(box: Scene, { messages, status }: Outcome): Promise<void> {
  expect(box.upstream.seen).toEqual([`Bearer ${box.secret}`]);
  expect(status.code).toBe(grpc.status.OK);
  expect(status.metadata.get('x-credential')).toEqual([`Bearer ${box.stub}`]);
  expectClean(JSON.stringify([messages, status.metadata.getMap(), status.details]), box.secret);
  const lines = await box.gate.audit(1);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({
    rule: 'grpc',
    verdict: 'allow',
    method: 'POST',
    status: 200,
    stubs_seen: 1,
  });
}

test('unary', async () => {
  const box = await scene();
  const { client, metadata } = box;
  const answer = await single(done =>
    client.makeUnaryRequest(SERVICE.Unary.path, serialize, deserialize, 'hello', metadata, done),
  );
  expect(answer.messages).toEqual([`hello with Bearer ${box.shown}`]);
  await expectSwapped(box, answer);
});

test('client streaming', async () => {
  const box = await scene();
  const { client, metadata } = box;
  const answer = await single(done => {
    const call = client.makeClientStreamRequest(SERVICE.Collect.path, serialize, deserialize, metadata, done);
    for (const part of ['a', 'b', 'c']) call.write(part);
    call.end();
    return call;
  });
  expect(answer.messages).toEqual([`a+b+c with Bearer ${box.shown}`]);
  await expectSwapped(box, answer);
});

test('server streaming', async () => {
  const box = await scene();
  const answer = await outcome(
    box.client.makeServerStreamRequest(SERVICE.Repeat.path, serialize, deserialize, 'x', box.metadata),
  );
  expect(answer.messages).toEqual([1, 2, 3].map(n => `${n} x Bearer ${box.shown}`));
  await expectSwapped(box, answer);
});

test('bidirectional streaming: each message is answered before the next one is sent', async () => {
  const box = await scene();
  const call = box.client.makeBidiStreamRequest(SERVICE.Chat.path, serialize, deserialize, box.metadata);
  const answered = outcome(call);
  for (const part of ['a', 'b', 'c']) {
    call.write(part);
    expect(await once(call, 'data')).toEqual([`${part} Bearer ${box.shown}`]);
  }
  call.end();
  await expectSwapped(box, await answered);
});

test('an error without a message: trailers only', async () => {
  const box = await scene();
  const { client, metadata } = box;
  const { status } = await single(done =>
    client.makeUnaryRequest(SERVICE.Fail.path, serialize, deserialize, 'hello', metadata, done),
  );
  expect(status).toMatchObject({ code: grpc.status.NOT_FOUND, details: `nothing for Bearer ${box.stub}` });
  expect(box.upstream.seen).toEqual([`Bearer ${box.secret}`]);
});

test('a call that the client cancels ends upstream', async () => {
  const box = await scene();
  const call = box.client.makeServerStreamRequest(
    SERVICE.Hang.path,
    serialize,
    deserialize,
    'x',
    box.metadata,
  );
  const ended = outcome(call);
  await once(call, 'data');
  call.cancel();
  expect((await ended).status.code).toBe(grpc.status.CANCELLED);
  await box.upstream.cancelled;
  expect(await box.gate.audit(1)).toHaveLength(1);
});

test('a call that breaks upstream breaks for the client', async () => {
  const box = await scene();
  const call = box.client.makeServerStreamRequest(
    SERVICE.Hang.path,
    serialize,
    deserialize,
    'x',
    box.metadata,
  );
  const ended = outcome(call);
  await once(call, 'data');
  await box.upstream.close();
  expect((await ended).status.code).not.toBe(grpc.status.OK);
});

test('a refusal is one that the client can read', async () => {
  const box = await scene();
  const stray = new grpc.Metadata();
  stray.set('authorization', 'Bearer of-somebody-else');
  const { status } = await single(done =>
    box.client.makeUnaryRequest(SERVICE.Unary.path, serialize, deserialize, 'hello', stray, done),
  );
  expect(status.code).toBe(grpc.status.PERMISSION_DENIED);
  expect((await box.gate.audit(1))[0]).toMatchObject({ reason: 'foreign_credential', status: 403 });
  expect(box.upstream.seen).toEqual([]);
});
