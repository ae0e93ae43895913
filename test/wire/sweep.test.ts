import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Refusal } from '../../src/errors.ts';
import type { Sink } from '../../src/types.ts';
import { CLIENT_LIMITS, ClientConnection, NONE } from '../../src/wire/client.ts';
import { LINGER_BYTES, LINGER_MS } from '../../src/wire/limits.ts';
import { type Exchange, ServerConnection, WIRE_LIMITS } from '../../src/wire/server.ts';
import { FakeSocket } from './fake-socket.ts';
import { reply } from './sockets.ts';

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n';
/** Time runs only where a test says so; the codec's own stamps are a few ms behind. */
const later = (ms: number): number => performance.now() + ms;
const idle: Sink = { onDrain: null, write: () => true, end: () => {}, abort: () => {} };

/** While the exchanges of one test are open, those of the next one would be read a turn later. */
const sockets: FakeSocket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

function serve(request: (x: Exchange) => void = x => reply(x, 'ok')) {
  const socket = new FakeSocket();
  sockets.push(socket);
  const log: string[] = [];
  const connection = new ServerConnection(socket.asSocket, WIRE_LIMITS, {
    request,
    malformed: (x, refusal) => {
      log.push(refusal.code);
      reply(x, 'bad', refusal.status);
    },
    closed: () => log.push('closed'),
  });
  return { socket, connection, log };
}

