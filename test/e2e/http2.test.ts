import http2 from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { ask, type H2Upstream, openH2, startH2 } from '../support/h2.ts';
import { request } from '../support/raw-client.ts';
import { type HttpUpstream, startHttp, startRaw } from '../support/upstream.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const HOST = 'api.corp.test';

interface Scene<U> extends Sandbox {
  readonly secret: string;
  readonly stub: string;
  readonly upstream: U;
}

async function scene<U extends H2Upstream | HttpUpstream>(upstream: U): Promise<Scene<U>> {
  const secret = canary('key-');
  const box = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: closing(upstream) },
  });
  return { ...box, secret, stub: box.session.stubs['API_KEY'] ?? '', upstream };
}

/** Reflects the credential in a header, the body and a trailer. */
const h2Echo = (): Promise<H2Upstream> =>
  startH2({ hosts: [HOST] }, (stream, received) => {
    stream.on('end', () => {
      const sent = String(received.headers.authorization);
      stream.respond({ ':status': 200, 'x-echo': sent }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': sent }));
      stream.end(`you sent ${sent} and ${received.body.toString()}`);
    });
  });

const h1Echo = (): Promise<HttpUpstream> =>
  startHttp({ hosts: [HOST] }, ({ headers, body }, response) => {
    const sent = String(headers.authorization);
    response.writeHead(200, { 'x-echo': sent, trailer: 'x-trailer' });
    response.write(`you sent ${sent} and ${body.toString()}`);
    response.addTrailers({ 'x-trailer': sent });
    response.end();
  });

async function h2Session(
  box: Sandbox,
  options?: http2.ClientSessionOptions,
): Promise<http2.ClientHttp2Session> {
  const session = await openH2(box.session.proxy, box.gate.ca, HOST, options);
  onTestFinished(() => session.destroy());
  return session;
}

const BODY = '{"a":1}';

async function askH2(box: Scene<unknown>) {
  const client = await h2Session(box);
  const head = {
    ':path': '/v1/x?y=z',
    ':method': 'POST',
    ':authority': HOST,
    authorization: `Bearer ${box.stub}`,
    'x-a': '1',
    cookie: ['a=b', 'c=d'],
  };
  return ask(client, head, BODY);
}

const askH1 = (box: Scene<unknown>) =>
  request(
    box.session.proxy,
    box.gate.ca,
    HOST,
    `POST /v1/x?y=z HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${box.stub}\r\nX-A: 1\r\nCookie: a=b; c=d\r\nContent-Length: ${BODY.length}`,
    BODY,
  );

const expectAudited = async (box: Scene<unknown>): Promise<void> => {
  const [line, ...more] = await box.gate.audit(1);
  expect(more).toEqual([]);
  expect(line).toMatchObject({
    rule: 'api',
    verdict: 'allow',
    method: 'POST',
    path: '/v1/x',
    status: 200,
    scrubbed: 3,
    stubs_seen: 1,
  });
  expect(line?.injected).toEqual([
    { credential: 'api', placement: 'header authorization', version: expect.any(String) },
  ]);
  expect(line?.bytes_in).toBeGreaterThan(BODY.length + 60);
  expect(line?.bytes_out).toBeGreaterThan(100);
};

test('HTTP/2 to HTTP/2', async () => {
  const box = await scene(await h2Echo());
  const reply = await askH2(box);
  expect(reply.raw).toEqual([':status', '200', 'x-echo', `Bearer ${box.stub}`, 'date', expect.any(String)]);
  expect(reply.body.toString()).toBe(`you sent Bearer ${box.stub} and ${BODY}`);
  expect({ ...reply.trailers }).toMatchObject({ 'x-trailer': `Bearer ${box.stub}` });
  const [received] = box.upstream.requests;
  expect(received?.raw).toEqual([
    ':method',
    'POST',
    ':scheme',
    'https',
    ':authority',
    HOST,
    ':path',
    '/v1/x?y=z',
    'authorization',
    `Bearer ${box.secret}`,
    'x-a',
    '1',
    'cookie',
    'a=b; c=d',
  ]);
  expect(received?.body.toString()).toBe(BODY);
  expectClean(JSON.stringify([reply.raw, reply.body.toString(), reply.trailers]), box.secret);
  await expectAudited(box);
});

test('HTTP/2 to HTTP/1.1', async () => {
  const box = await scene(await h1Echo());
  const reply = await askH2(box);
  expect(reply.raw).toEqual([':status', '200', 'x-echo', `Bearer ${box.stub}`, 'date', expect.any(String)]);
  expect(reply.body.toString()).toBe(`you sent Bearer ${box.stub} and ${BODY}`);
  expect({ ...reply.trailers }).toMatchObject({ 'x-trailer': `Bearer ${box.stub}` });
  const [received] = box.upstream.requests;
  expect(received).toMatchObject({ method: 'POST', url: '/v1/x?y=z' });
  expect(received?.rawHeaders).toEqual([
    'host',
    HOST,
    'authorization',
    `Bearer ${box.secret}`,
    'x-a',
    '1',
    'cookie',
    'a=b; c=d',
    'transfer-encoding',
    'chunked',
  ]);
  expect(received?.body.toString()).toBe(BODY);
  await expectAudited(box);
});

test('HTTP/1.1 to HTTP/2', async () => {
  const box = await scene(await h2Echo());
  const { reply, bytes } = await askH1(box);
  expect(reply).toMatchObject({ status: 200, reason: 'OK' });
  expect(reply.headers).toEqual([
    ['x-echo', `Bearer ${box.stub}`],
    ['date', expect.any(String)],
    ['transfer-encoding', 'chunked'],
  ]);
  expect(reply.body.toString()).toBe(`you sent Bearer ${box.stub} and ${BODY}`);
  expect(reply.trailers).toEqual([['x-trailer', `Bearer ${box.stub}`]]);
  expectClean(bytes, box.secret);
  expect(box.upstream.requests[0]?.raw).toEqual([
    ':method',
    'POST',
    ':scheme',
    'https',
    ':authority',
    HOST,
    ':path',
    '/v1/x?y=z',
    'authorization',
    `Bearer ${box.secret}`,
    'x-a',
    '1',
    'cookie',
    'a=b; c=d',
    'content-length',
    `${BODY.length}`,
  ]);
  await expectAudited(box);
});

test('HTTP/1.1 to HTTP/1.1', async () => {
  const box = await scene(await h1Echo());
  const { reply, bytes } = await askH1(box);
  expect(reply.body.toString()).toBe(`you sent Bearer ${box.stub} and ${BODY}`);
  expect(reply.trailers).toEqual([['x-trailer', `Bearer ${box.stub}`]]);
  expectClean(bytes, box.secret);
  expect(box.upstream.requests[0]?.headers.authorization).toBe(`Bearer ${box.secret}`);
  await expectAudited(box);
});

test('a WebSocket goes over HTTP/1.1, though the upstream prefers HTTP/2', async () => {
  const raw = closing(await startRaw({ hosts: [HOST], tls: { ALPNProtocols: ['h2', 'http/1.1'] } }));
  const box = await sandbox({ rules: [{ name: 'api', hosts: [HOST] }], upstreams: { [HOST]: raw } });
  const head = `GET /ws HTTP/1.1\r\nHost: ${HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==`;
  const asked = request(box.session.proxy, box.gate.ca, HOST, head);
  const peer = await raw.next();
  expect((peer.socket as TLSSocket).alpnProtocol).toBe('http/1.1');
  expect((await peer.head()).toLowerCase()).toContain('upgrade: websocket\r\n');
  await peer.send('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
  expect((await asked).reply.status).toBe(404);
});
