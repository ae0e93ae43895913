import { once } from 'node:events';
import http2 from 'node:http2';
import { expect, onTestFinished, test } from 'vitest';
import { canary } from '../support/canary.ts';
import type { LocalGate } from '../support/gate.ts';
import { startTestGate } from '../support/gate.ts';
import { ask, collect, type H2Received, type H2Upstream, openH2, startH2 } from '../support/h2.ts';
import { request } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { closing, enter, expectClean, type Sandbox } from './scene.ts';

const HOST = 'api.corp.test';
const MB = 1024 * 1024;

type Handler = (stream: http2.ServerHttp2Stream, request: H2Received) => void;

interface Scene extends Sandbox<LocalGate> {
  readonly upstream: H2Upstream;
  readonly secret: string;
  readonly stub: string;
  readonly client: http2.ClientHttp2Session;
}

async function scene(
  handler: Handler,
  options: http2.ServerOptions = {},
  config: Record<string, unknown> = {},
): Promise<Scene> {
  const upstream = closing(await startH2({ hosts: [HOST], ...options }, handler));
  const secret = canary('key-');
  const box = await enter(
    await startTestGate({
      credentials: { api: { secret, env: 'API_KEY' } },
      rules: [
        { name: 'no', hosts: [HOST], action: 'deny', paths: ['/no'] },
        { name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] },
      ],
      upstreams: { [HOST]: upstream },
      config,
    }),
  );
  const client = await h2(box);
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '', client };
}

async function h2(
  { session, gate }: Sandbox,
  options?: http2.ClientSessionOptions,
): Promise<http2.ClientHttp2Session> {
  const client = await openH2(session.proxy, gate.ca, HOST, options);
  onTestFinished(() => client.destroy());
  return client;
}

const get = (path: string): http2.OutgoingHttpHeaders => ({ ':path': path, ':authority': HOST });
const post = (path: string): http2.OutgoingHttpHeaders => ({ ...get(path), ':method': 'POST' });

const ok: Handler = stream => {
  stream.respond({ ':status': 200 });
  stream.end('ok');
};

test('requests under way at the same time share one connection to the upstream', async () => {
  const waiting: http2.ServerHttp2Stream[] = [];
  const { client, upstream, gate } = await scene(stream => {
    waiting.push(stream);
    if (waiting.length === 20) for (const one of waiting) ok(one, {} as H2Received);
  });
  const replies = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(client, get(`/${i}`))));
  expect(replies.map(({ body }) => body.toString())).toEqual(Array(20).fill('ok'));
  expect(upstream.sessions).toHaveLength(1);
  const lines = await gate.audit(20);
  const paths = new Set(lines.map(({ path }) => path));
  expect(paths).toEqual(new Set(Array.from({ length: 20 }, (_, i) => `/${i}`)));
});

test('another session has a connection of its own', async () => {
  const { client, upstream, gate } = await scene(ok);
  await ask(client, get('/a'));
  const other = await h2({ gate, session: await gate.session(), env: {} });
  await ask(other, get('/b'));
  expect(upstream.requests.map(({ connection }) => connection)).toEqual([0, 1]);
});

test('no more streams than the upstream takes', async () => {
  const { client, upstream } = await scene(stream => void setImmediate(() => ok(stream, {} as H2Received)), {
    settings: { maxConcurrentStreams: 2 },
  });
  await ask(client, get('/first'));
  const replies = await Promise.all(Array.from({ length: 10 }, (_, i) => ask(client, get(`/${i}`))));
  expect(replies.map(({ status }) => status)).toEqual(Array(10).fill(200));
  const perConnection = Map.groupBy(upstream.requests.slice(1), ({ connection }) => connection);
  expect(perConnection.size).toBeGreaterThan(1);
});

test('after a GOAWAY the next request has a new connection', async () => {
  const { client, upstream } = await scene((stream, request) => {
    if (request.headers[':path'] === '/last') stream.session?.goaway(http2.constants.NGHTTP2_NO_ERROR);
    ok(stream, request);
  });
  expect((await ask(client, get('/last'))).body.toString()).toBe('ok');
  expect((await ask(client, get('/next'))).body.toString()).toBe('ok');
  expect(upstream.requests.map(({ connection }) => connection)).toEqual([0, 1]);
});