describe('a client that', () => {
  test('sends nothing is closed without an answer', () => {
    const { socket, connection } = serve();
    connection.sweep(later(WIRE_LIMITS.idleMs - 1000));
    expect(socket.ended).toBe(false);
    connection.sweep(later(WIRE_LIMITS.idleMs + 1000));
    expect([socket.ended, socket.output]).toEqual([true, '']);
  });

  test('sends nothing more is closed without an answer', () => {
    const { socket, connection } = serve();
    socket.receive(GET);
    const answered = socket.output;
    connection.sweep(later(WIRE_LIMITS.idleMs + 1000));
    expect([socket.ended, socket.output]).toEqual([true, answered]);
  });

  test('sends its head drop by drop is refused, whatever it sends', () => {
    const { socket, connection, log } = serve();
    const start = performance.now();
    for (const byte of 'GET / HTTP/1.1\r\nx: aaaaaaaa') {
      connection.sweep(start + WIRE_LIMITS.headMs - 1000);
      socket.receive(byte);
    }
    expect(log).toEqual([]);
    connection.sweep(later(WIRE_LIMITS.headMs + 1));
    expect(log).toEqual(['request_timeout']);
    expect(socket.output).toContain('HTTP/1.1 408');
    expect(socket.ended).toBe(true);
  });

  test('is given the time for a head anew for each, and none for each byte', () => {
    const now = vi.spyOn(performance, 'now');
    let ms = 0;
    now.mockImplementation(() => ms);
    const { socket, connection, log } = serve();
    for (const [step, isLate] of [
      [WIRE_LIMITS.headMs / GET.length, false],
      [WIRE_LIMITS.headMs / GET.length, false],
      [(2 * WIRE_LIMITS.headMs) / GET.length, true],
    ] as const) {
      for (const byte of GET) {
        socket.receive(byte);
        connection.sweep((ms += step));
      }
      expect(log).toEqual(isLate ? ['request_timeout', 'closed'] : []);
      ms += WIRE_LIMITS.idleMs / 2;
    }
    now.mockRestore();
  });

  test('stops in the middle of its body is refused, and not while it goes on', () => {
    const causes: Error[] = [];
    const { socket, connection } = serve(x => {
      x.onAbort = cause => {
        causes.push(cause);
        reply(x, 'slow', (cause as Refusal).status);
      };
      x.body.pipe({ ...idle });
    });
    socket.receive(POST);
    for (let ms = 0; ms < 3 * WIRE_LIMITS.bodyIdleMs; ms += WIRE_LIMITS.bodyIdleMs / 2) {
      connection.sweep(later(ms));
      socket.receive('x');
    }
    expect(causes).toEqual([]);
    const end = 3 * WIRE_LIMITS.bodyIdleMs;
    connection.sweep(later(end));
    connection.sweep(later(end + WIRE_LIMITS.bodyIdleMs + 1));
    expect(causes.map(cause => (cause as Refusal).code)).toEqual(['request_timeout']);
    expect(socket.output).toContain('HTTP/1.1 408');
  });

  test('does not read its answer is cut off', () => {
    const { socket, connection } = serve(x => {
      x.respond({ status: 200, reason: '', headers: [], length: 100 }).write(Buffer.alloc(10));
    });
    socket.takes = false;
    socket.receive(GET);
    connection.sweep(later(0));
    connection.sweep(later(WIRE_LIMITS.bodyIdleMs - 1000));
    expect(socket.destroyed).toBe(false);
    connection.sweep(later(WIRE_LIMITS.bodyIdleMs + 1000));
    expect(socket.destroyed).toBe(true);
  });

  test('waits for a slow upstream may wait', () => {
    const { socket, connection, log } = serve(() => {});
    socket.receive(GET);
    connection.sweep(later(0));
    connection.sweep(later(1e9));
    expect([socket.destroyed, socket.ended, log]).toEqual([false, false, []]);
  });

  test('is stopped by us is not taken for slow', () => {
    const causes: Error[] = [];
    const { socket, connection } = serve(x => {
      x.onAbort = cause => causes.push(cause);
      x.body.pipe({ ...idle, write: () => false });
    });
    socket.receive(`${POST}x`);
    expect(socket.isPaused()).toBe(true);
    connection.sweep(later(0));
    connection.sweep(later(1e9));
    expect(causes).toEqual([]);
  });

  test('keeps a refused connection open is left after a while', () => {
    const { socket, connection, log } = serve();
    socket.receive('GET / HTTP/3\r\n\r\n');
    expect([log, socket.ended]).toEqual([['malformed_request'], true]);
    connection.sweep(later(LINGER_MS - 500));
    expect(socket.destroyed).toBe(false);
    connection.sweep(later(LINGER_MS + 1));
    expect(socket.destroyed).toBe(true);
  });

  test('goes on sending to a refused connection is read no more than to a bound', () => {
    const { socket } = serve();
    socket.receive('GET / HTTP/3\r\n\r\n');
    const chunk = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 10; i++) socket.receive(chunk);
    expect(socket.bytesRead).toBeLessThanOrEqual(LINGER_BYTES + chunk.length + 100);
    expect(socket.waiting).toBeGreaterThan(0);
  });

  test('sends ahead without end is read no more than one piece ahead', () => {
    const seen: Exchange[] = [];
    const { socket } = serve(x => seen.push(x));
    const batch = GET.repeat(100);
    for (let i = 0; i < 10; i++) socket.receive(batch);
    expect(socket.bytesRead).toBe(batch.length);
    for (let i = 0; i < 50; i++) {
      reply(seen[i] as Exchange, 'ok');
      socket.pump();
    }
    expect([seen.length, socket.bytesRead]).toEqual([51, batch.length]);
    for (let i = 50; i < 1000; i++) {
      reply(seen[i] as Exchange, 'ok');
      socket.pump();
    }
    expect(socket.waiting).toBe(0);
  });
});

