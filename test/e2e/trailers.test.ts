import { once } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http2';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import { canary } from '../support/canary.ts';
import { collect, openH2, startH2 } from '../support/h2.ts';
import { openTls, readReply } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const HOST = 'api.corp.test';
type Version = 'h1' | 'h2';

interface Reply {
  readonly status: number;
  readonly reason: string | undefined;
  readonly bytes: string;
}

/** A POST whose body is complete but for its trailers, once `isUnderWay` says that the upstream has it. */
async function post(
  version: Version,
  { gate, session }: Sandbox,
  path: string,
  [name, value]: readonly [string, string],
  underWay: () => Promise<unknown>,
): Promise<Reply> {
  const body = '{"a":1}';
  if (version === 'h1') {
    const peer = await openTls(session.proxy, gate.ca, HOST);
    const head = ['Content-Type: application/json', 'Transfer-Encoding: chunked'].join('\r\n');
    await peer.send(`POST ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${head}\r\n\r\n7\r\n${body}\r\n`);
    await underWay();
    await peer.send(`0\r\n${name}: ${value}\r\n\r\n`);
    const { status, headers } = await readReply(peer);
    const reason = headers.find(([field]) => field === 'stubgate-reason')?.[1];
    return { status, reason, bytes: peer.received.toString('latin1') };
  }
  const client = await openH2(session.proxy, gate.ca, HOST);
  onTestFinished(() => client.destroy());
  const head: OutgoingHttpHeaders = { ':method': 'POST', ':path': path, ':authority': HOST };
  const stream = client.request(
    { ...head, 'content-type': 'application/json' },
    { endStream: false, waitForTrailers: true },
  );
  const replied = collect(stream);
  stream.write(body);
  await underWay();
  stream.on('wantTrailers', () => stream.sendTrailers({ [name]: value }));
  stream.end();
  const { status, headers, body: told, raw } = await replied;
  const reason = headers['stubgate-reason'] as string | undefined;
  return { status, reason, bytes: `${raw.join('\n')}${told.toString()}` };
}

interface Scene extends Sandbox {
  readonly secret: string;
  readonly stub: string;
  /** Settles when a request is under way at the upstream. */
  begun(): Promise<unknown>;
  /** What the upstream received, once its request is over; and whether that was complete. */
  over(): Promise<{ bytes: string; isComplete: boolean }>;
}

const RULES = [
  {
    name: 'json',
    hosts: [HOST],
    paths: ['/json'],
    inject: [{ credential: 'api', as: 'json', pointer: '/key' }],
  },
  { name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] },
];

async function scene(version: Version): Promise<Scene> {
  const secret = canary('key-');
  const setup = { credentials: { api: { secret, env: 'API_KEY' } }, rules: RULES };
  if (version === 'h1') {
    const upstream = closing(await startRaw({ hosts: [HOST] }));
    const box = await sandbox({ ...setup, upstreams: { [HOST]: upstream } });
    const peer = upstream.next();
    peer.catch(() => undefined);
    return {
      ...box,
      secret,
      stub: box.session.stubs['API_KEY'] ?? '',
      begun: async () => (await peer).until('{"a":1}'),
      over: async () => {
        const { bytes } = await (await peer).end();
        return { bytes: bytes.toString('latin1'), isComplete: bytes.includes('\r\n0\r\n') };
      },
    };
  }
  let begin: (value?: unknown) => void = () => undefined;
  const begun = new Promise(resolve => (begin = resolve));
  const trailers: string[] = [];
  const upstream = closing(
    await startH2({ hosts: [HOST] }, stream => {
      stream.once('data', begin);
      stream.on('trailers', (_headers, _flags, raw) => trailers.push(...raw));
    }),
  );
  const box = await sandbox({ ...setup, upstreams: { [HOST]: upstream } });
  return {
    ...box,
    secret,
    stub: box.session.stubs['API_KEY'] ?? '',
    begun: () => begun,
    over: async () => {
      const [{ stream, raw, body } = { stream: undefined, raw: [], body: '' }] = upstream.requests;
      if (stream && !stream.closed) await once(stream, 'close');
      const bytes = `${raw.join('\n')}${body.toString()}${trailers.join('\n')}`;
      return { bytes, isComplete: stream?.rstCode === 0 };
    },
  };
}

type Trailer = (stub: string, secret: string) => readonly [string, string];
const CASES: [string, Trailer, number, Reason][] = [
  ['that say nothing', () => ['x-checksum', 'abc'], 400, 'malformed_request'],
  ['that hold the stub', stub => ['x-token', stub], 403, 'stub_misplaced'],
  [
    'that hold the stub in base64',
    stub => ['x-token', Buffer.from(`u:${stub}`).toString('base64')],
    403,
    'stub_misplaced',
  ],
  ['that hold the stub as a name', stub => [stub.toLowerCase(), 'x'], 400, 'malformed_request'],
  ['that are its header', stub => ['authorization', `Bearer ${stub}`], 403, 'stub_misplaced'],
  ['that hold a real secret', (_, secret) => ['x-token', secret], 403, 'secret_in_request'],
  [
    'that hold a real secret in hex',
    (_, secret) => ['x-token', Buffer.from(secret).toString('hex')],
    403,
    'secret_in_request',
  ],
  [
    'that are a header with it',
    (_, secret) => ['authorization', `Bearer ${secret}`],
    403,
    'secret_in_request',
  ],
  ['with somebody else’s credential', () => ['authorization', 'Bearer other'], 400, 'malformed_request'],
];
const ALARMS: readonly Reason[] = ['stub_misplaced', 'secret_in_request'];

describe.each<[Version, Version]>([
  ['h1', 'h1'],
  ['h1', 'h2'],
  ['h2', 'h1'],
  ['h2', 'h2'],
])('a request from %s to %s with trailers', (client, version) => {
  test.each(CASES)('%s is cut: %s', async (_, trailer, status, code) => {
    const box = await scene(version);
    const reply = await post(client, box, '/x', trailer(box.stub, box.secret), () => box.begun());
    expect([reply.status, reply.reason]).toEqual([status, code]);
    expectClean(reply.bytes, box.secret);
    const { bytes, isComplete } = await box.over();
    expect(isComplete).toBe(false);
    expectClean(bytes, box.secret);
    expect(bytes).not.toMatch(/x-token|x-checksum|authorization/i);
    const lines = await box.gate.audit(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ verdict: 'deny', reason: code, status });
    expect(lines[0]?.stubs_seen).toBe(code === 'stub_misplaced' ? 1 : 0);
    expect(box.gate.logs.filter(({ message }) => message === 'alarm')).toHaveLength(
      ALARMS.includes(code) ? 1 : 0,
    );
  });

  test('behind a body that is read whole is refused before anything is sent', async () => {
    for (const [trailer, code] of [
      [['x-token', 'x'], 'malformed_request'],
      [['x-token', 'STUB'], 'stub_misplaced'],
    ] as const) {
      const box = await scene(version);
      const value = trailer[1].replace('STUB', box.stub);
      const reply = await post(client, box, '/json', [trailer[0], value], () => Promise.resolve());
      expect(reply.reason).toBe(code);
      expect((await box.gate.audit(1))[0]).toMatchObject({ reason: code, rule: 'json' });
    }
  });
});
