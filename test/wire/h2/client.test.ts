import { once } from 'node:events';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Refusal } from '../../../src/errors.ts';
import { CHUNKED, type ResponseHead, type Sink } from '../../../src/types.ts';
import { NONE } from '../../../src/wire/client.ts';
import { Http2ClientConnection } from '../../../src/wire/h2/client.ts';
import { PARTING_MS } from '../../../src/wire/h2/vigil.ts';
import { CLIENT_LIMITS } from '../../../src/wire/limits.ts';
import { Peer } from '../../support/peer.ts';
import {
  ACK,
  block,
  CANCEL,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEADERS,
  PING,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from '../../support/h2-frames.ts';

interface Scene {
  readonly connection: Http2ClientConnection;
  /** The upstream's end, which says what the test makes it say. */
  readonly peer: Peer;
  readonly closed: Promise<void>;
  /** The connection's own end. */
  readonly socket: net.Socket;
}

async function scene(options: net.ServerOpts = {}): Promise<Scene> {
  const server = net.createServer(options);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [[other]] = (await Promise.all([accepted, once(socket, 'connect')])) as [[net.Socket], unknown];
  const peer = new Peer(other);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const connection = new Http2ClientConnection(socket, CLIENT_LIMITS, { closed: () => resolve() });
  onTestFinished(() => {
    peer.cut();
    socket.destroy();
    server.close();
  });
  await peer.send(frame(SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 3]), u32(2)])));
  await connection.settled;
  return { connection, peer, closed, socket };
}

interface Asked {
  readonly sink: Sink;
  readonly answer: Promise<ResponseHead>;
}

function ask(connection: Http2ClientConnection): Asked {
  const { promise: answer, resolve, reject } = Promise.withResolvers<ResponseHead>();
  answer.catch(() => undefined);
  const fields = {
    method: 'GET',
    authority: 'a.test',
    path: `/${'a'.repeat(300)}`,
    headers: [],
    sensitive: [],
  };
  const sink = connection.send(fields, NONE, {
    informational: () => undefined,
    response: resolve,
    failed: reject,
  });
  sink.end([]);
  return { sink, answer };
}

/** Whose answer nobody looks at. */
function upload(connection: Http2ClientConnection): Sink {
  const fields = { method: 'PUT', authority: 'a.test', path: '/', headers: [], sensitive: [] };
  return connection.send(fields, CHUNKED, {
    informational: () => undefined,
    response: () => undefined,
    failed: () => undefined,
  });
}

/** SETTINGS that change nothing: what asks for a sign of life behind a GOAWAY. */
const QUESTION = frame(SETTINGS, 0, 0);
/** Type, flags and stream of a PING. */
const PING_HEAD = frame(PING, 0, 0).subarray(3, 9);

const answer = (id: number): Buffer =>
  frame(HEADERS, END_HEADERS | END_STREAM, id, block([[':status', '200']]));

test('takes as many requests at a time as the peer says', async () => {
  const { connection, peer } = await scene();
  const first = ask(connection);
  expect(connection.isOpen).toBe(true);
  ask(connection);
  expect(connection.isOpen).toBe(false);
  await peer.send(answer(1));
  expect((await first.answer).status).toBe(200);
  await expect.poll(() => connection.isOpen, { timeout: 10_000 }).toBe(true);
});

test('after a GOAWAY it takes no more, and what the peer did not process is told apart', async () => {
  const { connection, peer } = await scene();
  const processed = ask(connection);
  const unprocessed = ask(connection);
  await peer.send(frame(GOAWAY, 0, 0, Buffer.concat([u32(1), u32(0)])));
  await expect(unprocessed.answer).rejects.toMatchObject({ code: 'upstream_unreachable' });
  expect(connection.isOpen).toBe(false);
  await peer.send(answer(1));
  expect((await processed.answer).status).toBe(200);
});

test('a silent connection is asked for a sign of life once, and given up without one', async () => {
  const { connection, peer, closed } = await scene();
  const asked = ask(connection);
  const now = performance.now();
  const ping = frame(PING, 0, 0).subarray(3, 9).toString('latin1');
  await expect.poll(() => peer.received.length, { timeout: 10_000 }).toBeGreaterThan(200);
  connection.sweep(now);
  connection.sweep(now + 29_000);
  expect(peer.received.includes(ping, 0, 'latin1')).toBe(false);
  connection.sweep(now + 31_000);
  connection.sweep(now + 32_000);
  await peer.until(ping);
  connection.sweep(now + 41_000);
  await closed;
  await expect(asked.answer).rejects.toBeInstanceOf(Refusal);
});

test('the answer is waited for as long as the limit says', async () => {
  const { connection, peer } = await scene();
  const asked = ask(connection);
  await expect.poll(() => peer.received.length, { timeout: 10_000 }).toBeGreaterThan(200);
  connection.sweep(performance.now() + CLIENT_LIMITS.responseMs + 1000);
  await expect(asked.answer).rejects.toMatchObject({ code: 'upstream_timeout' });
});

