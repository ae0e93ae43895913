import { connect, type Socket } from 'node:net';
import { beforeAll, expect, test } from 'vitest';
import { parentProxy } from '../../src/upstream/parent.ts';
import { createCa, type ServerIdentity, type TestCa } from '../support/pki.ts';
import {
  answering,
  get,
  type Listening,
  OK,
  origin,
  refusal,
  table,
  tcpServer,
  tlsServer,
  upstreamWith,
} from './fixture.ts';

let ca: TestCa;
let identity: ServerIdentity;
beforeAll(async () => {
  ca = await createCa();
  identity = await ca.issue(['a.test', 'proxy.test']);
});

/** A parent that sends every tunnel to `port`, and keeps the request heads. */
function forwarding(port: number, heads: string[]): (client: Socket) => void {
  return client => {
    client.once('data', head => {
      heads.push(head.toString('latin1'));
      const upstream = connect(port, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n');
        client.pipe(upstream).pipe(client);
      });
      upstream.on('error', () => client.destroy());
    });
  };
}

const proxyUrl = ({ port }: Listening, credentials = '') => new URL(`http://${credentials}127.0.0.1:${port}`);

test.each(['http', 'https'] as const)(
  'sends %s through a tunnel of the parent, the name unresolved',
  async scheme => {
    const server =
      scheme === 'https' ? await tlsServer(identity, answering(OK)) : await tcpServer(answering(OK));
    const heads: string[] = [];
    const parent = await tcpServer(forwarding(server.port, heads));
    const { lookup, asked } = table({});
    const upstream = upstreamWith({ proxy: proxyUrl(parent), lookup, caFiles: [ca.file] });
    const head = await get(await upstream.acquire(origin('a.test', 8443, scheme)));
    expect(head.status).toBe(200);
    expect(heads).toEqual(['CONNECT a.test:8443 HTTP/1.1\r\nHost: a.test:8443\r\n\r\n']);
    expect(asked).toEqual([]);
  },
);

test('sends a raw tunnel through the parent too', async () => {
  const server = await tcpServer(socket => socket.end('hello'));
  const heads: string[] = [];
  const parent = await tcpServer(forwarding(server.port, heads));
  const socket = await upstreamWith({ proxy: proxyUrl(parent) }).connectRaw(origin('a.test', 443, 'https'));
  const chunks: Buffer[] = await socket.toArray();
  expect(Buffer.concat(chunks).toString()).toBe('hello');
  expect(heads).toHaveLength(1);
});

test('speaks TLS to a parent of https', async () => {
  const server = await tlsServer(identity, answering(OK));
  const heads: string[] = [];
  const parent = await tlsServer(identity, forwarding(server.port, heads));
  const { lookup } = table({ 'proxy.test': [['127.0.0.1']] });
  const proxy = new URL(`https://proxy.test:${parent.port}`);
  const upstream = upstreamWith({ proxy, lookup, caFiles: [ca.file] });
  const head = await get(await upstream.acquire(origin('a.test', 443, 'https')));
  expect(head.status).toBe(200);
  expect(heads).toHaveLength(1);
});

test('proves who a parent of https is before it tells it anything', async () => {
  const parent = await tlsServer(await (await createCa('Nobody')).issue(['proxy.test']));
  const { lookup } = table({ 'proxy.test': [['127.0.0.1']] });
  const proxy = new URL(`https://user:password@proxy.test:${parent.port}`);
  const upstream = upstreamWith({ proxy, lookup, caFiles: [ca.file] });
  await expect(refusal(upstream.connectRaw(origin('a.test', 443)))).resolves.toBe('upstream_tls');
  expect(parent.received).toEqual([]);
});

test('sends the decoded user and password as Basic', async () => {
  const heads: string[] = [];
  const parent = await tcpServer(forwarding((await tcpServer()).port, heads));
  const upstream = upstreamWith({ proxy: proxyUrl(parent, 'us%65r:p%40ss@') });
  (await upstream.connectRaw(origin('a.test', 443))).destroy();
  expect(heads[0]).toContain(
    `\r\nProxy-Authorization: Basic ${Buffer.from('user:p@ss').toString('base64')}\r\n`,
  );
});

test('asks the parent for the address that `resolve` names', async () => {
  const heads: string[] = [];
  const parent = await tcpServer(forwarding((await tcpServer()).port, heads));
  const resolve = new Map([['a.test', { address: '::1', port: 9443 }]]);
  (await upstreamWith({ proxy: proxyUrl(parent), resolve }).connectRaw(origin('a.test', 443))).destroy();
  expect(heads[0]).toMatch(/^CONNECT \[::1\]:9443 HTTP\/1\.1\r\nHost: \[::1\]:9443\r\n/);
});

