import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import type { Refusal } from '../../src/errors.ts';
import type { Sink } from '../../src/types.ts';
import { COALESCE_BYTES } from '../../src/wire/limits.ts';
import type { Exchange, ServerHandlers } from '../../src/wire/server.ts';
import { Listener, ok, reply, Talk } from './sockets.ts';

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 R\r\ncontent-length: 6\r\n\r\nGET / ';

let open: { listener: Listener; talk: Talk }[] = [];
afterEach(() => {
  for (const { listener, talk } of open) {
    talk.socket.destroy();
    listener.close();
  }
  open = [];
});

async function start(
  handlers: Partial<ServerHandlers> = {},
  connect = false,
): Promise<{ listener: Listener; talk: Talk }> {
  const listener = await Listener.open(handlers, connect);
  const talk = new Talk(listener.port);
  await once(talk.socket, 'connect');
  open.push({ listener, talk });
  return { listener, talk };
}

/** The first exchange, left without an answer. */
async function unanswered(text: string): Promise<{ x: Exchange; talk: Talk; listener: Listener }> {
  const { promise, resolve } = Promise.withResolvers<Exchange>();
  const started = await start({ request: resolve });
  started.talk.send(text);
  return { x: await promise, ...started };
}

const aborted = (x: Exchange): Promise<Error> => new Promise(resolve => (x.onAbort = resolve));

describe('requests', () => {
  test('follow each other on one connection', async () => {
    const { talk } = await start();
    talk.send(GET);
    await talk.until(OK);
    talk.send(
      'POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n',
    );
    expect(await talk.until('x,y')).toBe(`${OK}HTTP/1.1 200 R\r\ncontent-length: 14\r\n\r\nPOST /b abcx,y`);
  });

  test('are read byte by byte', async () => {
    const { talk } = await start();
    for (const byte of 'POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc') talk.send(byte);
    expect(await talk.until('abc')).toBe('HTTP/1.1 200 R\r\ncontent-length: 11\r\n\r\nPOST /b abc');
  });

  test('may be preceded by one empty line each', async () => {
    const { talk } = await start();
    talk.send(`\r\n${GET}\r\n${GET}`);
    expect(await talk.until(OK + OK)).toBe(OK + OK);
    talk.send(`\r\n\r\n${GET}`);
    expect(await talk.closed()).toContain('400');
  });

  test('that were sent ahead are answered in order, the next not before the one before', async () => {
    const seen: Exchange[] = [];
    const { talk } = await start({ request: x => seen.push(x) });
    talk.send(
      'GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n',
    );
    const answered: string[] = [];
    while (answered.length < 3) {
      if (seen.length === answered.length) await new Promise(resolve => setImmediate(resolve));
      else {
        expect(seen).toHaveLength(answered.length + 1);
        const x = seen.at(-1) as Exchange;
        answered.push(x.head.target);
        reply(x, 'ok');
      }
    }
    expect(answered).toEqual(['/1', '/2', '/3']);
    await talk.until('okHTTP/1.1 200 R\r\ncontent-length: 2\r\n\r\nok');
  });

  test('behind a refusal with a complete body are served', async () => {
    const { talk } = await start({ request: x => (x.head.target === '/no' ? reply(x, 'no', 403) : ok(x)) });
    talk.send(`GET /no HTTP/1.1\r\nhost: a\r\n\r\n${GET}`);
    expect(await talk.until(OK)).toBe(`HTTP/1.1 403 R\r\ncontent-length: 2\r\n\r\nno${OK}`);
  });

  test('behind a malformed one are not', async () => {
    const seen: string[] = [];
    const { talk } = await start({ request: x => (seen.push(x.head.target), ok(x)) });
    talk.send(`${GET}GET /\\ HTTP/1.1\r\nhost: a\r\n\r\n${GET}`);
    const refusal = 'The request target holds a backslash';
    expect(await talk.closed()).toBe(
      `${OK}HTTP/1.1 400 R\r\ncontent-length: 36\r\nconnection: close\r\n\r\n${refusal}`,
    );
    expect(seen).toEqual(['/']);
  });

  test.each([
    ['GET / HTTP/1.1\nhost: a\n\n', 'A line that ends with a bare LF'],
    ['\x16\x03\x01\x02\x00', 'What was sent is not an HTTP request'],
    ['\rG', 'A bare CR before the request line'],
    [`GET /${'a'.repeat(33_000)}`, 'The request target is too long'],
    [`GET / HTTP/1.1\r\nx: ${'a'.repeat(33_000)}`, 'The request head is too large'],
    [`GET / HTTP/1.1\r\nx: ${'a'.repeat(33_000)}\r\n\r\n`, 'The request head is too large'],
  ])('that cannot become right are refused at once: %.40j', async (text, message) => {
    const { talk } = await start();
    talk.send(text);
    expect(await talk.closed()).toContain(message);
  });

  test('a hundred thousand on one connection', async () => {
    const { talk } = await start({
      request: x => x.respond({ status: 204, reason: '', headers: [], length: undefined }).end([]),
    });
    const expected = 100_000 * 'HTTP/1.1 204 \r\n\r\n'.length;
    talk.socket.removeAllListeners('data');
    const batch = GET.repeat(1000);
    for (let i = 0; i < 100; i++) talk.socket.write(batch);
    let received = 0;
    for await (const chunk of talk.socket) {
      received += (chunk as Buffer).length;
      if (received >= expected) break;
    }
    expect(received).toBe(expected);
  });
});