test('a request without a body that was not processed is sent again, one with a body is not', async () => {
  const { client, upstream } = await scene((stream, request) => {
    const isFirst = upstream.requests.length === 2 || request.headers[':method'] === 'POST';
    if (isFirst) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else ok(stream, request);
  });
  await ask(client, get('/warm'));
  expect(await ask(client, get('/again'))).toMatchObject({ status: 200 });
  expect(upstream.requests).toHaveLength(3);
  const refused = await ask(client, post('/once'), 'x');
  expect(refused.status).toBe(502);
  expect(upstream.requests).toHaveLength(4);
});

test('interim answers pass both ways, scrubbed', async () => {
  const box = await scene((stream, request) => {
    stream.additionalHeaders({ ':status': 103, link: `<${request.headers.authorization}>` });
    ok(stream, request);
  });
  const stream = box.client.request({ ...get('/'), authorization: `Bearer ${box.stub}` });
  const links: unknown[] = [];
  stream.on('headers', head => links.push(head['link']));
  const reply = await collect(stream);
  expect(reply.interim).toEqual([103]);
  expect(links).toEqual([`<Bearer ${box.stub}>`]);
  expectClean(JSON.stringify(links), box.secret);
});

test.each<[string, http2.OutgoingHttpHeaders, http2.OutgoingHttpHeaders, Record<string, unknown>]>([
  ['HEAD', { ':method': 'HEAD' }, { ':status': 200, 'content-length': '5' }, { status: 200 }],
  ['204', {}, { ':status': 204 }, { status: 204 }],
  ['304', {}, { ':status': 304, etag: '"x"' }, { status: 304 }],
  ['an empty answer', {}, { ':status': 200 }, { status: 200 }],
])('%s has no body', async (_, asked, answered, expected) => {
  const { client } = await scene(stream => stream.respond(answered, { endStream: true }));
  const reply = await ask(client, { ...get('/'), ...asked });
  expect(reply).toMatchObject({ ...expected, code: 0 });
  expect(reply.body).toHaveLength(0);
});

test('a refusal does not wait for the rest of the upload', async () => {
  const { client, upstream } = await scene(ok);
  const stream = client.request(post('/no'));
  stream.write(Buffer.alloc(40_000));
  const reply = await collect(stream);
  expect(reply).toMatchObject({ status: 403, code: 0 });
  expect(reply.headers['stubgate-reason']).toBe('rule_denies');
  expect(upstream.requests).toEqual([]);
  expect((await ask(client, get('/'))).status).toBe(200);
});

test('a client that resets its request resets it upstream', async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const { client, gate } = await scene(stream => {
    stream.respond({ ':status': 200 });
    stream.write('one');
    stream.on('close', () => resolve(stream.rstCode));
  });
  const stream = client.request(get('/'));
  stream.on('error', () => undefined);
  await once(stream, 'data');
  stream.close(http2.constants.NGHTTP2_CANCEL);
  expect(await promise).toBe(http2.constants.NGHTTP2_CANCEL);
  expect(await gate.audit(1)).toHaveLength(1);
});

test('a client that does not read one stream slows down that upstream stream, and no other', async () => {
  let sent = 0;
  const { client } = await scene((stream, request) => {
    stream.respond({ ':status': 200 });
    if (request.headers[':path'] !== '/big') return void stream.end('small');
    const more = (): void => {
      while (sent < 64 * MB) {
        sent += 65_536;
        if (!stream.write(Buffer.alloc(65_536, 'x'))) return void stream.once('drain', more);
      }
      stream.end();
    };
    more();
  });
  const big = client.request(get('/big'));
  await once(big, 'response');
  for (let i = 0; i < 20; i++) expect((await ask(client, get('/small'))).body.toString()).toBe('small');
  expect(sent).toBeLessThan(2 * MB);
  let received = 0;
  big.on('data', (chunk: Buffer) => (received += chunk.length));
  await once(big, 'end');
  expect(received).toBe(64 * MB);
});

