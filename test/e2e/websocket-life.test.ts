import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import { canary } from '../support/canary.ts';
import type { Peer } from '../support/peer.ts';
import { spawnTestGate } from '../support/process.ts';
import { connect, dial, openTls } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import {
  accept,
  BINARY,
  CLOSE,
  close,
  frame,
  handshake,
  PING,
  PONG,
  readMessage,
  TEXT,
} from '../support/websocket.ts';
import { chat, HOST } from './chat.ts';
import { Drain, Flood, MIB, peak } from './flood.ts';
import { closing, enter, expectClean, sandbox } from './scene.ts';

const MASKED = { mask: true };

describe('an open WebSocket', () => {
  test('carries pings, pongs and the closing handshake of both sides', async () => {
    const { client, server, gate } = await chat();
    await client.send(frame(PING, 'from client', MASKED));
    await server.send(frame(PONG, 'from client'));
    await server.send(frame(PING));
    const told = [await readMessage(server), await readMessage(client), await readMessage(client)];
    expect(told.map(({ opcode, data }) => [opcode, data.toString()])).toEqual([
      [PING, 'from client'],
      [PONG, 'from client'],
      [PING, ''],
    ]);
    await client.send(frame(CLOSE, close(3001, 'done'), MASKED));
    expect((await readMessage(server)).data).toEqual(close(3001, 'done'));
    await server.send(frame(TEXT, 'one more'));
    await server.send(frame(CLOSE, close(3001)));
    expect((await readMessage(client)).data.toString()).toBe('one more');
    expect((await readMessage(client)).data).toEqual(close(3001));
    expect([(await client.end()).how, (await server.end()).how]).toEqual(['end', 'end']);
    const [line] = await gate.audit(1);
    expect(line).toMatchObject({ status: 101, verdict: 'allow', reason: null, method: 'GET', path: '/chat' });
    // Heads, then frames: 6 bytes of header and mask each from the client, 2 bytes each to it.
    const head = handshake(HOST, '/chat', [`Authorization: Bearer ${'x'.repeat(44)}`]).length;
    expect(line?.bytes_in).toBe(head + 6 + 11 + 6 + 6);
    expect(line?.bytes_out).toBe(client.received.length);
  });

  test('has no line in the audit before its end', async () => {
    const { client, server, gate } = await chat();
    await client.send(frame(TEXT, 'a', MASKED));
    await readMessage(server);
    expect(gate.auditText()).toBe('');
    client.cut();
    await server.end();
    expect(await gate.audit(1)).toHaveLength(1);
  });

  test('ends without a Close for the client where the upstream ends without one', async () => {
    const { client, server } = await chat();
    await server.send(frame(TEXT, 'last words'));
    server.cut();
    expect((await readMessage(client)).data.toString()).toBe('last words');
    await client.end();
    expect(client.rest).toHaveLength(0);
  });

  test('is closed by the gate when nothing moves', async () => {
    const { client, server, gate } = await chat(undefined, { limits: { idle: '1s' } });
    const told = await readMessage(client);
    expect([told.opcode, told.data]).toEqual([CLOSE, close(1001, 'idle')]);
    expect((await readMessage(server)).data).toEqual(close(1001, 'idle'));
    await client.send(frame(CLOSE, close(1001), MASKED));
    await server.send(frame(CLOSE, close(1001)));
    await Promise.all([client.end(), server.end()]);
    expect((await gate.audit(1))[0]).toMatchObject({ verdict: 'allow', reason: null });
  });

  test('is told 1001 when the gate shuts down', async () => {
    const { client, server, gate } = await chat();
    const stopped = gate.stop();
    const told = await readMessage(client);
    expect([told.opcode, told.data.readUInt16BE()]).toEqual([CLOSE, 1001]);
    expect((await readMessage(server)).data.readUInt16BE()).toBe(1001);
    await client.send(frame(CLOSE, close(1001), MASKED));
    await server.send(frame(CLOSE, close(1001)));
    await Promise.all([client.end(), server.end(), stopped]);
    expect(await gate.audit(1)).toHaveLength(1);
  });
});