describe('the answer', () => {
  const ask = async (request: string, answer: (x: Exchange) => void, end: string): Promise<string> => {
    const { talk } = await start({ request: answer });
    talk.send(request);
    return talk.until(end);
  };
  const head = (line: string, fields = 'host: a\r\n'): string => `${line}\r\n${fields}\r\n`;
  const respond = (x: Exchange, status: number, length: number | undefined): Sink =>
    x.respond({ status, reason: 'R', headers: ['x', 'y'], length });

  test('of unknown length goes in chunks, with trailers', async () => {
    const answer = (x: Exchange): void => {
      const sink = respond(x, 200, undefined);
      for (const part of ['abc', '', '0123456789']) sink.write(Buffer.from(part));
      sink.end(['x-t', '1']);
    };
    expect(await ask(GET, answer, 'x-t: 1\r\n\r\n')).toBe(
      'HTTP/1.1 200 R\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n',
    );
  });

  test('of unknown length in one chunk too long to be copied ends with its trailers', async () => {
    const part = 'é'.repeat(COALESCE_BYTES + 1);
    const answer = (x: Exchange): void => {
      const sink = respond(x, 200, undefined);
      sink.write(Buffer.from(part, 'latin1'));
      sink.end(['x-t', 'ü']);
    };
    expect(await ask(GET, answer, 'x-t: ü\r\n\r\n')).toBe(
      `HTTP/1.1 200 R\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n3001\r\n${part}\r\n0\r\nx-t: ü\r\n\r\n`,
    );
  });

  test('of unknown length ends with the connection for HTTP/1.0', async () => {
    const { talk } = await start({
      request: x => {
        const sink = respond(x, 200, undefined);
        sink.write(Buffer.from('abc'));
        sink.end(['x-t', '1']);
      },
    });
    talk.send(head('GET / HTTP/1.0', 'host: a\r\nconnection: keep-alive\r\n'));
    expect(await talk.closed()).toBe('HTTP/1.1 200 R\r\nx: y\r\nconnection: close\r\n\r\nabc');
  });

  test('tells HTTP/1.0 that the connection stays', async () => {
    const { talk } = await start();
    const request = head('GET / HTTP/1.0', 'host: a\r\nconnection: keep-alive\r\n');
    const answer = 'HTTP/1.1 200 R\r\ncontent-length: 6\r\nconnection: keep-alive\r\n\r\nGET / ';
    talk.send(request + request);
    expect(await talk.until(answer + answer)).toBe(answer + answer);
  });

  test.each([
    ['HEAD / HTTP/1.1', 200, 5, 'HTTP/1.1 200 R\r\nx: y\r\ncontent-length: 5\r\n\r\n'],
    ['HEAD / HTTP/1.1', 200, undefined, 'HTTP/1.1 200 R\r\nx: y\r\n\r\n'],
    ['GET / HTTP/1.1', 304, 5, 'HTTP/1.1 304 R\r\nx: y\r\ncontent-length: 5\r\n\r\n'],
    ['GET / HTTP/1.1', 204, undefined, 'HTTP/1.1 204 R\r\nx: y\r\n\r\n'],
    ['GET / HTTP/1.1', 204, 0, 'HTTP/1.1 204 R\r\nx: y\r\n\r\n'],
  ])('to %s with %i has no body', async (line, status, length, expected) => {
    const { talk } = await start({
      request: x => {
        const sink = x.head.target === '/' ? respond(x, status, length) : null;
        sink?.write(Buffer.from('hello'));
        sink?.end(['x-t', '1']);
        if (!sink) reply(x, 'next');
      },
    });
    talk.send(head(line) + head('GET /next HTTP/1.1'));
    expect(await talk.until('next')).toBe(`${expected}HTTP/1.1 200 R\r\ncontent-length: 4\r\n\r\nnext`);
  });

  test('comes behind 1xx answers, which HTTP/1.0 is spared', async () => {
    const answer = (x: Exchange): void => {
      x.informational(103, 'Early Hints', ['link', 'x']);
      reply(x, 'ok');
      x.informational(103, 'Too Late', []);
    };
    const final = 'HTTP/1.1 200 R\r\ncontent-length: 2\r\n';
    expect(await ask(GET, answer, 'ok')).toBe(`HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${final}\r\nok`);
    expect(await ask(head('GET / HTTP/1.0'), answer, 'ok')).toBe(`${final}connection: close\r\n\r\nok`);
  });

  test('to Expect: 100-continue may let the body come', async () => {
    const { talk } = await start({
      request: x => {
        expect(x.head.expectContinue).toBe(true);
        x.informational(100, 'Continue', []);
        ok(x);
      },
    });
    talk.send(head('POST / HTTP/1.1', 'host: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n'));
    await talk.until('100 Continue\r\n\r\n');
    talk.send('abc');
    expect(await talk.until('abc')).toContain('content-length: 10\r\n\r\nPOST / abc');
  });

  test('leaves with its body in one write, and is not held longer than to the end of the turn', async () => {
    const { x, listener, talk } = await unanswered(GET);
    const writes: number[] = [];
    const socket = listener.sockets[0];
    if (!socket) throw new Error('no socket');
    const write = socket.write.bind(socket);
    socket.write = ((data: string | Buffer, encoding?: BufferEncoding) => {
      writes.push(data.length);
      return write(data, encoding);
    }) as typeof socket.write;
    const sink = respond(x, 200, undefined);
    expect(writes).toEqual([]);
    sink.write(Buffer.from('abc'));
    await talk.until('abc\r\n');
    sink.end([]);
    await talk.until('0\r\n\r\n');
    expect(writes).toHaveLength(2);
  });

  test('head is sent alone on flush', async () => {
    const { x, talk } = await unanswered(GET);
    respond(x, 200, 5);
    x.flush();
    expect(await talk.until('\r\n\r\n')).toBe('HTTP/1.1 200 R\r\nx: y\r\ncontent-length: 5\r\n\r\n');
  });

  test.each([
    ['more', 2],
    ['less', 9],
  ])('with %s bytes than declared breaks the connection', async (_, declared) => {
    const { x, talk } = await unanswered(GET);
    const sink = respond(x, 200, declared);
    x.flush();
    sink.write(Buffer.from('hello'));
    sink.end([]);
    await talk.closed();
    expect(x.done).toBe(true);
  });

  test('that is aborted never ends cleanly', async () => {
    const { x, talk } = await unanswered(GET);
    const sink = respond(x, 200, undefined);
    sink.write(Buffer.from('abc'));
    await talk.until('abc\r\n');
    sink.abort(new Error('cut short'));
    expect(await talk.closed()).not.toContain('0\r\n\r\n');
    expect(x.done).toBe(true);
  });

  test('with a character beyond latin1 is not written', async () => {
    const { x } = await unanswered(GET);
    const headers = ['x', 'a\u010dset-cookie: b'];
    expect(() => x.respond({ status: 200, reason: '', headers, length: 0 })).toThrow('latin1');
  });

  test('counts the bytes of both directions', async () => {
    const request =
      head('POST / HTTP/1.1', 'host: a\r\ntransfer-encoding: chunked\r\n') + '3\r\nabc\r\n0\r\n\r\n';
    const { x, talk } = await unanswered(request);
    expect(x.bytesIn).toBe(request.length);
    x.informational(100, 'Continue', []);
    const sink = respond(x, 200, undefined);
    sink.write(Buffer.from('abc'));
    sink.end(['x', 'y']);
    const text = await talk.until('0\r\nx: y\r\n\r\n');
    expect(x.bytesOut).toBe(text.length);
  });
});