test('a request that is given up is reset, and the next one goes on', async () => {
  const { connection, peer } = await scene();
  const given = ask(connection);
  connection.cancel(given.sink);
  const next = ask(connection);
  await peer.until(frame(3, 0, 1, u32(8)).toString('latin1'));
  await peer.send(answer(3));
  expect((await next.answer).status).toBe(200);
});

test.each<[string, (connection: Http2ClientConnection, sink: Sink) => void]>([
  ['is cut', (_, sink) => sink.abort(new Error('the client left'))],
  ['is given up', (connection, sink) => connection.cancel(sink)],
])('a request that %s in its body never looks whole to the upstream', async (_, stop) => {
  const { connection, peer } = await scene();
  const sink = upload(connection);
  sink.write(Buffer.from('half of it'));
  await peer.until('half of it');
  stop(connection, sink);
  const reset = frame(RST_STREAM, 0, 1, u32(CANCEL));
  await expect.poll(() => peer.received.includes(reset), { timeout: 10_000 }).toBe(true);
  expect(peer.received.includes(frame(DATA, END_STREAM, 1))).toBe(false);
});

test('an upstream that says goodbye and then breaks a rule is given up before it is waited for in vain', async () => {
  const { connection, peer, closed } = await scene();
  const { answer: answered } = ask(connection);
  await peer.bytes(200);
  await peer.send(frame(GOAWAY, 0, 0, Buffer.concat([u32(1), u32(0)])));
  await peer.send(frame(HEADERS, END_HEADERS, 1, Buffer.alloc(8, 0xff)));
  // What node:http2 answers, and tells nobody: COMPRESSION_ERROR (RFC 9113, section 7).
  await peer.until('\0\0\0\x09');
  const start = performance.now();
  for (const ms of [0, PARTING_MS + 500, PARTING_MS + 10_500]) connection.sweep(start + ms);
  await expect(answered).rejects.toMatchObject({ code: 'upstream_unreachable' });
  await closed;
});

test('a connection that is closed ends its requests first, and says goodbye behind them', async () => {
  const { connection, peer, closed } = await scene();
  const { answer: answered } = ask(connection);
  connection.close();
  expect(connection.isOpen).toBe(false);
  await peer.bytes(200);
  const now = performance.now();
  for (const ms of [0, 29_000]) connection.sweep(now + ms);
  const type = frame(GOAWAY, 0, 0).subarray(3, 9);
  expect(peer.received.includes(type)).toBe(false);
  await peer.send(answer(1));
  expect((await answered).status).toBe(200);
  await peer.until(type.toString('latin1'));
  await closed;
});

