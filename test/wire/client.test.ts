import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { CHUNKED, type Sink } from '../../src/types.ts';
import { CLIENT_LIMITS, ClientConnection, NONE } from '../../src/wire/client.ts';

/** An upstream that speaks bytes, and our leg to it. */
class Upstream {
  readonly #server: Server = createServer(socket => this.#accepted.resolve(socket));
  readonly #accepted = Promise.withResolvers<Socket>();
  readonly log: string[] = [];
  connection!: ClientConnection;
  peer!: Socket;
  received = '';
  #moved = Promise.withResolvers<void>();

  async open(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const socket = connect((this.#server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    this.peer = await this.#accepted.promise;
    this.peer.on('data', chunk => this.#note(() => (this.received += chunk.toString('latin1'))));
    this.peer.on('error', () => {});
    this.connection = new ClientConnection(socket, CLIENT_LIMITS, {
      free: () => this.#note(() => this.log.push('free')),
      closed: () => this.#note(() => this.log.push('closed')),
    });
    return this;
  }

  #note(change: () => void): void {
    change();
    this.#moved.resolve();
    this.#moved = Promise.withResolvers();
  }

  async until(isThere: () => boolean): Promise<void> {
    while (!isThere()) await this.#moved.promise;
  }

  send(length: number, method = 'GET', into?: Sink): Sink {
    const note = (text: string): void => this.#note(() => this.log.push(text));
    const body: Sink = into ?? {
      onDrain: null,
      write: chunk => (note(`+${chunk.toString('latin1')}`), true),
      end: trailers => note(`end ${trailers.join()}`),
      abort: cause => note(`abort ${cause.message}`),
    };
    return this.connection.send(`${method} / HTTP/1.1\r\nHost: a\r\n`, method, length, {
      informational: head => note(`${head.status} ${head.headers.join()}`),
      response: (head, source) => {
        note(`${head.status} ${head.reason} ${head.length}`);
        source.pipe(body);
      },
      failed: (refusal, retryable) =>
        note(`${refusal.code}: ${refusal.message} ${retryable ? '(retryable)' : ''}`.trim()),
    });
  }

  /** What happens when a request is answered so; `fin`: then the connection is closed. */
  async answered(text: string, method = 'GET', fin = false): Promise<string[]> {
    this.send(NONE, method).end([]);
    await this.until(() => this.received.endsWith('\r\n\r\n'));
    this.received = '';
    this.peer.write(text, 'latin1');
    if (fin) this.peer.end();
    await this.until(() => this.log.some(line => line === 'free' || line === 'closed'));
    return this.log;
  }

  close(): void {
    this.peer.destroy();
    this.connection.destroy();
    this.#server.close();
  }
}

let upstreams: Upstream[] = [];
afterEach(() => {
  for (const upstream of upstreams) upstream.close();
  upstreams = [];
});

async function open(): Promise<Upstream> {
  const upstream = await new Upstream().open();
  upstreams.push(upstream);
  return upstream;
}

const joinedBody = (log: string[]): string[] => {
  const body = log.filter(line => line.startsWith('+')).map(line => line.slice(1));
  return [...log.filter(line => !line.startsWith('+')), body.join('')];
};

describe('a request', () => {
  test.each([
    ['without content', NONE, [], 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['with an empty body', 0, [], 'GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n'],
    ['with a length', 5, ['hel', 'lo'], 'GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\nhello'],
    [
      'in chunks',
      CHUNKED,
      ['hel', 'lo'],
      'GET / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nx: y\r\n\r\n',
    ],
  ])('%s is written', async (_, length, chunks, expected) => {
    const upstream = await open();
    const sink = upstream.send(length);
    for (const chunk of chunks) sink.write(Buffer.from(chunk));
    sink.end(['x', 'y']);
    await upstream.until(() => upstream.received.length >= expected.length);
    expect(upstream.received).toBe(expected);
  });

  test('head is held for its body until flush', async () => {
    const upstream = await open();
    upstream.send(5);
    upstream.connection.flush();
    await upstream.until(() => upstream.received !== '');
    expect(upstream.received).toBe('GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\n');
  });

  test('whose body breaks is not completed', async () => {
    const upstream = await open();
    const sink = upstream.send(CHUNKED);
    sink.write(Buffer.from('abc'));
    sink.abort(new Error('client gone'));
    await upstream.until(() => upstream.log.includes('closed'));
    expect(upstream.log).toEqual(['internal_error: The gate failed', 'closed']);
    await once(upstream.peer, 'close');
    expect(upstream.received).not.toContain('0\r\n\r\n');
  });

  test('cannot be sent while another is under way', async () => {
    const upstream = await open();
    upstream.send(NONE);
    expect(() => upstream.send(NONE)).toThrow('under way');
  });

  test('on a connection that is closed already fails as retryable', async () => {
    const upstream = await open();
    upstream.peer.destroy();
    await upstream.until(() => upstream.log.includes('closed'));
    upstream.send(NONE).end([]);
    await upstream.until(() => upstream.log.length > 1);
    expect(upstream.log).toEqual([
      'closed',
      'upstream_unreachable: The upstream closed the connection before it answered (retryable)',
    ]);
  });
});

describe('an answer', () => {
  test.each([
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello', 'GET', ['200 OK 5', 'end ', 'free', 'hello']],
    ['HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', 'GET', ['200 OK 0', 'end ', 'free', '']],
    [
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nx: y\r\n\r\n',
      'GET',
      ['200 OK -1', 'end x,y', 'free', 'hello'],
    ],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', 'HEAD', ['200 OK 0', 'end ', 'free', '']],
    ['HTTP/1.1 204 No Content\r\n\r\n', 'GET', ['204 No Content 0', 'end ', 'free', '']],
    [
      'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n',
      'GET',
      ['304 Not Modified 0', 'end ', 'free', ''],
    ],
    [
      'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
      'GET',
      ['103 link,x', '200 OK 2', 'end ', 'free', 'ok'],
    ],
    [
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok',
      'GET',
      ['200 OK 2', 'end ', 'closed', 'ok'],
    ],
    ['HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok', 'GET', ['200 OK 2', 'end ', 'closed', 'ok']],
  ])('%j to %s is delivered', async (text, method, expected) => {
    const upstream = await open();
    expect(joinedBody(await upstream.answered(text, method))).toEqual(expected);
  });

  test('is read byte by byte', async () => {
    const upstream = await open();
    upstream.peer.setNoDelay(true);
    upstream.send(NONE).end([]);
    const text =
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
    for (const byte of text) {
      upstream.peer.write(byte);
      await new Promise(resolve => setImmediate(resolve));
    }
    await upstream.until(() => upstream.log.includes('free'));
    expect(joinedBody(upstream.log)).toEqual(['100 ', '200 OK -1', 'end ', 'free', 'abc']);
  });

  test('may be followed by another request', async () => {
    const upstream = await open();
    for (let i = 0; i < 3; i++) {
      expect(upstream.connection.requests).toBe(i);
      await upstream.answered('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      expect(upstream.log.splice(0)).toEqual(['200 OK 2', '+ok', 'end ', 'free']);
    }
  });

  test('without a length ends with the connection', async () => {
    const upstream = await open();
    const log = await upstream.answered('HTTP/1.1 200 OK\r\n\r\nhello', 'GET', true);
    expect(joinedBody(log)).toEqual(['200 OK -2', 'end ', 'closed', 'hello']);
  });

  const cut = 'abort The upstream closed the connection before the answer was complete';
  test.each([
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel', ['200 OK 5', cut, 'closed', 'hel']],
    [
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n',
      ['200 OK -1', cut, 'closed', 'hel'],
    ],
    [
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n',
      ['200 OK -1', cut, 'closed', 'hel'],
    ],
    [
      'HTTP/1.1 200 OK\r\ncontent-le',
      ['upstream_unreachable: The upstream closed the connection before it answered', 'closed', ''],
    ],
    [
      '',
      [
        'upstream_unreachable: The upstream closed the connection before it answered (retryable)',
        'closed',
        '',
      ],
    ],
  ])('%j cut there is told to be incomplete', async (text, expected) => {
    const upstream = await open();
    expect(joinedBody(await upstream.answered(text, 'GET', true))).toEqual(expected);
  });

  test('without a length is incomplete when the connection breaks', async () => {
    const upstream = await open();
    upstream.send(NONE).end([]);
    upstream.peer.write('HTTP/1.1 200 OK\r\n\r\nhel');
    await upstream.until(() => upstream.log.includes('+hel'));
    upstream.peer.resetAndDestroy();
    await upstream.until(() => upstream.log.includes('closed'));
    expect(upstream.log).toEqual(['200 OK -2', '+hel', cut, 'closed']);
  });

  const size = 'abort A chunk size that is not 1 to 8 hexadecimal digits and CRLF';
  test.each([
    ['HTTP/1.1 200 OK\nx: y\n\n', ['upstream_malformed: A line that ends with a bare LF', 'closed']],
    ['SSH-2.0-x\r\n\r\n', ['upstream_malformed: The status line is not "HTTP/1.1 status reason"', 'closed']],
    [
      `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(CLIENT_LIMITS.head)}`,
      ['upstream_malformed: The response head is too large', 'closed'],
    ],
    [
      'HTTP/1.1 100 Continue\r\n\r\n'.repeat(17),
      [...Array.from({ length: 16 }, () => '100 '), 'upstream_malformed: Too many interim answers', 'closed'],
    ],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx', ['200 OK -1', size, 'closed']],
    [
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3;x\r\n',
      ['200 OK -1', '+abc', size, 'closed'],
    ],
  ])('%.60j is refused', async (text, expected) => {
    const upstream = await open();
    expect(await upstream.answered(text)).toEqual(expected);
  });

  test.each([
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil',
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n',
  ])('%j is delivered, and its connection never used again', async text => {
    const upstream = await open();
    expect(await upstream.answered(text)).toEqual(['200 OK 2', '+ok', 'end ', 'closed']);
  });

  test('that nobody asked for destroys the connection', async () => {
    const upstream = await open();
    upstream.peer.write('HTTP/1.1 200 OK\r\n');
    await upstream.until(() => upstream.log.length > 0);
    expect(upstream.log).toEqual(['closed']);
  });

  test('before the request was sent is refused', async () => {
    const upstream = await open();
    upstream.send(5);
    upstream.peer.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
    await upstream.until(() => upstream.log.length > 1);
    expect(upstream.log).toEqual(['upstream_malformed: An answer before the request (retryable)', 'closed']);
  });

  test('before the whole request was sent is delivered; the rest of the request is dropped', async () => {
    const upstream = await open();
    const sink = upstream.send(10);
    sink.write(Buffer.from('hello'));
    await upstream.until(() => upstream.received.endsWith('hello'));
    upstream.peer.write('HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno');
    await upstream.until(() => upstream.log.includes('closed'));
    expect(upstream.log).toEqual(['413 Too Large 2', '+no', 'end ', 'closed']);
    expect(sink.write(Buffer.from('world'))).toBe(true);
    sink.end([]);
    sink.abort(new Error('late'));
  });

  test('that its reader cannot take stops the upstream', async () => {
    const upstream = await open();
    const sizes: number[] = [];
    const full: Sink = {
      onDrain: null,
      write: c => sizes.push(c.length) < 0,
      end: () => {},
      abort: () => {},
    };
    upstream.send(NONE, 'GET', full).end([]);
    upstream.peer.write('HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n');
    while (upstream.peer.write(Buffer.alloc(65_536))) await new Promise(resolve => setImmediate(resolve));
    expect(sizes.reduce((a, b) => a + b)).toBeLessThan(1024 * 1024);
    const before = sizes.length;
    full.onDrain?.();
    while (sizes.length === before) await new Promise(resolve => setImmediate(resolve));
  });
});

describe('a request that is given up', () => {
  test('takes its connection with it', async () => {
    const upstream = await open();
    const sink = upstream.send(NONE);
    sink.end([]);
    upstream.connection.cancel(sink);
    await upstream.until(() => upstream.log.includes('closed'));
    expect(upstream.log).toEqual([
      'upstream_unreachable: The upstream closed the connection before it answered (retryable)',
      'closed',
    ]);
  });

  test('after it was answered does not disturb the next one', async () => {
    const upstream = await open();
    const sink = upstream.send(NONE);
    sink.end([]);
    upstream.peer.write('HTTP/1.1 204 No Content\r\n\r\n');
    await upstream.until(() => upstream.log.includes('free'));
    upstream.send(NONE).end([]);
    upstream.connection.cancel(sink);
    expect(upstream.connection.socket.destroyed).toBe(false);
  });
});
