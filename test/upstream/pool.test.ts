import type { Socket } from 'node:net';
import { beforeAll, expect, test, vi } from 'vitest';
import type { ClientConnection } from '../../src/wire/client.ts';
import { createCa, type ServerIdentity, type TestCa } from '../support/pki.ts';
import {
  acquire,
  answering,
  cidrs,
  get,
  LIMITS,
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
  identity = await ca.issue(['a.test']);
});

const hosts = () => table({ 'a.test': [['127.0.0.1']], 'b.test': [['127.0.0.1']] });
// To be called before the event.
const closed = ({ socket }: ClientConnection) => new Promise(resolve => socket.once('close', resolve));

/** `count` connections that have each answered once, in the order in which they became free. */
async function used(
  upstream: ReturnType<typeof upstreamWith>,
  port: number,
  count: number,
): Promise<ClientConnection[]> {
  const connections = await Promise.all(
    Array.from({ length: count }, () => acquire(upstream, origin('a.test', port))),
  );
  for (const connection of connections) await get(connection);
  return connections;
}

test('a free connection is used again at once, the last freed first', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith(hosts());
  const [first, second, third] = await used(upstream, server.port, 3);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(third);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(second);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(first);
  expect(server.sockets).toHaveLength(3);
});

test('a connection is never shared by two sessions', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith(hosts());
  const to = origin('a.test', server.port);
  const one = await upstream.acquire(to, 's_one');
  await get(one);
  expect(await upstream.acquire(to, 's_two')).not.toBe(one);
  expect(upstream.acquire(to, 's_one')).toBe(one);
});

test('a reused connection carries a request, without another question to DNS', async () => {
  const server = await tlsServer(identity, answering(OK));
  const { lookup, asked } = hosts();
  const upstream = upstreamWith({ lookup, caFiles: [ca.file] });
  for (let i = 0; i < 3; i++) {
    const head = await get(await upstream.acquire(origin('a.test', server.port, 'https')));
    expect(head.status).toBe(200);
  }
  expect(server.sockets).toHaveLength(1);
  expect(asked).toEqual(['a.test']);
});

test('a host that changes its address is dialled where it was judged', async () => {
  const server = await tcpServer(answering(OK));
  const { lookup, asked } = table({ 'rebind.test': [['127.0.0.1'], ['169.254.169.254']] });
  const upstream = upstreamWith({ lookup });
  const connection = await upstream.acquire(origin('rebind.test', server.port));
  expect(asked).toEqual(['rebind.test']);
  await expect(get(connection)).resolves.toMatchObject({ status: 200 });
  connection.destroy();
  await expect(refusal(acquire(upstream, origin('rebind.test', server.port)))).resolves.toBe(
    'forbidden_address',
  );
});

test('scheme, host and port each keep connections apart', async () => {
  const server = await tcpServer(socket => {
    answering(OK)(socket);
    socket.on('data', chunk => chunk[0] === 0x16 && socket.destroy());
  });
  const other = await tcpServer(answering(OK));
  const upstream = upstreamWith(hosts());
  const [connection] = await used(upstream, server.port, 1);
  for (const elsewhere of [
    origin('b.test', server.port),
    origin('a.test', other.port),
    origin('a.test', server.port, 'https'),
  ]) {
    const acquired = upstream.acquire(elsewhere);
    expect(acquired).toBeInstanceOf(Promise);
    await Promise.resolve(acquired).then(
      c => expect(c).not.toBe(connection),
      () => {},
    );
  }
});

test.each([
  ['closes', (s: Socket) => s.end()],
  ['resets', (s: Socket) => s.resetAndDestroy()],
  ['says something unasked', (s: Socket) => s.write(OK)],
])('a connection that %s while it is idle is not used again', async (_, act) => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith(hosts());
  const [connection] = (await used(upstream, server.port, 1)) as [ClientConnection];
  act(server.sockets[0] as Socket);
  await closed(connection);
  const next = upstream.acquire(origin('a.test', server.port));
  expect(next).toBeInstanceOf(Promise);
  await expect(get(await next)).resolves.toMatchObject({ status: 200 });
});

test('a connection that was destroyed a moment ago is passed over', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith(hosts());
  const [first, second] = (await used(upstream, server.port, 2)) as [ClientConnection, ClientConnection];
  second.socket.destroy();
  expect(upstream.acquire(origin('a.test', server.port))).toBe(first);
});

test('a connection that stays idle too long is closed, a younger one stays', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, idleMs: 1000 } });
  const [older, younger] = (await Promise.all(
    [1, 2].map(() => acquire(upstream, origin('a.test', server.port))),
  )) as [ClientConnection, ClientConnection];
  await get(older);
  const between = performance.now();
  while (performance.now() <= between) await new Promise(setImmediate);
  await get(younger);
  upstream.sweep(between + 1000);
  await closed(older);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(younger);
});

test('a request under way is not idle', async () => {
  const server = await tcpServer();
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, idleMs: 1000, responseMs: 60_000 } });
  const answer = get(await upstream.acquire(origin('a.test', server.port)));
  upstream.sweep(performance.now() + 30_000);
  await vi.waitFor(() => expect(server.sockets).toHaveLength(1));
  server.sockets[0]?.write(OK);
  await expect(answer).resolves.toMatchObject({ status: 200 });
});

