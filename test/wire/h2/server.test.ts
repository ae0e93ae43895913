import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Http2ServerConnection } from '../../../src/wire/h2/server.ts';
import { LINGER_MS, WIRE_LIMITS } from '../../../src/wire/limits.ts';
import type { Exchange } from '../../../src/wire/message.ts';
import { PARTING_MS } from '../../../src/wire/h2/vigil.ts';
import {
  ACK,
  CANCEL,
  END_HEADERS,
  frame,
  GOAWAY,
  HEADERS,
  headers,
  NO_ERROR,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from '../../support/h2-frames.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** SETTINGS_INITIAL_WINDOW_SIZE, and the connection's: as large as they may be. */
const WIDE = [
  frame(SETTINGS, 0, 0, Buffer.concat([Buffer.of(0, 4), u32(2 ** 31 - 1)])),
  frame(WINDOW_UPDATE, 0, 0, u32(2 ** 31 - 65_536)),
];
const request = (id: number, method: string): Buffer =>
  headers(id, [
    [':method', method],
    [':scheme', 'https'],
    [':authority', 'a.test'],
    [':path', '/'],
  ]);
const getOn = (id: number): Buffer => request(id, 'GET');
const GET = getOn(1);
/** A header block that no decoder can read. */
const BROKEN = frame(HEADERS, END_HEADERS, 3, Buffer.alloc(8, 0xff));
const BYE = frame(GOAWAY, 0, 0, Buffer.concat([u32(0), u32(NO_ERROR)]));
/** Bytes: more than the kernel takes. */
const SIZE = 32 * 1024 * 1024;
const answer = { status: 200, reason: 'OK', headers: [], length: undefined };
/** Time runs only where a test says so. */
const later = (ms: number): number => performance.now() + ms;

/** A client that never ends its side, and reads only if it is resumed. */
async function serve(request: (x: Exchange) => void) {
  const server = createServer({ allowHalfOpen: false }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [socket] = (await once(server, 'connection')) as [Socket];
  onTestFinished(() => {
    server.close();
    client.destroy();
    socket.destroy();
  });
  client.pause();
  client.on('error', () => undefined);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const handlers = { request, malformed: () => undefined, closed: resolve };
  const connection = new Http2ServerConnection(socket, WIRE_LIMITS, handlers);
  return { client, socket, connection, closed };
}

test('a client that keeps a connection that has ended is cut off, as soon as it had time to read', async () => {
  const { client, socket, connection, closed } = await serve(x => x.respond(answer).end([]));
  client.resume();
  client.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0), GET, BYE]));
  await once(client, 'end');
  connection.sweep(later(0));
  connection.sweep(later(LINGER_MS - 500));
  expect(socket.destroyed).toBe(false);
  connection.sweep(later(LINGER_MS + 500));
  await closed;
  expect(socket.destroyed).toBe(true);
});

/** The same, whose client reads nothing, and has ended its side, behind an answer that is more than the kernel takes. */
async function stuck(isWhole: boolean) {
  const { promise: full, resolve } = Promise.withResolvers<void>();
  const scene = await serve(x => {
    const sink = x.respond({ ...answer, length: isWhole ? SIZE : undefined });
    sink.write(Buffer.alloc(SIZE));
    if (isWhole) sink.end([]);
    setImmediate(resolve);
  });
  scene.client.write(Buffer.concat([PREFACE, ...WIDE, GET]));
  await full;
  scene.client.end();
  scene.connection.sweep(later(0));
  return scene;
}

const { bodyIdleMs, idleMs } = WIRE_LIMITS;

test('a client that reads nothing is cut off amid an answer, though it has ended its side', async () => {
  const { socket, connection, closed } = await stuck(false);
  // The stream is given up: its reset waits behind what is not read.
  connection.sweep(later(bodyIdleMs + 500));
  connection.sweep(later(2 * bodyIdleMs));
  expect([connection.streams, socket.destroyed]).toEqual([1, false]);
  connection.sweep(later(2 * bodyIdleMs + 1000));
  await closed;
  expect([connection.streams, socket.destroyed]).toEqual([0, true]);
});

test('a client that does not read the end of its last answer is cut off', async () => {
  const { socket, connection, closed } = await stuck(true);
  await expect.poll(() => connection.streams).toBe(0);
  connection.sweep(later(idleMs + 500));
  connection.sweep(later(idleMs + bodyIdleMs));
  expect(socket.destroyed).toBe(false);
  connection.sweep(later(idleMs + bodyIdleMs + 1000));
  await closed;
  expect(socket.destroyed).toBe(true);
});

test('a client that reads nothing does not keep a connection that the gate has ended', async () => {
  const { socket, connection, closed } = await stuck(false);
  connection.destroy();
  connection.sweep(later(0));
  connection.sweep(later(bodyIdleMs - 500));
  expect(socket.destroyed).toBe(false);
  connection.sweep(later(bodyIdleMs + 500));
  await closed;
  expect(socket.destroyed).toBe(true);
});