describe('the socket', () => {
  const three = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n';

  test('is read on once a body is complete, although its reader is full: a client that leaves is noticed', () => {
    const { socket } = serve(x => x.body.pipe({ ...idle, write: () => false }));
    socket.receive(`${three}ab`);
    expect(socket.isPaused()).toBe(true);
    socket.resume();
    socket.receive('c');
    expect(socket.isPaused()).toBe(false);
  });

  test('is read on for the body of a request that was sent ahead', () => {
    const seen: Exchange[] = [];
    const { socket } = serve(x => seen.push(x));
    socket.receive(`${GET}${three}a`);
    expect(socket.isPaused()).toBe(true);
    reply(seen[0] as Exchange, 'ok');
    expect(socket.isPaused()).toBe(false);
  });

  test('is not read on for the reader of a body while the next request waits', () => {
    const sink = { ...idle };
    const { socket } = serve(x => x.body.pipe(sink));
    socket.receive(`${three}abc${GET}`);
    sink.onDrain?.();
    expect(socket.isPaused()).toBe(true);
  });

  test('is destroyed at the first sign that the client left', () => {
    const causes: Error[] = [];
    const { socket } = serve(x => (x.onAbort = cause => causes.push(cause)));
    socket.receive(GET);
    socket.emit('end');
    expect([socket.destroyed, causes.length]).toEqual([true, 1]);
  });
});

function ask() {
  const socket = new FakeSocket();
  sockets.push(socket);
  const log: string[] = [];
  const connection = new ClientConnection(socket.asSocket, CLIENT_LIMITS, {
    free: () => log.push('free'),
    closed: () => log.push('closed'),
  });
  const send = (length: number): Sink => {
    const sink = connection.send('GET / HTTP/1.1\r\n', 'GET', length, {
      informational: head => log.push(`${head.status}`),
      response: (head, body) => {
        log.push(`${head.status}`);
        body.pipe({ ...idle, abort: cause => log.push((cause as Refusal).code) });
      },
      failed: (refusal, retryable) => log.push(`${refusal.code} ${retryable}`),
    });
    connection.flush();
    return sink;
  };
  return { socket, connection, log, send };
}

describe('an upstream that', () => {
  test('does not answer in time is given up', () => {
    const { connection, log, send } = ask();
    send(NONE).end([]);
    connection.sweep(later(CLIENT_LIMITS.responseMs - 1000));
    expect(log).toEqual([]);
    connection.sweep(later(CLIENT_LIMITS.responseMs + 1));
    expect(log).toEqual(['closed', 'upstream_timeout false']);
  });

  test('sends its head drop by drop is given up', () => {
    const { socket, connection, log, send } = ask();
    send(NONE).end([]);
    socket.receive('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2');
    connection.sweep(later(CLIENT_LIMITS.responseMs + 1));
    expect(log).toEqual(['100', 'closed', 'upstream_timeout false']);
  });

  test('stops in the middle of its body is given up, and not while it goes on', () => {
    const { socket, connection, log, send } = ask();
    send(NONE).end([]);
    socket.receive('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n');
    for (let ms = 0; ms < 3 * CLIENT_LIMITS.bodyIdleMs; ms += CLIENT_LIMITS.bodyIdleMs / 2) {
      connection.sweep(later(ms));
      socket.receive('x');
    }
    expect(log).toEqual(['200']);
    connection.sweep(later(3 * CLIENT_LIMITS.bodyIdleMs));
    connection.sweep(later(5 * CLIENT_LIMITS.bodyIdleMs));
    expect(log).toEqual(['200', 'closed', 'upstream_timeout']);
  });

  test('does not take the request body is given up', () => {
    const { socket, connection, log, send } = ask();
    socket.takes = false;
    send(100).write(Buffer.alloc(10));
    connection.sweep(later(0));
    connection.sweep(later(CLIENT_LIMITS.bodyIdleMs + 1));
    expect(log).toEqual(['closed', 'upstream_timeout false']);
  });

  test('waits for a request body that is long in coming is not late', () => {
    const { connection, log, send } = ask();
    const sink = send(100);
    connection.flush();
    const long = 10 * CLIENT_LIMITS.responseMs;
    for (let ms = 0; ms <= long; ms += 1000) connection.sweep(later(ms));
    sink.write(Buffer.alloc(100));
    sink.end([]);
    expect(log).toEqual([]);
  });

  test('is not asked is left alone', () => {
    const { connection, log } = ask();
    connection.sweep(later(1e9));
    expect(log).toEqual([]);
  });
});