describe('over plain http, where a rule permits it', () => {
  const scene = async () => {
    const upstream = closing(await startRaw({}));
    const box = await sandbox({
      credentials: { api: { secret: canary(), env: 'API_KEY' } },
      rules: [
        {
          name: 'plain',
          hosts: ['plain.test'],
          schemes: ['http'],
          insecure: true,
          inject: [{ credential: 'api', as: 'bearer' }],
        },
      ],
      upstreams: { 'plain.test': upstream },
    });
    return { ...box, upstream };
  };
  const ways: [string, (box: Awaited<ReturnType<typeof scene>>) => Promise<Peer>][] = [
    [
      'in a tunnel',
      async ({ session }) => {
        const { peer } = await connect(session.proxy, 'plain.test:80');
        await peer.send(handshake('plain.test', '/chat'));
        return peer;
      },
    ],
    [
      'in absolute-form',
      async ({ session }) => {
        const peer = await dial(session.proxy.port);
        const more = [`Proxy-Authorization: ${session.proxy.authorization}`];
        await peer.send(handshake('plain.test', 'http://plain.test/chat', more));
        return peer;
      },
    ],
  ];

  test.each(ways)('%s: carried, and ended with its session', async (_, open) => {
    const box = await scene();
    const client = await open(box);
    const server = await box.upstream.next();
    expect(await accept(server)).toMatch(/^GET \/chat HTTP\/1\.1\r\n/);
    expect(server.received.toString()).not.toMatch(/proxy-authorization/i);
    await client.head();
    await client.send(frame(TEXT, 'up', MASKED));
    await server.send(frame(TEXT, 'down'));
    expect((await readMessage(server)).data.toString()).toBe('up');
    expect((await readMessage(client)).data.toString()).toBe('down');
    const before = performance.now();
    await box.gate.revoke(box.session.id);
    await Promise.all([client.end(), server.end()]);
    expect(performance.now() - before).toBeLessThan(1000);
    expect((await box.gate.audit(1))[0]).toMatchObject({ scheme: 'http', status: 101 });
  });

  test('without such a rule it is refused', async () => {
    const { session, upstream, client } = await chat();
    client.cut();
    const peer = await dial(session.proxy.port);
    await peer.send(
      handshake(HOST, `http://${HOST}/`, [`Proxy-Authorization: ${session.proxy.authorization}`]),
    );
    expect(await peer.head()).toMatch(/^HTTP\/1\.1 403 .*stubgate-reason: no_rule/s);
    expect(upstream.connections).toHaveLength(1);
    peer.cut();
  });
});

test('revoking a session ends its WebSocket within a second, and nobody else’s', async () => {
  const { client, server, gate, session, upstream } = await chat();
  const other = await gate.session();
  const bystander = await openTls(other.proxy, gate.ca, HOST);
  await bystander.send(handshake(HOST, '/other'));
  const its = await upstream.next();
  await accept(its);
  await bystander.head();
  const before = performance.now();
  await gate.revoke(session.id);
  await Promise.all([client.end(), server.end()]);
  expect(performance.now() - before).toBeLessThan(1000);
  await bystander.send(frame(TEXT, 'still here', MASKED));
  expect((await readMessage(its)).data.toString()).toBe('still here');
  bystander.cut();
  expect(await gate.audit(2)).toHaveLength(2);
});

describe.skipIf(!existsSync('/proc/self/status'))('a message of 128 MiB to a peer that does not read', () => {
  test.each(['client', 'upstream'] as const)(
    'stops the other one, and takes no memory: the %s does not read',
    { timeout: 60_000 },
    async reader => {
      const secret = canary();
      const upstream = closing(await startRaw({ hosts: [HOST] }));
      const { gate, session } = await enter(
        await spawnTestGate({
          credentials: { api: { secret, env: 'API_KEY' } },
          rules: [{ name: 'chat', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
          upstreams: { [HOST]: upstream },
        }),
      );
      const client = await openTls(session.proxy, gate.ca, HOST);
      await client.send(handshake(HOST, '/'));
      const server = await upstream.next();
      await accept(server);
      await client.head();
      const [from, to] =
        reader === 'client' ? [server.socket, client.socket] : [client.socket, server.socket];
      const choice = { fin: false, mask: reader === 'upstream' };
      const first = frame(BINARY, reader === 'client' ? secret : 'start', choice);
      const chunk = frame(0, Buffer.alloc(MIB, 'abcdefgh'), choice);
      const drain = new Drain(to);
      // What is measured is growth: it has carried as much before, to a peer that reads.
      await new Flood(from, first, chunk, 64, choice.mask).done;
      await drain.until(64 * MIB);
      const before = peak(gate.pid);
      to.pause();
      const flood = new Flood(from, first, chunk, 128, choice.mask);
      // What the kernel's buffers on both legs hold, at most.
      expect(await flood.stalled()).toBeLessThan(48 * MIB);
      to.resume();
      await flood.done;
      await drain.until(192 * MIB);
      expectClean(drain.start, secret);
      // In kB; garbage of what passed is in it, but never the 128 MiB.
      expect(peak(gate.pid) - before).toBeLessThan(64 * 1024);
      client.cut();
      expect((await gate.audit(1))[0]).toMatchObject({ status: 101, scrubbed: reader === 'client' ? 2 : 0 });
    },
  );
});