test('an upload that is begun when its connection is closed arrives', async () => {
  const server = http2.createServer((request, response) => request.pipe(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const connection = new Http2ClientConnection(socket, CLIENT_LIMITS, { closed: () => resolve() });
  onTestFinished(() => void server.close());
  await connection.settled;
  const { promise: echoed, resolve: echo, reject } = Promise.withResolvers<string>();
  const got: Buffer[] = [];
  const fields = { method: 'PUT', authority: 'a.test', path: '/', headers: [], sensitive: [] };
  const sink = connection.send(fields, CHUNKED, {
    informational: () => undefined,
    response: (_, body) =>
      body.pipe({
        onDrain: null,
        write: chunk => got.push(chunk) > 0,
        end: () => echo(Buffer.concat(got).toString()),
        abort: reject,
      }),
    failed: reject,
  });
  connection.close();
  sink.write(Buffer.from('all '));
  // Whatever the goodbye makes of the other side, it had time to.
  for (let i = 0; i < 50; i++) await new Promise(setImmediate);
  sink.write(Buffer.from('of it'));
  sink.end([]);
  await expect(echoed).resolves.toBe('all of it');
  await closed;
});

test('a connection that was not looked after for long is asked before it is given up', async () => {
  const { connection, peer } = await scene();
  const { answer: answered } = ask(connection);
  await peer.bytes(200);
  const now = performance.now();
  for (const ms of [0, 100_000]) connection.sweep(now + ms);
  await peer.send(answer(1));
  expect((await answered).status).toBe(200);
});

test.each([false, true])(
  'an upstream that answers is asked again, and waited for (behind a GOAWAY: %s)',
  async parting => {
    const { connection, peer, socket } = await scene();
    const { answer: answered } = ask(connection);
    await peer.bytes(200);
    if (parting) await peer.send(frame(GOAWAY, 0, 0, Buffer.concat([u32(1), u32(0)])));
    await expect.poll(() => connection.isOpen).toBe(!parting);
    const [question, sign] = parting
      ? [QUESTION, frame(SETTINGS, ACK, 0)]
      : [PING_HEAD, frame(PING, ACK, 0, Buffer.alloc(8))];
    let now = performance.now();
    connection.sweep(now);
    for (let round = 0; round < 3; round++) {
      connection.sweep((now += 31_000));
      await peer.until(question.toString('latin1')); // oxlint-disable-line no-await-in-loop -- one after the other
      const heard = socket.bytesRead;
      await peer.send(sign); // oxlint-disable-line no-await-in-loop
      await expect.poll(() => socket.bytesRead).toBeGreaterThan(heard); // oxlint-disable-line no-await-in-loop
      connection.sweep((now += 9000));
    }
    await peer.send(answer(1));
    expect((await answered).status).toBe(200);
  },
);

test('a connection without a request is neither asked nor given up', async () => {
  const { connection, peer } = await scene();
  const now = performance.now();
  for (const ms of [0, 31_000, 42_000, 100_000]) connection.sweep(now + ms);
  const { answer: answered } = ask(connection);
  await peer.bytes(200);
  expect(peer.received.includes(PING_HEAD)).toBe(false);
  await peer.send(answer(1));
  expect((await answered).status).toBe(200);
});

test('an upload goes on once the upstream takes more', async () => {
  const { connection, peer } = await scene();
  const sink = upload(connection);
  const drained = new Promise<void>(resolve => (sink.onDrain = resolve));
  // More than a stream takes at first (RFC 9113, section 6.9.2).
  expect(sink.write(Buffer.alloc(100_000))).toBe(false);
  await peer.bytes(65_535);
  await peer.send(
    Buffer.concat([frame(WINDOW_UPDATE, 0, 0, u32(100_000)), frame(WINDOW_UPDATE, 0, 1, u32(100_000))]),
  );
  await drained;
});

test('a field with a credential is one that no intermediary may index, whatever its case', async () => {
  const { connection, peer } = await scene();
  const headers = ['X-Api-Key', 'x'.repeat(300)];
  const fields = { method: 'GET', authority: 'a.test', path: '/', headers, sensitive: ['X-Api-Key'] };
  connection.send(fields, NONE, {
    informational: () => undefined,
    response: () => undefined,
    failed: () => undefined,
  });
  await peer.bytes(250);
  // A literal that is never indexed (RFC 7541, section 6.2.3), and its name: 7 bytes in Huffman's code.
  expect(peer.received.includes(Buffer.of(0x10, 0x80 | 7))).toBe(true);
});

test('an upstream that is slow to take a body behind its GOAWAY has as long as any', async () => {
  const { connection, peer, closed } = await scene();
  const sink = upload(connection);
  sink.write(Buffer.alloc(100_000));
  await peer.bytes(65_535);
  await peer.send(frame(GOAWAY, 0, 0, Buffer.concat([u32(1), u32(0)])));
  await expect.poll(() => connection.isOpen).toBe(false);
  let over = false;
  void closed.then(() => (over = true));
  const start = performance.now();
  for (const ms of [0, PARTING_MS + 500, PARTING_MS + 10_500, 30_500, 39_000]) connection.sweep(start + ms);
  // For what a session does when it is destroyed.
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate); // oxlint-disable-line no-await-in-loop
  expect(over).toBe(false);
  connection.sweep(start + 41_000);
  await closed;
});

test('an upstream that never closes its side does not keep a connection that is over', async () => {
  const { connection, peer, closed } = await scene({ allowHalfOpen: true });
  connection.close();
  expect(await peer.ended).toMatchObject({ how: 'end' });
  const start = performance.now();
  for (const ms of [0, 1500]) connection.sweep(start + ms);
  await closed;
});

test('an upstream that takes nothing any more does not keep a connection that is given up', async () => {
  const { connection, peer, closed } = await scene();
  const window = frame(SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), u32(2 ** 31 - 1)]));
  await peer.send(Buffer.concat([window, frame(WINDOW_UPDATE, 0, 0, u32(2 ** 30))]));
  const fields = { method: 'PUT', authority: 'a.test', path: '/', headers: [], sensitive: [] };
  const { promise: failed, resolve: fail } = Promise.withResolvers<Refusal>();
  const sink = connection.send(fields, CHUNKED, {
    informational: () => undefined,
    response: () => undefined,
    failed: fail,
  });
  await peer.until(frame(SETTINGS, ACK, 0).toString('latin1'));
  peer.socket.pause();
  // More than the kernel holds for a peer that does not read.
  sink.write(Buffer.alloc(32 * 1024 * 1024));
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate); // oxlint-disable-line no-await-in-loop
  const start = performance.now();
  for (const ms of [0, 30_500, 41_000]) connection.sweep(start + ms);
  expect((await failed).code).toBe('upstream_unreachable');
  for (const ms of [41_500, 102_000]) connection.sweep(start + ms);
  await closed;
});
