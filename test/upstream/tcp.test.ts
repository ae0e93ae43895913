import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { connectFirst } from '../../src/upstream/tcp.ts';
import { refusal, tcpServer } from './fixture.ts';

/** A port where nothing listens. */
async function closedPort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** A port where the kernel neither accepts nor refuses: the queue is full, and nobody takes from it. */
async function silentPort(): Promise<number> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
     });`,
    { eval: true },
  );
  const [port] = (await once(worker, 'message')) as [number];
  const fillers = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  onTestFinished(async () => {
    for (const filler of fillers) filler.destroy();
    await worker.terminate();
  });
  await Promise.all(fillers.slice(0, 2).map(filler => once(filler, 'connect')));
  return port;
}

const at = (port: number, address = '127.0.0.1') => ({ address, port });

test('connects to the first address', async () => {
  const first = await tcpServer();
  const second = await tcpServer();
  const socket = await connectFirst([at(first.port), at(second.port)], 5000);
  expect(socket.remotePort).toBe(first.port);
  expect(second.sockets).toHaveLength(0);
  socket.destroy();
});

test('connects to the next address when one refuses', async () => {
  const { port } = await tcpServer();
  const socket = await connectFirst([at(await closedPort()), at(port)], 5000);
  expect(socket.remotePort).toBe(port);
  socket.destroy();
});

test('connects to the next address when one is silent, within the same time limit', async () => {
  const { port } = await tcpServer();
  const started = performance.now();
  const socket = await connectFirst([at(await silentPort()), at(port)], 3000);
  expect(socket.remotePort).toBe(port);
  expect(performance.now() - started).toBeLessThan(2900);
  socket.destroy();
});

test('no address that accepts is upstream_unreachable, with the cause for the log', async () => {
  const port = await closedPort();
  await expect(connectFirst([at(port)], 5000)).rejects.toMatchObject({
    code: 'upstream_unreachable',
    cause: { code: 'ECONNREFUSED' },
  });
});

test('an address that never answers is upstream_timeout', async () => {
  await expect(refusal(connectFirst([at(await silentPort())], 100))).resolves.toBe('upstream_timeout');
});

test('a connection that breaks before anybody listens does not end the process', async () => {
  const { port, sockets } = await tcpServer();
  const socket = await connectFirst([at(port)], 5000);
  while (sockets.length === 0) await new Promise(setImmediate);
  sockets[0]?.resetAndDestroy();
  socket.resume();
  await new Promise(resolve => socket.once('close', resolve));
  expect(socket.destroyed).toBe(true);
});