describe('an answer before the whole body came', () => {
  test('closes the connection, and can be read by a client that goes on sending', async () => {
    const { talk } = await start({ request: x => reply(x, 'no', 403) });
    talk.send('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n');
    for (let i = 0; i < 20; i++) talk.send(Buffer.alloc(100_000));
    const text = await talk.closed();
    expect(text).toBe('HTTP/1.1 403 R\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno');
  });

  test('aborts the body for whoever still reads it', async () => {
    const { x } = await unanswered('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab');
    const events: string[] = [];
    x.body.pipe({
      onDrain: null,
      write: c => events.push(c.toString()) > 0,
      end: () => events.push('end'),
      abort: e => events.push(e.message),
    });
    reply(x, 'no');
    expect(events).toEqual(['ab', 'the request was answered before its body was complete']);
  });
});

describe('a client that', () => {
  test('goes away while it waits is noticed', async () => {
    const { x, talk } = await unanswered(GET);
    const abort = aborted(x);
    talk.socket.destroy();
    await abort;
    expect(x.done).toBe(true);
    const sink = x.respond({ status: 200, reason: '', headers: [], length: 2 });
    sink.write(Buffer.from('ok'));
    sink.end([]);
  });

  test('closes its half while it waits is taken for gone', async () => {
    const { x, talk } = await unanswered(GET);
    const abort = aborted(x);
    talk.socket.end();
    expect((await abort).message).toBe('the client closed the connection');
  });

  test('goes away in its body aborts the body', async () => {
    const { x, talk } = await unanswered('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab');
    const broken = new Promise<Error>(resolve => {
      x.body.pipe({ onDrain: null, write: () => true, end: () => {}, abort: resolve });
    });
    talk.socket.end();
    expect((await broken).message).toBe('the client closed the connection');
  });

  test.each([
    ['in a later packet', true],
    ['in the first packet', false],
  ])('breaks its body %s is told so', async (_, later) => {
    const head = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n';
    const causes: Error[] = [];
    const { talk } = await start({
      request: x => {
        x.onAbort = cause => {
          causes.push(cause);
          void Promise.resolve().then(() => reply(x, 'bad', (cause as Refusal).status));
        };
        x.body.pipe({ onDrain: null, write: () => true, end: () => {}, abort: cause => causes.push(cause) });
        if (later) talk.send('3;x\r\n');
      },
    });
    talk.send(later ? head : `${head}3;x\r\nabc\r\n`);
    expect(await talk.closed()).toBe('HTTP/1.1 400 R\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbad');
    expect(causes.map(c => c.message)).toEqual(
      Array.from({ length: 2 }, () => 'A chunk size that is not 1 to 8 hexadecimal digits and CRLF'),
    );
  });

  test('breaks its body behind the start of the answer is cut off', async () => {
    const { x, talk } = await unanswered('POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n');
    const abort = aborted(x);
    x.respond({ status: 200, reason: '', headers: [], length: 5 });
    x.flush();
    await talk.until('\r\n\r\n');
    talk.send('x');
    expect(((await abort) as Refusal).code).toBe('malformed_request');
    await talk.closed();
  });

  test('does not read stops the one who writes, until it does', async () => {
    const { x, talk } = await unanswered(GET);
    talk.socket.pause();
    const sink = x.respond({ status: 200, reason: '', headers: [], length: undefined });
    const chunk = Buffer.alloc(65_536);
    let written = 0;
    while (sink.write(chunk)) {
      written += chunk.length;
      await new Promise(resolve => setImmediate(resolve));
    }
    const drained = new Promise<void>(resolve => (sink.onDrain = resolve));
    expect(written).toBeLessThan(16 * 1024 * 1024);
    talk.socket.resume();
    await drained;
    sink.end([]);
    await talk.until('0\r\n\r\n');
  });

  test('sends a body that nobody takes is stopped', async () => {
    const { x, talk, listener } = await unanswered(
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n',
    );
    while (talk.socket.write(Buffer.alloc(65_536))) await new Promise(resolve => setImmediate(resolve));
    const read = listener.sockets[0]?.bytesRead ?? 0;
    expect(read).toBeLessThan(1024 * 1024);
    const sizes: number[] = [];
    const sink: Sink = {
      onDrain: null,
      write: c => sizes.push(c.length) < 0,
      end: () => {},
      abort: () => {},
    };
    x.body.pipe(sink);
    const before = sizes.length;
    sink.onDrain?.();
    while (sizes.length === before) await new Promise(resolve => setImmediate(resolve));
  });
});