test.each(['10.0.0.1', '169.254.169.254', 'fd00:ec2::254', '::ffff:10.0.0.1'])(
  'refuses the target %s before it speaks to the parent',
  async address => {
    const parent = await tcpServer();
    const upstream = upstreamWith({ proxy: proxyUrl(parent), allowPrivate: [] });
    await expect(refusal(upstream.connectRaw(origin(address, 443)))).resolves.toBe('forbidden_address');
    expect(parent.sockets).toHaveLength(0);
  },
);

test('refuses our own listener as target by address, by `resolve`, and as the parent itself', async () => {
  const parent = await tcpServer();
  const own = () => [{ address: '127.0.0.1', port: 8081 }];
  const resolve = new Map([['a.test', { address: '127.0.0.1', port: 8081 }]]);
  const upstream = upstreamWith({ proxy: proxyUrl(parent), own, resolve });
  for (const host of ['127.0.0.1', 'a.test'])
    await expect(refusal(upstream.connectRaw(origin(host, 8081)))).resolves.toBe('forbidden_address');
  const itself = upstreamWith({
    proxy: proxyUrl(parent),
    own: () => [{ address: '0.0.0.0', port: parent.port }],
  });
  await expect(refusal(itself.connectRaw(origin('b.test', 443)))).resolves.toBe('forbidden_address');
  expect(parent.sockets).toHaveLength(0);
});

test.each([
  [
    '407',
    'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n',
    'upstream_unreachable',
    /407.*upstream\.proxy/,
  ],
  ['403', 'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n', 'upstream_unreachable', /403/],
  ['504', 'HTTP/1.1 504 Gateway Timeout\r\n\r\n', 'upstream_timeout', /504/],
  ['another protocol', 'SSH-2.0-x\r\n\r\n', 'upstream_unreachable', /HTTP\/1\.1/],
  ['a head without an end', 'x'.repeat(20_000), 'upstream_unreachable', /HTTP\/1\.1/],
])('a parent that answers %s', async (_, answer, code, cause) => {
  const parent = await tcpServer(socket => socket.on('data', () => socket.write(answer)));
  const thrown = upstreamWith({ proxy: proxyUrl(parent, 'u:hunter2@') }).connectRaw(origin('a.test', 443));
  await expect(thrown).rejects.toMatchObject({ code, cause: { message: expect.stringMatching(cause) } });
  await expect(thrown.catch((e: Error) => `${e.stack}${String(e.cause)}`)).resolves.not.toMatch(
    /hunter2|aHVudGVyMg/,
  );
});

test('a parent that hangs up, or never answers', async () => {
  const rude = await tcpServer(socket => socket.on('data', () => socket.destroy()));
  await expect(
    refusal(upstreamWith({ proxy: proxyUrl(rude) }).connectRaw(origin('a.test', 443))),
  ).resolves.toBe('upstream_unreachable');
  const silent = await tcpServer();
  const { LIMITS } = await import('./fixture.ts');
  const upstream = upstreamWith({ proxy: proxyUrl(silent), limits: { ...LIMITS, connectMs: 50 } });
  await expect(refusal(upstream.connectRaw(origin('a.test', 443)))).resolves.toBe('upstream_timeout');
});

test('bytes that come with the answer, in pieces or in one, belong to the tunnel', async () => {
  const parent = await tcpServer(socket =>
    socket.on('data', () => {
      socket.write('HTTP/1.1 200 OK\r\n');
      setImmediate(() => socket.end('\r\nearly bytes'));
    }),
  );
  const socket = await upstreamWith({ proxy: proxyUrl(parent) }).connectRaw(origin('a.test', 443));
  const chunks: Buffer[] = await socket.toArray();
  expect(Buffer.concat(chunks).toString()).toBe('early bytes');
});

test.each([
  ['socks5://p.test:1080', /http:\/\/ or https:\/\//],
  ['http://p.test/path', /end after its port/],
  ['http://us%ff:hunter2%@p.test', /%25/],
])('%s is an error for the operator that shows no password', (url, message) => {
  expect(() => parentProxy(new URL(url))).toThrow(message);
  expect(() => parentProxy(new URL(url))).not.toThrow(/hunter2/);
});

test.each([
  ['http://p.test', { scheme: 'http', host: 'p.test', port: 80 }],
  ['https://p.test', { scheme: 'https', host: 'p.test', port: 443 }],
  ['http://[::1]:3128', { scheme: 'http', host: '::1', port: 3128 }],
])('%s', (url, expected) => {
  expect(parentProxy(new URL(url))).toEqual({ ...expected, authorization: undefined });
});