test('an upstream that does not read slows the upload down', async () => {
  const { client, upstream } = await scene(stream => void stream.pause());
  const stream = client.request(post('/'));
  stream.on('error', () => undefined);
  let written = 0;
  const chunk = Buffer.alloc(65_536);
  const more = (): void => {
    while (written < 64 * MB) {
      written += chunk.length;
      if (!stream.write(chunk)) return void stream.once('drain', more);
    }
  };
  more();
  await expect.poll(() => upstream.requests.length, { timeout: 10_000 }).toBe(1);
  for (let i = 0; i < 50; i++) await ask(client, get('/no'));
  expect(written).toBeLessThan(2 * MB);
});

test('revocation ends the connection within a second', async () => {
  const { client, gate, session } = await scene(stream => {
    stream.respond({ ':status': 200 });
    stream.write('one');
  });
  const stream = client.request(get('/'));
  stream.on('error', () => undefined);
  await once(stream, 'data');
  const closed = once(client, 'close');
  const since = performance.now();
  await gate.revoke(session.id);
  await closed;
  expect(performance.now() - since).toBeLessThan(1000);
  expect(await gate.audit(1)).toHaveLength(1);
});

test('a gate that stops says GOAWAY and lets streams finish', async () => {
  const { promise, resolve } = Promise.withResolvers<http2.ServerHttp2Stream>();
  const { client, gate } = await scene(
    stream => {
      stream.respond({ ':status': 200 });
      stream.write('one');
      resolve(stream);
    },
    {},
    { limits: { drain: '10s' } },
  );
  const stream = client.request(get('/'));
  const reply = collect(stream);
  await once(stream, 'data');
  const goaway = once(client, 'goaway');
  const stopped = gate.stop();
  expect((await goaway)[0]).toBe(http2.constants.NGHTTP2_NO_ERROR);
  (await promise).end('two');
  expect((await reply).body.toString()).toBe('onetwo');
  await stopped;
});

test('an upstream that offers HTTP/2 and speaks nonsense is told apart from one that is down', async () => {
  const raw = closing(
    await startRaw({ hosts: [HOST], tls: { ALPNProtocols: ['h2'] } }, async peer => {
      await peer.bytes(24);
      await peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    }),
  );
  const box = await enter(
    await startTestGate({ rules: [{ name: 'api', hosts: [HOST] }], upstreams: { [HOST]: raw } }),
  );
  const reply = await ask(await h2(box), get('/'));
  expect(reply.status).toBe(502);
  expect((await box.gate.audit(1))[0]).toMatchObject({ status: 502 });
});

test('a connection without streams is closed when it was idle for long', async () => {
  const { client } = await scene(ok, {}, { limits: { idle: '1s' } });
  await ask(client, get('/'));
  const [code] = await once(client, 'goaway');
  expect(code).toBe(http2.constants.NGHTTP2_NO_ERROR);
});

test('a client that reads nothing for long is reset, and only that stream', async () => {
  const { client, gate } = await scene(
    stream => {
      stream.respond({ ':status': 200 });
      stream.end(Buffer.alloc(MB));
    },
    {},
    { limits: { body_idle: '1s' } },
  );
  const deaf = client.request(get('/big'));
  deaf.on('error', () => undefined);
  await new Promise(resolve => deaf.once('close', resolve));
  expect(deaf.rstCode).not.toBe(http2.constants.NGHTTP2_NO_ERROR);
  expect((await ask(client, get('/read'))).body).toHaveLength(MB);
  expect(await gate.audit(2)).toHaveLength(2);
});

test('an upload that stalls is answered with 408', async () => {
  const { client } = await scene(() => undefined, {}, { limits: { body_idle: '1s' } });
  const stream = client.request({ ...post('/'), 'content-length': '9' });
  stream.write('half');
  const reply = await collect(stream);
  expect(reply.status).toBe(408);
  expect(reply.headers['stubgate-reason']).toBe('request_timeout');
});