test('a client that does not read a small answer behind a large one is cut off', async () => {
  const { promise: full, resolve } = Promise.withResolvers<void>();
  const asked: Exchange[] = [];
  const { client, socket, connection, closed } = await serve(x => {
    if (asked.push(x) < 2) return;
    for (const [i, length] of [SIZE, 100].entries()) {
      const sink = asked[i]?.respond({ ...answer, length });
      sink?.write(Buffer.alloc(length));
      sink?.end([]);
    }
    setImmediate(resolve);
  });
  client.write(Buffer.concat([PREFACE, ...WIDE, GET, getOn(3)]));
  await full;
  connection.sweep(later(0));
  connection.sweep(later(bodyIdleMs - 500));
  expect(socket.destroyed).toBe(false);
  for (const rounds of [1, 2, 3]) connection.sweep(later(idleMs + rounds * bodyIdleMs + 1000));
  await closed;
  expect([connection.streams, socket.destroyed]).toEqual([0, true]);
});

test('many small answers leave nothing of theirs behind', async () => {
  let asked = 0;
  const { client, connection } = await serve(x => {
    asked++;
    const sink = x.respond({ ...answer, length: 2 });
    sink.write(Buffer.from('ok'));
    sink.end([]);
  });
  client.resume();
  client.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
  for (let id = 1; id < 200; id += 2) client.write(getOn(id));
  await expect.poll(() => [asked, connection.streams]).toEqual([100, 0]);
});

/** What was sent has arrived, and been read. */
async function heard(socket: Socket, client: Socket): Promise<void> {
  while (socket.bytesRead < client.bytesWritten) await new Promise(setImmediate);
  await new Promise(setImmediate);
}

test('a client that says goodbye and then breaks a rule is cut off, though node:http2 tells nobody', async () => {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const { client, socket, connection, closed } = await serve(() => resolve());
  client.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0), GET, BYE]));
  await begun;
  client.write(BROKEN);
  await heard(socket, client);
  connection.sweep(later(0));
  connection.sweep(later(PARTING_MS + 500));
  connection.sweep(later(PARTING_MS + 9500));
  expect([connection.streams, socket.destroyed]).toEqual([1, false]);
  connection.sweep(later(PARTING_MS + 10_500));
  await closed;
  expect([connection.streams, socket.destroyed]).toEqual([0, true]);
});

test('a client that says goodbye, and answers when it is asked, is waited for', async () => {
  const { promise: begun, resolve } = Promise.withResolvers<Exchange>();
  const { client, socket, connection } = await serve(resolve);
  client.resume();
  client.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0), GET, BYE]));
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  // SETTINGS that change nothing: node:http2 sends no PING behind a GOAWAY.
  client.on('data', (chunk: Buffer) => void (chunk.includes(frame(SETTINGS, 0, 0)) && ask()));
  const x = await begun;
  await heard(socket, client);
  connection.sweep(later(0));
  connection.sweep(later(PARTING_MS + 500));
  await asked;
  client.write(frame(SETTINGS, ACK, 0));
  await heard(socket, client);
  connection.sweep(later(PARTING_MS + 10_500));
  expect(socket.destroyed).toBe(false);
  x.respond(answer).end([]);
  await once(client, 'end');
});

test('a client that is slow to take its answer is not taken for a dead one while the gate stops', async () => {
  const { client, socket, connection } = await serve(x => x.respond(answer).write(Buffer.alloc(SIZE)));
  client.write(Buffer.concat([PREFACE, ...WIDE, GET]));
  await expect.poll(() => connection.streams).toBe(1);
  connection.drain();
  for (const ms of [0, 500, PARTING_MS + 1000, PARTING_MS + 11_000, bodyIdleMs - 500])
    connection.sweep(later(ms));
  expect(socket.destroyed).toBe(false);
  for (const ms of [500, 1000, 11_000]) connection.sweep(later(bodyIdleMs + ms));
  expect(socket.destroyed).toBe(true);
});

test.each(['GET', 'HEAD'])('a client that resets its %s before it is answered has left', async method => {
  for (const code of [NO_ERROR, CANCEL]) {
    const { promise: left, resolve: leave } = Promise.withResolvers<Exchange>();
    const begun = Promise.withResolvers<void>();
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { client, connection } = await serve(x => {
      x.onAbort = () => leave(x);
      begun.resolve();
    });
    client.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0), request(1, method)]));
    await begun.promise; // oxlint-disable-line no-await-in-loop
    client.write(frame(RST_STREAM, 0, 1, u32(code)));
    expect((await left).done).toBe(true); // oxlint-disable-line no-await-in-loop
    await expect.poll(() => connection.streams).toBe(0); // oxlint-disable-line no-await-in-loop
  }
});
