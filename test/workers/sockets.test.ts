import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { bindSockets } from '../../src/workers/sockets.ts';
import { dial } from '../support/raw-client.ts';

test.runIf(process.platform === 'linux')(
  'sockets of one port, on which nobody accepts but who is given one',
  async () => {
    const { host, port, sockets } = await bindSockets('127.0.0.1', 0, 3);
    onTestFinished(() => sockets.forEach(socket => socket.close()));
    expect([host, sockets.length, new Set(sockets.map(({ fd }) => fd)).size]).toEqual(['127.0.0.1', 3, 3]);
    await expect(dial(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const server = createServer(socket => socket.end('served')).listen({ fd: sockets[1]?.fd as number });
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const peer = await dial(port);
    expect((await peer.ended).bytes.toString()).toBe('served');
  },
);

test('a port that somebody listens on is taken, though it could be shared', async () => {
  const first = await bindSockets('127.0.0.1', 0, 2);
  onTestFinished(() => first.sockets.forEach(socket => socket.close()));
  const server = createServer().listen({ fd: first.sockets[0]?.fd as number });
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  await expect(bindSockets('127.0.0.1', first.port, 2)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  const other = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void other.close());
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await expect(bindSockets('127.0.0.1', port, 2)).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