const message = (text: string, flag = 0): Buffer => {
  const prefix = Buffer.alloc(5, flag);
  prefix.writeUInt32BE(text.length, 1);
  return Buffer.concat([prefix, Buffer.from(text)]);
};

test.each([['HTTP/2'], ['HTTP/1.1']])(
  'gRPC-Web over %s: messages and trailers keep their length',
  async version => {
    const box = await scene((stream, request) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc-web+proto' });
      stream.on('end', () => {
        const sent = String(request.headers.authorization);
        stream.write(request.body);
        stream.end(
          Buffer.concat([message(`you sent ${sent}`), message(`grpc-status: 0\r\nx: ${sent}`, 0x80)]),
        );
      });
    });
    const shown = `Bearer ${box.stub.slice(0, box.secret.length).padEnd(box.secret.length, '*')}`;
    const expected = [
      message('hello'),
      message(`you sent ${shown}`),
      message(`grpc-status: 0\r\nx: ${shown}`, 0x80),
    ];
    let body: Buffer;
    if (version === 'HTTP/2') {
      const asked = { ...post('/s/m'), 'content-type': 'application/grpc-web+proto' };
      ({ body } = await ask(box.client, { ...asked, authorization: `Bearer ${box.stub}` }, message('hello')));
    } else {
      const head = `POST /s/m HTTP/1.1\r\nHost: ${HOST}\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 10\r\nAuthorization: Bearer ${box.stub}`;
      ({ body } = (await request(box.session.proxy, box.gate.ca, HOST, head, message('hello'))).reply);
    }
    expect(body).toEqual(Buffer.concat(expected));
    expect(box.upstream.requests[0]?.headers.authorization).toBe(`Bearer ${box.secret}`);
  },
);

test('a compressed gRPC message is not asked for, and ends the answer when it comes', async () => {
  const { client, upstream } = await scene(stream => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.end(message('packed', 1));
  });
  const reply = await ask(
    client,
    { ...post('/s/m'), 'grpc-accept-encoding': 'gzip', te: 'trailers' },
    message('x'),
  );
  expect(reply.status).toBe(502);
  expect(reply.headers['stubgate-reason']).toBe('undecodable_response');
  const [received] = upstream.requests;
  expect(received?.headers['grpc-accept-encoding']).toBeUndefined();
  expect(received?.headers.te).toBe('trailers');
});

test('trailers that HTTP/2 does not know break one answer, not the gate', async () => {
  const raw = closing(
    await startRaw({ hosts: [HOST] }, async peer => {
      for (;;) {
        const isBad = (await peer.head()).startsWith('GET /bad');
        const trailer = isBad ? 'http2-settings: x\r\n' : 'x-late: 1\r\n';
        await peer.send(
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${trailer}\r\n`,
        );
      }
    }),
  );
  const box = await enter(
    await startTestGate({ rules: [{ name: 'api', hosts: [HOST] }], upstreams: { [HOST]: raw } }),
  );
  const client = await h2(box);
  const bad = await ask(client, get('/bad'));
  expect(bad.status === 502 || bad.code !== 0).toBe(true);
  expect(await ask(client, get('/good'))).toMatchObject({ status: 200, code: 0 });
});

test('a session has a bounded number of streams, in all of its connections together', async () => {
  const box = await scene(() => undefined);
  const clients = [box.client, await h2(box), await h2(box)];
  const statuses: Promise<number>[] = [];
  for (const client of clients) {
    for (let i = 0; i < 100; i++) {
      const stream = client.request(get(`/${i}`));
      stream.on('error', () => undefined);
      statuses.push(new Promise(resolve => stream.on('response', head => resolve(Number(head[':status'])))));
    }
  }
  const refused = await Promise.any(statuses);
  expect(refused).toBe(429);
  await expect.poll(() => box.upstream.requests.length, { timeout: 10_000 }).toBe(256);
});
