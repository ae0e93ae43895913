import type { TLSSocket } from 'node:tls';
import { beforeAll, expect, test } from 'vitest';
import type { Upstream, Wanted } from '../../src/upstream/pool.ts';
import { Http2ClientConnection } from '../../src/wire/h2/client.ts';
import { createCa, type ServerIdentity, type TestCa } from '../support/pki.ts';
import { origin, table, tlsServer, upstreamWith } from './fixture.ts';

let ca: TestCa;
let identity: ServerIdentity;
beforeAll(async () => {
  ca = await createCa();
  identity = await ca.issue(['a.test']);
});

/** What each connection to an origin agreed on, which refuses to speak anything else. */
async function scene(...spoken: string[]) {
  return sceneOf(spoken, [ca.file]);
}

async function sceneOf(ALPNProtocols: string[], caFiles: readonly string[]) {
  const agreed: (string | false | null)[] = [];
  const server = await tlsServer({ ...identity, ALPNProtocols }, (socket: TLSSocket) =>
    agreed.push(socket.alpnProtocol),
  );
  const { lookup } = table({ 'a.test': [['127.0.0.1']] });
  const upstream = upstreamWith({ lookup, caFiles }) as unknown as Upstream;
  const acquire = async (wanted: Wanted): Promise<boolean> => {
    const one = await upstream.acquire(origin('a.test', server.port, 'https'), '', wanted);
    return one instanceof Http2ClientConnection;
  };
  return { acquire, agreed, server };
}

test.each<[Wanted, string[], string]>([
  ['http1', ['h2', 'http/1.1'], 'http/1.1'],
  ['http1', ['http/1.1'], 'http/1.1'],
  ['http1', ['h2'], 'h2'],
  ['http2', ['h2', 'http/1.1'], 'h2'],
  ['http2', ['http/1.1'], 'http/1.1'],
  ['websocket', ['h2', 'http/1.1'], 'http/1.1'],
])('for a client of %s, an origin that takes %j is spoken to in %s', async (wanted, spoken, version) => {
  const { acquire, agreed } = await scene(...spoken);
  expect(await acquire(wanted)).toBe(version === 'h2');
  await expect.poll(() => agreed).toEqual([version]);
});

test('an origin that speaks nothing but HTTP/2 is asked for it at once, once that is known', async () => {
  const { acquire, server } = await scene('h2');
  await Promise.all([acquire('http1'), acquire('http1')]);
  const before = server.sockets.length;
  expect(before).toBe(4);
  server.sockets.at(-1)?.destroy();
  server.sockets.at(-2)?.destroy();
  await expect.poll(async () => (await acquire('http1'), server.sockets.length)).toBe(before + 1);
});

test('an origin that speaks neither is refused, and asked twice', async () => {
  const { acquire, server } = await scene('h3');
  await expect(acquire('http1')).rejects.toMatchObject({ code: 'upstream_tls' });
  expect(server.sockets.length).toBe(2);
});

test('an origin that fails for another reason is asked once', async () => {
  const { acquire, server } = await sceneOf(['h2', 'http/1.1'], []);
  await expect(acquire('http1')).rejects.toMatchObject({ code: 'upstream_tls' });
  expect(server.sockets.length).toBe(1);
});