describe('CONNECT', () => {
  test('gives the socket up, paused, with what came behind the head', async () => {
    const { promise, resolve } = Promise.withResolvers<Exchange>();
    const closed: string[] = [];
    const { talk, listener } = await start({ request: resolve, closed: () => closed.push('closed') }, true);
    talk.send('CONNECT a:443 HTTP/1.0\r\n\r\n\x16\x03');
    const x = await promise;
    expect(x.head.target).toBe('a:443');
    const connection = listener.connections[0];
    expect(connection?.detach().toString('latin1')).toBe('\x16\x03');
    expect(connection?.socket.isPaused()).toBe(true);
    connection?.socket.write('HTTP/1.1 200 OK\r\n\r\n');
    await talk.until('\r\n\r\n');
    const more = once(connection?.socket as NodeJS.EventEmitter, 'data');
    talk.send('more');
    connection?.socket.resume();
    expect((await more).join()).toBe('more');
    connection?.sweep(performance.now() + 1e9);
    connection?.drain();
    connection?.destroy();
    expect(connection?.socket.destroyed).toBe(false);
    connection?.socket.destroy();
    await talk.closed();
    expect(closed).toEqual([]);
  });

  test('may be answered with a head alone', async () => {
    const { talk } = await start(
      {
        request: x =>
          x
            .respond({ status: 200, reason: 'Connection established', headers: [], length: undefined })
            .end([]),
      },
      true,
    );
    talk.send('CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n');
    expect(await talk.until('\r\n\r\n')).toBe('HTTP/1.1 200 Connection established\r\n\r\n');
  });

  test('that is refused leaves the connection usable', async () => {
    const { talk } = await start({ request: x => reply(x, 'no', 407) }, true);
    for (const end of ['no', 'noHTTP/1.1 407 R\r\ncontent-length: 2\r\n\r\nno']) {
      talk.send('CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n');
      expect(await talk.until(end)).not.toContain('close');
    }
  });
});

describe('drain', () => {
  test('closes an idle connection at once', async () => {
    const { talk, listener } = await start();
    talk.send(GET);
    await talk.until(OK);
    listener.connections[0]?.drain();
    expect(await talk.closed()).toBe(OK);
  });

  test('lets the request under way finish, and no other', async () => {
    const { x, talk, listener } = await unanswered(GET + GET);
    listener.connections[0]?.drain();
    reply(x, 'ok');
    expect(await talk.closed()).toBe('HTTP/1.1 200 R\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok');
  });

  test('closes behind an answer that was begun before', async () => {
    const { x, talk, listener } = await unanswered(GET);
    const sink = x.respond({ status: 200, reason: 'R', headers: [], length: 2 });
    x.flush();
    listener.connections[0]?.drain();
    sink.write(Buffer.from('ok'));
    sink.end([]);
    expect(await talk.closed()).toBe('HTTP/1.1 200 R\r\ncontent-length: 2\r\n\r\nok');
  });
});
