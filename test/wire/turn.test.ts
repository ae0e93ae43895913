import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CLIENT_LIMITS, ClientConnection, NONE } from '../../src/wire/client.ts';
import { type Exchange, ServerConnection, WIRE_LIMITS } from '../../src/wire/server.ts';
import { arriveSoon } from '../../src/wire/turn.ts';
import { FakeSocket } from './fake-socket.ts';
import { reply } from './sockets.ts';

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const LAST = 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';

interface Served {
  readonly socket: FakeSocket;
  readonly connection: ServerConnection;
  readonly open: Exchange[];
}

function serve(): Served {
  const socket = new FakeSocket();
  const open: Exchange[] = [];
  const connection = new ServerConnection(socket.asSocket, WIRE_LIMITS, {
    request: x => void open.push(x),
    malformed: (x, refusal) => reply(x, 'bad', refusal.status),
    closed: () => {},
  });
  expect(connection.closing).toBe(false);
  return { socket, connection, open };
}

/** An exchange that goes on beside those of a test. */
let other: Served;
beforeEach(() => {
  other = serve();
  other.socket.receive(GET);
});
afterEach(() => other.socket.fin());

test('an answer leaves at once while nothing else is under way', () => {
  other.socket.fin();
  const { socket, open } = serve();
  socket.receive(GET);
  reply(open[0] as Exchange, 'alone');
  expect(socket.output).toContain('alone');
});

test('heads are read when all sockets were, in their order, while others are under way', async () => {
  const served = [serve(), serve(), serve()];
  for (const { socket } of served) socket.receive(GET);
  // The first one is the second that is under way.
  expect(served.map(({ open }) => open.length)).toEqual([1, 0, 0]);
  await turn();
  expect(served.map(({ open }) => open.length)).toEqual([1, 1, 1]);
});

test('what waits to be read is read before the connection ends', () => {
  const { socket, open } = serve();
  socket.receive(GET);
  socket.fin();
  expect([open.length, open[0]?.done]).toEqual([1, true]);
});

test('a head in pieces is read once', async () => {
  const { socket, open } = serve();
  for (const byte of GET) socket.receive(byte);
  await turn();
  expect(open).toHaveLength(1);
});

test('what a client sent before its connection broke is not begun', async () => {
  const { socket, open } = serve();
  socket.receive(GET);
  socket.destroy();
  await turn();
  expect(open).toEqual([]);
});

test('small answers leave at the end of the turn, each in one write', async () => {
  const served = [serve(), serve()];
  for (const { socket } of served) socket.receive(GET);
  await turn();
  for (const { socket, open } of served) {
    reply(open[0] as Exchange, 'together');
    expect(socket.writes).toEqual([]);
  }
  await turn();
  for (const { socket } of served) {
    expect(socket.writes).toHaveLength(1);
    expect(socket.output).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\ntogether$/s);
  }
});

test('answers to pipelined requests leave in their order', async () => {
  const { socket, open } = serve();
  socket.receive(GET + GET + GET);
  await turn();
  reply(open[0] as Exchange, 'first');
  reply(open[1] as Exchange, 'x'.repeat(40_000)); // too large to wait
  reply(open[2] as Exchange, 'third');
  await turn();
  expect(socket.output.match(/first|x{40000}|third/g)?.map(body => body.slice(0, 5))).toEqual([
    'first',
    'xxxxx',
    'third',
  ]);
});

test('an interim answer leaves behind the answer before it', async () => {
  const { socket, open } = serve();
  socket.receive(GET + GET);
  await turn();
  reply(open[0] as Exchange, 'first');
  open[1]?.informational(103, 'Early Hints', []);
  expect(socket.output).toMatch(/first.*HTTP\/1\.1 103/s);
  await turn();
  expect(socket.output.match(/HTTP\/1\.1/g)).toHaveLength(2);
});

test('the last answer leaves before the connection is closed', async () => {
  const { socket, open } = serve();
  socket.receive(LAST);
  await turn();
  reply(open[0] as Exchange, 'last');
  expect([socket.output.endsWith('last'), socket.ended]).toEqual([true, true]);
});

test('an answer to a client that left goes nowhere', async () => {
  const { socket, open } = serve();
  socket.receive(GET);
  await turn();
  reply(open[0] as Exchange, 'late');
  socket.fin();
  await turn();
  expect(socket.output).toBe('');
});

test('what waits to be read is served before a connection that drains is closed', () => {
  const { socket, connection, open } = serve();
  socket.receive(GET);
  connection.drain();
  expect([open.length, socket.ended]).toEqual([1, false]);
  reply(open[0] as Exchange, 'served');
  expect([socket.output.endsWith('served'), socket.ended]).toEqual([true, true]);
});

/** A request to an upstream, and what is told of its answer. */
function ask() {
  const socket = new FakeSocket();
  const log: string[] = [];
  const connection = new ClientConnection(socket.asSocket, CLIENT_LIMITS, {
    free: () => {},
    closed: () => {},
  });
  const sink = connection.send('GET / HTTP/1.1\r\nhost: a\r\n', 'GET', NONE, {
    informational: () => {},
    response: (_, body) =>
      body.pipe({
        onDrain: null,
        write: chunk => log.push(chunk.toString()) > 0,
        end: () => log.push('whole'),
        abort: () => log.push('cut'),
      }),
    failed: ({ code }) => log.push(code),
  });
  sink.end([]);
  connection.flush();
  return { socket, log };
}

test('an answer that lasts until its connection ends is whole, though both come in one turn', () => {
  const { socket, log } = ask();
  socket.receive('HTTP/1.1 200 OK\r\n\r\nall of it');
  expect(log).toEqual([]);
  socket.emit('end');
  expect(log).toEqual(['all of it', 'whole']);
});

test('an answer is read although its connection broke in the same turn', () => {
  const { socket, log } = ask();
  socket.receive('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall of it');
  expect(log).toEqual([]);
  socket.destroy();
  expect(log).toEqual(['all of it', 'whole']);
});

test('a connection that was read is not looked at again in a later turn', async () => {
  let arrived = 0;
  const once = { arrived: () => void arrived++ };
  const nothing = { arrived: () => undefined };
  // Beside `other`, so that they wait.
  const { socket } = serve();
  socket.receive(GET);
  await turn();
  arriveSoon(once);
  await turn();
  arriveSoon(nothing);
  await turn();
  expect(arrived).toBe(1);
  socket.fin();
});