test('an answer that does not come is given up by the sweep', async () => {
  const server = await tcpServer();
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, responseMs: 1000 } });
  const answer = get(await upstream.acquire(origin('a.test', server.port)));
  upstream.sweep(performance.now() + 1500);
  await expect(refusal(answer)).resolves.toBe('upstream_timeout');
});

test('no more than maxIdlePerOrigin connections are kept', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, maxIdlePerOrigin: 2 } });
  const connections = (await used(upstream, server.port, 3)) as [
    ClientConnection,
    ClientConnection,
    ClientConnection,
  ];
  await closed(connections[2]);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(connections[1]);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(connections[0]);
});

test('a connection that has ended leaves its place among the idle ones to another', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, maxIdlePerOrigin: 1 } });
  const [first, second] = [
    await upstream.acquire(origin('a.test', server.port)),
    await upstream.acquire(origin('a.test', server.port)),
  ];
  await get(first);
  const ended = closed(first);
  first.destroy();
  await ended;
  await get(second);
  expect(upstream.acquire(origin('a.test', server.port))).toBe(second);
});

test('past maxPerOrigin, dialling ones counted, a request is rate_limited until one ends', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, maxPerOrigin: 2 } });
  const here = origin('a.test', server.port);
  const taken = [acquire(upstream, here), acquire(upstream, here)];
  await expect(refusal(acquire(upstream, here))).resolves.toBe('rate_limited');
  const [first] = (await Promise.all(taken)) as [ClientConnection];
  await expect(refusal(acquire(upstream, here))).resolves.toBe('rate_limited');
  await expect(acquire(upstream, origin('b.test', server.port))).resolves.toBeDefined();
  first.destroy();
  await closed(first);
  await expect(acquire(upstream, here)).resolves.toBeDefined();
});

test('a dial that failed gives its place back', async () => {
  const limits = { ...LIMITS, maxPerOrigin: 1 };
  const upstream = upstreamWith({ limits });
  for (let i = 0; i < 3; i++)
    await expect(refusal(acquire(upstream, origin('none.test', 443)))).resolves.toBe('dns_failure');
});

test('close ends idle connections, lets a request finish, and keeps none afterwards', async () => {
  const server = await tcpServer();
  const answerTo = async ({ socket }: ClientConnection) => {
    const peer = () => server.sockets.find(other => other.remotePort === socket.localPort);
    await vi.waitFor(() => expect(peer()).toBeDefined());
    peer()?.write(OK);
  };
  const upstream = upstreamWith(hosts());
  const here = origin('a.test', server.port);
  const idle = await upstream.acquire(here);
  const busy = await upstream.acquire(here);
  await Promise.all([get(idle), answerTo(idle)]);
  const answer = get(busy);
  const ended = [idle, busy].map(closed);
  upstream.close();
  await ended[0];
  await Promise.all([answer, answerTo(busy)]);
  await ended[1];
  const after = await upstream.acquire(origin('b.test', server.port));
  const afterEnded = closed(after);
  await Promise.all([get(after), answerTo(after)]);
  await afterEnded;
});

test('connectRaw gives the bytes as they are, judged like any other', async () => {
  const server = await tcpServer(socket => socket.end('hello'));
  const upstream = upstreamWith(hosts());
  const socket = await upstream.connectRaw(origin('a.test', server.port, 'https'));
  const chunks: Buffer[] = await socket.toArray();
  expect(Buffer.concat(chunks).toString()).toBe('hello');
  const strict = upstreamWith({ ...hosts(), allowPrivate: cidrs('10.0.0.0/8') });
  await expect(refusal(strict.connectRaw(origin('a.test', server.port)))).resolves.toBe('forbidden_address');
  expect(server.sockets).toHaveLength(1);
});

test('proxy variables of the environment are not obeyed', async () => {
  const server = await tcpServer(answering(OK));
  const parent = await tcpServer();
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'NODE_USE_ENV_PROXY'])
    vi.stubEnv(name, name === 'NODE_USE_ENV_PROXY' ? '1' : `http://127.0.0.1:${parent.port}`);
  try {
    await expect(
      get(await upstreamWith(hosts()).acquire(origin('a.test', server.port))),
    ).resolves.toMatchObject({ status: 200 });
  } finally {
    vi.unstubAllEnvs();
  }
  expect(parent.sockets).toHaveLength(0);
});

test('connections are closed by a timer of its own', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith({ ...hosts(), limits: { ...LIMITS, idleMs: 1 } });
  const [connection] = (await used(upstream, server.port, 1)) as [ClientConnection];
  await closed(connection);
  expect(await upstream.acquire(origin('a.test', server.port))).not.toBe(connection);
});

test('many idle connections are closed over several turns, for each costs time', async () => {
  const server = await tcpServer(answering(OK));
  const upstream = upstreamWith(hosts());
  const here = origin('a.test', server.port);
  const all: ClientConnection[] = [];
  for (let i = 0; i < 20; i++) all.push(await upstream.acquire(here)); // oxlint-disable-line no-await-in-loop
  await Promise.all(all.map(get));
  const ended = all.map(closed);
  upstream.close();
  const now = all.filter(({ socket }) => socket.destroyed).length;
  expect(now).toBeGreaterThan(0);
  expect(now).toBeLessThan(10);
  await Promise.all(ended);
});
