import tls from 'node:tls';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, dial, header, openTls, readReply } from '../support/raw-client.ts';
import type { Peer } from '../support/peer.ts';
import { type RawUpstream, startRaw } from '../support/upstream.ts';
import { before, type Case, checkAround, fill, message, play, request } from './case.ts';
import { type Answer, OK } from './recorder.ts';
import { openScene, type Scene } from './scene.ts';

let scene: Scene;
/** Scripted by hand: other.test. */
let raw: RawUpstream;
beforeAll(async () => {
  raw = await startRaw({ hosts: ['other.test'] });
  scene = await openScene({ resolve: { 'other.test': raw.address } });
});
afterAll(async () => {
  await scene.close();
  await raw.close();
});

const named = (cases: readonly Case[]): [string, Case][] => cases.map(c => [c.name, c]);
const MALFORMED = { status: 400, reason: 'malformed_request' } as const;
const HEAD = ['Host: api.test', 'Authorization: Bearer STUB'];
const post = (lines: readonly string[], body = ''): string =>
  message(['POST /x HTTP/1.1', ...HEAD, ...lines], body);
const sent = (text: string): string => text.replace('STUB', 'SECRET');
const SMUGGLED = message(['GET /smuggled HTTP/1.1', ...HEAD]);
const INNER = message(['GET /smuggled HTTP/1.1', 'Host: api.test']);
/** Leaves nothing in the gate's pool. */
const LAST = OK.replace('OK\r\n', 'OK\r\nConnection: close\r\n');

describe('requests', () => {
  /** Header lines, a body, and what is wrong with them. */
  const bad: [what: string, lines: readonly string[], body?: string][] = [
    [
      'Content-Length and Transfer-Encoding',
      ['Content-Length: 5', 'Transfer-Encoding: chunked'],
      '0\r\n\r\n',
    ],
    [
      'Transfer-Encoding and Content-Length',
      ['Transfer-Encoding: chunked', 'Content-Length: 5'],
      '0\r\n\r\n',
    ],
    ['two equal Content-Lengths', ['Content-Length: 2', 'Content-Length: 2'], 'ab'],
    ['two different Content-Lengths', ['Content-Length: 2', 'Content-Length: 3'], 'abc'],
    ['a list of lengths', ['Content-Length: 2, 2'], 'ab'],
    ['a signed length', ['Content-Length: +2'], 'ab'],
    ['a negative length', ['Content-Length: -2']],
    ['a hexadecimal length', ['Content-Length: 0x2'], 'ab'],
    ['a length in floating point', ['Content-Length: 2.0'], 'ab'],
    ['an empty length', ['Content-Length:']],
    ['a length of 20 digits', ['Content-Length: 18446744073709551618'], 'ab'],
    ['a length with a tab behind', ['Content-Length: 2\t'], 'ab'],
    ['a length with a vertical tab before', ['Content-Length: \x0b2'], 'ab'],
    ['Transfer-Encoding xchunked', ['Transfer-Encoding: xchunked'], '0\r\n\r\n'],
    ['Transfer-Encoding chunkedx', ['Transfer-Encoding: chunkedx'], '0\r\n\r\n'],
    ['Transfer-Encoding gzip, chunked', ['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'],
    ['Transfer-Encoding chunked, identity', ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n'],
    ['Transfer-Encoding chunked, chunked', ['Transfer-Encoding: chunked, chunked'], '0\r\n\r\n'],
    ['Transfer-Encoding identity', ['Transfer-Encoding: identity']],
    ['Transfer-Encoding with a parameter', ['Transfer-Encoding: chunked;q=1'], '0\r\n\r\n'],
    ['Transfer-Encoding in quotes', ['Transfer-Encoding: "chunked"'], '0\r\n\r\n'],
    ['an empty Transfer-Encoding', ['Transfer-Encoding:'], '0\r\n\r\n'],
    ['Transfer-Encoding with a tab behind', ['Transfer-Encoding: chunked\t'], '0\r\n\r\n'],
    ['two Transfer-Encodings', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
    [
      'a hidden second Transfer-Encoding',
      ['Transfer-Encoding: chunked', 'Transfer-encoding: x'],
      '0\r\n\r\n',
    ],
    ['a space before the colon', ['Transfer-Encoding : chunked'], '0\r\n\r\n'],
    ['a tab before the colon', ['Content-Length\t: 2'], 'ab'],
    ['a folded line', ['X-A: b', ' c']],
    ['a line folded by a tab', ['X-A: b', '\tc']],
    ['a bare CR in a value', ['X-A: b\rTransfer-Encoding: chunked']],
    ['a bare LF in a value', ['X-A: b\nTransfer-Encoding: chunked']],
    ['CR CR LF', ['X-A: b\r']],
    ['a NUL in a value', ['X-A: b\0c']],
    ['a control character in a value', ['X-A: b\x01c']],
    ['DEL in a value', ['X-A: b\x7fc']],
    ['a NUL in a name', ['X\0A: b']],
    ['a name with a space inside', ['X A: b']],
    ['a name in brackets', ['(X): b']],
    ['a name beyond ASCII', ['X\xe9: b']],
    ['a line without a colon', ['XA']],
    ['a line without a name', [': b']],
    ['two Authorizations', ['Authorization: Basic eDp5']],
    ['two Content-Types', ['Content-Type: a/b', 'Content-Type: c/d']],
    ['Connection that nominates Authorization', ['Connection: authorization']],
    ['Connection that nominates Cookie', ['Connection: close, cookie']],
    [
      'Connection that nominates the header of a secret',
      ['Connection: x-secret-header', 'X-Secret-Header: a'],
    ],
    ['Connection that nominates Content-Length', ['Connection: content-length', 'Content-Length: 0']],
    ['Connection that nominates X-Forwarded-For', ['Connection: keep-alive, X-Forwarded-For']],
    ['Connection that is no list of tokens', ['Connection: a b']],
    ['an Expect other than 100-continue', ['Expect: 200-ok', 'Content-Length: 0']],
    ['two Expects', ['Expect: 100-continue', 'Expect: 100-continue', 'Content-Length: 0']],
  ];
  test.each(bad)('%s: refused', async (name, lines, body = '') => {
    await play(scene, { name, send: post(lines, body), ...MALFORMED });
  });

  const line = (text: string): string => message([text, ...HEAD]);
  const badLines: readonly (readonly [what: string, head: string])[] = [
    ['a method in lower case', line('get /x HTTP/1.1')],
    ['a method in mixed case', line('Get /x HTTP/1.1')],
    ['a method with a control character', line('GE\x01T /x HTTP/1.1')],
    ['a method of 21 letters', line(`${'A'.repeat(21)} /x HTTP/1.1`)],
    ['two spaces before the target', line('GET  /x HTTP/1.1')],
    ['two spaces behind the target', line('GET /x  HTTP/1.1')],
    ['a tab before the target', line('GET\t/x HTTP/1.1')],
    ['a space in the target', line('GET /x y HTTP/1.1')],
    ['no version', line('GET /x')],
    ['a version in lower case', line('GET /x http/1.1')],
    ['HTTP/1.2', line('GET /x HTTP/1.2')],
    ['HTTP/2.0', line('GET /x HTTP/2.0')],
    ['HTTP/0.9', line('GET /x HTTP/0.9')],
    ['HTTP/1.1 and a space', line('GET /x HTTP/1.1 ')],
    ['HTTP/01.1', line('GET /x HTTP/01.1')],
    ['a space before the method', line(' GET /x HTTP/1.1')],
    ['two empty lines before the request', `\r\n\r\n${line('GET /x HTTP/1.1')}`],
    ['a bare LF before the request', `\n${line('GET /x HTTP/1.1')}`],
    ['a bare CR before the request', `\r${line('GET /x HTTP/1.1')}`],
    ['lines that end with LF', line('GET /x HTTP/1.1').replaceAll('\r\n', '\n')],
    ['one line that ends with LF', line('GET /x HTTP/1.1').replace('\r\n', '\n')],
    ['white space at the start of the first header', line('GET /x HTTP/1.1').replace('Host', ' Host')],
    ['chunks in HTTP/1.0', message(['POST /x HTTP/1.0', ...HEAD, 'Transfer-Encoding: chunked'], '0\r\n\r\n')],
    ['binary', '\x16\x03\x01\x00\x05hello\r\n\r\n'],
  ];
  test.each(badLines)('%s: refused', async (name, send) => {
    await play(scene, { name, send, ...MALFORMED });
  });

  const badChunks: readonly (readonly [what: string, body: string])[] = [
    ['an extension', '2;a=b\r\nab\r\n0\r\n\r\n'],
    ['an extension with a line break', '2;\nab\r\n0\r\n\r\n'],
    ['a space behind the size', '2 \r\nab\r\n0\r\n\r\n'],
    ['a hexadecimal prefix', '0x2\r\nab\r\n0\r\n\r\n'],
    ['a sign', '+2\r\nab\r\n0\r\n\r\n'],
    ['a negative size', '-2\r\nab\r\n0\r\n\r\n'],
    ['no size', '\r\nab\r\n0\r\n\r\n'],
    ['letters for a size', 'xy\r\nab\r\n0\r\n\r\n'],
    ['a size of nine digits', '100000002\r\nab\r\n0\r\n\r\n'],
    ['a size of 17 digits', '10000000000000002\r\nab\r\n0\r\n\r\n'],
    ['LF behind the size', '2\nab\r\n0\r\n\r\n'],
    ['CR behind the size', '2\rab\r\n0\r\n\r\n'],
    ['data longer than its size', '2\r\nabc\r\n0\r\n\r\n'],
    ['data shorter than its size', '3\r\nab\r\n0\r\n\r\n'],
    ['LF behind the data', '2\r\nab\n0\r\n\r\n'],
    ['a trailer', '2\r\nab\r\n0\r\nX-A: b\r\n\r\n'],
    ['a trailer that is a credential', '2\r\nab\r\n0\r\nAuthorization: Bearer x\r\n\r\n'],
    ['a trailer that is a length', '2\r\nab\r\n0\r\nContent-Length: 2\r\n\r\n'],
    ['a trailer that is a Host', '2\r\nab\r\n0\r\nHost: evil.test\r\n\r\n'],
    ['a trailer that ends with LF', '2\r\nab\r\n0\r\nX-A: b\n\r\n'],
  ];
  test.each(badChunks)('a chunked body with %s never reaches the upstream complete', async (name, body) => {
    await play(scene, {
      name,
      send: post(
        ['Transfer-Encoding: chunked'],
        body + (name.startsWith('a trailer that is') || name === 'a trailer' ? '' : SMUGGLED),
      ),
      ...MALFORMED,
      upstream: /^(?!.*\r\n0\r\n)(?!.*smuggled)/s,
    });
  });

  test.each([
    ['the stub', 'X-A: STUB', 'stub_misplaced'],
    ['the stub as its header', 'Authorization: Bearer STUB', 'stub_misplaced'],
    ['a real secret', 'X-A: SECRET', 'secret_in_request'],
    ['a real secret as its header', 'Authorization: Bearer SECRET', 'secret_in_request'],
  ] as const)('a trailer with %s raises an alarm, and is not passed on', async (name, trailer, reason) => {
    await play(scene, {
      name,
      send: post(['Transfer-Encoding: chunked'], `2\r\nab\r\n0\r\n${trailer}\r\n\r\n`),
      status: 403,
      reason,
      upstream: /^(?!.*\r\n0\r\n)(?!.*x-a)/is,
    });
  });

  const OK_BODY = { status: 200, body: 'ok' } as const;
  const accepted: Case[] = [
    {
      name: 'a GET with a body keeps it',
      send: request('/x', ['Content-Length: 2'], 'GET', 'ab'),
      ...OK_BODY,
      upstream: sent(message(['GET /x HTTP/1.1', ...HEAD, 'content-length: 2'], 'ab')),
    },
    {
      name: 'a DELETE with a body keeps it',
      send: request('/x', ['Content-Length: 2'], 'DELETE', 'ab'),
      ...OK_BODY,
      upstream: sent(message(['DELETE /x HTTP/1.1', ...HEAD, 'content-length: 2'], 'ab')),
    },
    {
      name: 'a GET with chunks keeps them',
      send: request('/x', ['Transfer-Encoding: chunked'], 'GET', '2\r\nab\r\n0\r\n\r\n'),
      ...OK_BODY,
      upstream: sent(
        message(['GET /x HTTP/1.1', ...HEAD, 'transfer-encoding: chunked'], '2\r\nab\r\n0\r\n\r\n'),
      ),
    },
    {
      name: 'chunked in capitals is chunked',
      send: post(['Transfer-Encoding: CHUNKED'], '2\r\nab\r\n0\r\n\r\n'),
      ...OK_BODY,
      upstream: sent(post(['transfer-encoding: chunked'], '2\r\nab\r\n0\r\n\r\n')),
    },
    {
      name: 'chunk sizes are written anew',
      send: post(['Transfer-Encoding: chunked'], '0000000A\r\n~~~~~~~~~~\r\n000\r\n\r\n'),
      ...OK_BODY,
      upstream: sent(post(['transfer-encoding: chunked'], 'a\r\n~~~~~~~~~~\r\n0\r\n\r\n')),
    },
    {
      name: 'one empty line before a request is let pass',
      send: `\r\n${request('/x')}`,
      methods: ['GET'],
      ...OK_BODY,
      upstream: sent(request('/x')),
    },
    {
      name: 'what concerns the connection ends at the gate',
      send: request('/x', [
        'Connection: close, te',
        'Keep-Alive: timeout=5',
        'Proxy-Connection: keep-alive',
        'TE: trailers',
        'HTTP2-Settings: AAM',
      ]),
      ...OK_BODY,
      headers: [['connection', 'close']],
      upstream: sent(request('/x')),
    },
    {
      name: 'Connection may not take the framing away',
      send: post(['Connection: transfer-encoding', 'Transfer-Encoding: chunked'], '2\r\nab\r\n0\r\n\r\n'),
      ...OK_BODY,
      upstream: sent(post(['transfer-encoding: chunked'], '2\r\nab\r\n0\r\n\r\n')),
    },
    {
      name: 'h2c is not offered to the upstream',
      send: request('/x', [
        'Connection: Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABk',
      ]),
      ...OK_BODY,
      upstream: sent(request('/x')),
    },
    {
      name: 'a WebSocket that the upstream answers like any request is no WebSocket',
      send: request('/x', [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Version: 13',
      ]),
      ...OK_BODY,
      upstream:
        /^GET \/x HTTP\/1\.1\r\n(?:.*\r\n)*Sec-WebSocket-Key: (?!dGhlIHNhbXBsZSBub25jZQ==)[\w+/]{22}==\r\n\r\n$/,
    },
    {
      name: 'another upgrade is refused, what follows is not read',
      send: request('/x', ['Connection: Upgrade', 'Upgrade: h2c, evil/1']) + SMUGGLED,
      status: 501,
      reason: 'upgrade_refused',
    },
    {
      name: 'a request in the body of another is a part of that body',
      send: post([`Content-Length: ${INNER.length}`], INNER),
      ...OK_BODY,
      upstream: /^POST \/x HTTP\/1\.1\r\n.*\r\ncontent-length: \d+\r\n\r\nGET \/smuggled/s,
    },
    {
      name: '200 headers are served',
      send: request(
        '/x',
        Array.from({ length: 198 }, (_, i) => `X-${i}: a`),
      ),
      ...OK_BODY,
      upstream: sent(
        request(
          '/x',
          Array.from({ length: 198 }, (_, i) => `X-${i}: a`),
        ),
      ),
    },
    {
      name: '201 headers are too many',
      send: request(
        '/x',
        Array.from({ length: 199 }, (_, i) => `X-${i}: a`),
      ),
      status: 431,
      reason: 'head_too_large',
    },
    {
      name: 'a head of 33 KB is too large',
      send: request('/x', [`X-A: ${'a'.repeat(33_000)}`]),
      status: 431,
      reason: 'head_too_large',
    },
    {
      name: 'a head without an end is too large',
      send: `GET /x HTTP/1.1\r\nX-A: ${'a'.repeat(40_000)}`,
      status: 431,
      reason: 'head_too_large',
    },
    {
      name: 'a target of 17 KB is too long',
      send: request(`/${'a'.repeat(17_000)}`),
      status: 414,
      reason: 'uri_too_long',
    },
    {
      name: 'a target without an end is too long',
      send: `GET /${'a'.repeat(40_000)}`,
      status: 414,
      reason: 'uri_too_long',
    },
  ];
  test.each(named(accepted))('%s', (_, c) => play(scene, c));

  test.each([1, 5, 17, 40])('a request that comes in packets of %i bytes is read alike', async step => {
    const text = post(['Transfer-Encoding: chunked'], '2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n');
    const { length } = fill(scene, text);
    await play(scene, {
      name: '',
      send: text,
      splits: Array.from({ length: Math.floor(length / step) }, (_, i) => (i + 1) * step),
      ...OK_BODY,
      upstream: /\r\ntransfer-encoding: chunked\r\n\r\n(?:[123]\r\n[abcde]{1,3}\r\n)+0\r\n\r\n$/,
    });
  });

  const REFUSED = { status: 403, reason: 'rule_denies' } as const;
  const pipelined: Case[] = [
    {
      name: 'pipelined requests are answered in order',
      send: request('/1') + request('/2'),
      ...OK_BODY,
      more: [OK_BODY],
      upstream: sent(request('/1')) + sent(request('/2')),
    },
    {
      name: 'a request behind a refused one is served',
      send: request('/forbidden/1') + request('/2'),
      ...REFUSED,
      more: [OK_BODY],
      upstream: sent(request('/2')),
    },
    {
      name: 'a request behind a refused body is served',
      send: request('/forbidden/1', ['Content-Length: 3'], 'POST', 'GET') + request('/2'),
      ...REFUSED,
      more: [OK_BODY],
      upstream: sent(request('/2')),
    },
    {
      name: 'a refused request between two served ones',
      send: request('/1') + request('/forbidden/2') + request('/3'),
      ...OK_BODY,
      more: [REFUSED, OK_BODY],
      upstream: sent(request('/1')) + sent(request('/3')),
    },
    {
      name: 'nothing is read behind a malformed request',
      send: request('/1') + post(['Content-Length: +1'], 'a') + SMUGGLED,
      ...OK_BODY,
      more: [MALFORMED],
      upstream: sent(request('/1')),
    },
    {
      name: 'nothing is read behind Connection: close',
      send: request('/1', ['Connection: close']) + SMUGGLED,
      ...OK_BODY,
      upstream: sent(request('/1')),
    },
    {
      name: 'nothing is read behind HTTP/1.0',
      send: request('/1').replace('HTTP/1.1', 'HTTP/1.0') + SMUGGLED,
      ...OK_BODY,
      upstream: sent(request('/1')),
    },
    {
      name: 'a refused body that is not here yet is never read as a request',
      send: request('/forbidden/1', ['Content-Length: 1000'], 'POST', SMUGGLED),
      ...REFUSED,
      headers: [['connection', 'close']],
    },
  ];
  test.each(named(pipelined))('%s', (_, c) => play(scene, c));

  test('100 Continue of the upstream reaches the client, and the body the upstream', async () => {
    const start = before(scene);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'other.test');
    await peer.send(
      message(['POST /x HTTP/1.1', 'Host: other.test', 'Expect: 100-continue', 'Content-Length: 2']),
    );
    const upstream = await raw.next();
    expect(await upstream.head()).toBe(
      message(['POST /x HTTP/1.1', 'Host: other.test', 'Expect: 100-continue', 'content-length: 2']),
    );
    await upstream.send('HTTP/1.1 100 Continue\r\n\r\n');
    expect(await peer.head()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    await peer.send('ab');
    expect((await upstream.bytes(2)).toString()).toBe('ab');
    await upstream.send(LAST);
    expect((await readReply(peer)).body.toString()).toBe('ok');
    await checkAround(scene, start, { received: [peer], lines: 1, upstream: '' });
    peer.cut();
  });

  test('a body that the upstream answers before it is complete is not read as a request', async () => {
    const start = before(scene);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'other.test');
    await peer.send(message(['POST /x HTTP/1.1', 'Host: other.test', 'Content-Length: 1000'], 'abc'));
    const upstream = await raw.next();
    await upstream.until('abc');
    await upstream.send(LAST);
    const reply = await readReply(peer);
    expect([reply.status, header(reply, 'connection')]).toEqual([200, 'close']);
    await peer.send(fill(scene, SMUGGLED));
    const { bytes } = await peer.end();
    expect(bytes.toString('latin1').match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
    await checkAround(scene, start, { received: [bytes], lines: 1, upstream: '' });
    // The connection whose request is incomplete serves nobody else.
    await upstream.end();
    expect(upstream.received.toString('latin1')).not.toContain('smuggled');
  });

  test('a client that offers only what the gate does not speak gets no tunnel', async () => {
    const start = before(scene);
    const { peer } = await connect(scene.session.proxy, 'api.test:443');
    peer.socket.removeAllListeners('data');
    const only = tls.connect({
      socket: peer.socket,
      servername: 'api.test',
      ca: scene.gate.ca,
      ALPNProtocols: ['h3'],
    });
    const [error] = (await once(only, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
    await checkAround(scene, start, { received: [], lines: 0 });
  });
});

describe('clients that leave', () => {
  const leave: readonly (readonly [what: string, send: string, lines: number])[] = [
    ['in the request line', 'GET /x', 0],
    ['in the head', 'GET /x HTTP/1.1\r\nHost: ot', 0],
    ['in the body', message(['POST /x HTTP/1.1', 'Host: other.test', 'Content-Length: 10'], 'abc'), 1],
    [
      'in a chunk',
      message(['POST /x HTTP/1.1', 'Host: other.test', 'Transfer-Encoding: chunked'], 'a\r\nabc'),
      1,
    ],
    ['before the answer', message(['GET /x HTTP/1.1', 'Host: other.test']), 1],
  ];
  for (const how of ['cut', 'finish'] as const) {
    test.each(leave)(`${how === 'cut' ? 'at once' : 'in good order'} %s`, async (_, text, lines) => {
      const start = before(scene);
      const peer = await openTls(scene.session.proxy, scene.gate.ca, 'other.test');
      await peer.send(text);
      const upstream = lines > 0 ? await raw.next() : undefined;
      if (upstream) await upstream.head();
      peer[how]();
      // The request is given up, and its connection with it.
      if (upstream) await upstream.end();
      await checkAround(scene, start, {
        received: [peer],
        lines,
        ...(lines > 0 ? { upstream: '', audit: { status: 0 } } : {}),
      });
    });
  }

  test('in the middle of an answer: what is left of it reaches nobody else', async () => {
    const start = before(scene);
    const get = message(['GET /x HTTP/1.1', 'Host: other.test']);
    const first = await openTls(scene.session.proxy, scene.gate.ca, 'other.test');
    await first.send(get);
    const upstream = await raw.next();
    await upstream.head();
    await upstream.send('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc');
    await first.until('abc');
    first.cut();
    await upstream.end();
    await upstream.send(`${'x'.repeat(97)}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
    const second = await openTls(scene.session.proxy, scene.gate.ca, 'other.test');
    await second.send(get);
    const fresh = await raw.next();
    expect(await fresh.head()).toBe(get);
    await fresh.send(LAST);
    expect((await readReply(second)).body.toString()).toBe('ok');
    await checkAround(scene, start, { received: [second], lines: 2, upstream: '' });
    second.cut();
    fresh.cut();
  });

  test('while it is dialled: nothing is sent', async () => {
    const start = before(scene);
    const peer = await dial(scene.session.proxy.port);
    await peer.send(fill(scene, message(['GET http://plain.test/x HTTP/1.1', 'Host: plain.test', 'PROXY'])));
    peer.cut();
    await checkAround(scene, start, {
      received: [peer],
      lines: 1,
      upstream: /^(GET \/x HTTP\/1\.1\r\nHost: plain\.test\r\n\r\n)?$/,
    });
  });
});

describe('an upstream that lies', () => {
  const UPSTREAM = { status: 502, reason: 'upstream_malformed' } as const;
  const answer = (lines: readonly string[], body = ''): string => message(lines, body);
  const refused: readonly (readonly [what: string, answer: Answer])[] = [
    ['two Content-Lengths', answer(['HTTP/1.1 200 OK', 'Content-Length: 2', 'Content-Length: 2'], 'ok')],
    ['a list of lengths', answer(['HTTP/1.1 200 OK', 'Content-Length: 2, 2'], 'ok')],
    ['a signed length', answer(['HTTP/1.1 200 OK', 'Content-Length: +2'], 'ok')],
    ['a negative length', answer(['HTTP/1.1 200 OK', 'Content-Length: -2'], 'ok')],
    [
      'Content-Length and chunks',
      answer(['HTTP/1.1 200 OK', 'Content-Length: 2', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
    ],
    ['Transfer-Encoding gzip', answer(['HTTP/1.1 200 OK', 'Transfer-Encoding: gzip'], 'ok')],
    [
      'Transfer-Encoding gzip, chunked',
      answer(['HTTP/1.1 200 OK', 'Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'),
    ],
    [
      'Transfer-Encoding chunked, identity',
      answer(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked, identity'], '0\r\n\r\n'),
    ],
    ['Transfer-Encoding xchunked', answer(['HTTP/1.1 200 OK', 'Transfer-Encoding: xchunked'], '0\r\n\r\n')],
    [
      'two Transfer-Encodings',
      answer(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
    ],
    ['chunks in HTTP/1.0', answer(['HTTP/1.0 200 OK', 'Transfer-Encoding: chunked'], '0\r\n\r\n')],
    ['HTTP/2', answer(['HTTP/2 200 OK', 'Content-Length: 2'], 'ok')],
    ['another protocol', answer(['ICY 200 OK', 'Content-Length: 2'], 'ok')],
    ['no status', answer(['HTTP/1.1 OK', 'Content-Length: 2'], 'ok')],
    ['status 99', answer(['HTTP/1.1 099 OK', 'Content-Length: 2'], 'ok')],
    ['status 600', answer(['HTTP/1.1 600 OK', 'Content-Length: 2'], 'ok')],
    ['status 2000', answer(['HTTP/1.1 2000 OK', 'Content-Length: 2'], 'ok')],
    ['a bare CR in the status text', answer(['HTTP/1.1 200 O\rK', 'Content-Length: 2'], 'ok')],
    ['a bare LF in the status text', answer(['HTTP/1.1 200 O\nX-A: b', 'Content-Length: 2'], 'ok')],
    [
      'a header split by a bare LF',
      answer(['HTTP/1.1 200 OK', 'X-A: b\nSet-Cookie: evil', 'Content-Length: 2'], 'ok'),
    ],
    [
      'a header split by a bare CR',
      answer(['HTTP/1.1 200 OK', 'X-A: b\rSet-Cookie: evil', 'Content-Length: 2'], 'ok'),
    ],
    ['a NUL in a header', answer(['HTTP/1.1 200 OK', 'X-A: b\0', 'Content-Length: 2'], 'ok')],
    ['a folded header', answer(['HTTP/1.1 200 OK', 'X-A: b', ' c', 'Content-Length: 2'], 'ok')],
    ['a space before a colon', answer(['HTTP/1.1 200 OK', 'Content-Length : 2'], 'ok')],
    ['a header without a colon', answer(['HTTP/1.1 200 OK', 'XA', 'Content-Length: 2'], 'ok')],
    ['lines that end with LF', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'],
    ['201 headers', answer(['HTTP/1.1 200 OK', ...Array.from({ length: 201 }, () => 'X: a')])],
    ['a head of 66 KB', answer(['HTTP/1.1 200 OK', `X: ${'a'.repeat(66_000)}`])],
    [
      'headers without an end',
      [
        answer(['HTTP/1.1 200 OK', 'X: a']).slice(0, -2),
        ...Array.from({ length: 40 }, () => `X: ${'a'.repeat(2000)}\r\n`),
      ],
    ],
    [
      '101 that nobody asked for',
      answer(['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket']),
    ],
    ['status 199', answer(['HTTP/1.1 199 Hm']) + OK],
    ['103 with a length', answer(['HTTP/1.1 103 Early Hints', 'Content-Length: 2']) + OK],
    ['103 that closes', answer(['HTTP/1.1 103 Early Hints', 'Connection: close']) + OK],
    ['204 with a length', answer(['HTTP/1.1 204 No Content', 'Content-Length: 2'], 'ok')],
    ['204 in chunks', answer(['HTTP/1.1 204 No Content', 'Transfer-Encoding: chunked'], '0\r\n\r\n')],
    [
      'Connection that nominates Content-Type',
      answer(['HTTP/1.1 200 OK', 'Connection: content-type', 'Content-Length: 2'], 'ok'),
    ],
    ['17 interim answers', `${answer(['HTTP/1.1 103 Early Hints']).repeat(17)}${OK}`],
  ];
  test.each(refused)('%s: refused', async (what, given) => {
    await play(scene, {
      name: what,
      send: request('/x'),
      answer: given,
      ...UPSTREAM,
      upstream: sent(request('/x')),
    });
  });

  const cutShort: readonly (readonly [what: string, script: Exclude<Answer, string | Buffer>])[] = [
    [
      'less than its length, then the end',
      async peer => {
        await peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc');
        peer.finish();
      },
    ],
    [
      'less than its length, then a cut',
      async peer => {
        await peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc');
        peer.cut();
      },
    ],
    [
      'no byte of its length',
      async peer => {
        await peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n');
        peer.finish();
      },
    ],
    [
      'chunks without an end',
      async peer => {
        await peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
        peer.finish();
      },
    ],
    [
      'half a chunk',
      async peer => {
        await peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc');
        peer.finish();
      },
    ],
    [
      'trailers without an end',
      async peer => {
        await peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A: b');
        peer.finish();
      },
    ],
    [
      'a chunk size that is none',
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '3\r\nabc\r\nzz\r\n'],
    ],
    [
      'a chunk size that overflows',
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '3\r\nabc\r\nfffffffff\r\n'],
    ],
    [
      'a chunk extension',
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '3;a=b\r\nabc\r\n0\r\n\r\n'],
    ],
    [
      'a chunk that is longer than its size',
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '3\r\nabcd\r\n0\r\n\r\n'],
    ],
    [
      'a length as a trailer',
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n'],
    ],
    [
      'a cookie as a trailer',
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '3\r\nabc\r\n0\r\nSet-Cookie: a=b\r\n\r\n'],
    ],
    [
      'a trailer split by LF',
      [
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
        '3\r\nabc\r\n0\r\nX-A: b\nSet-Cookie: c\r\n\r\n',
      ],
    ],
  ];
  test.each(cutShort)('%s: the client sees the answer break', async (what, script) => {
    await play(scene, {
      name: what,
      send: request('/x'),
      answer: script,
      status: 200,
      cut: true,
      upstream: sent(request('/x')),
    });
  });

  const OK_BODY = { status: 200, body: 'ok' } as const;
  const evil = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil';
  const desync: readonly (readonly [
    what: string,
    answer: Answer,
    expected: Pick<Case, 'status' | 'body'>,
  ])[] = [
    ['more than its length', `${OK}EXTRA`, OK_BODY],
    ['a second answer at once', OK + evil, OK_BODY],
    ['a body with 204', `HTTP/1.1 204 No Content\r\n\r\n${evil}`, { status: 204, body: '' }],
    [
      'a body with 304',
      `HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n${evil}`,
      { status: 304, body: '' },
    ],
    [
      'bytes behind its last chunk',
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${evil}`,
      OK_BODY,
    ],
    ['an interim answer behind the final one', `${OK}HTTP/1.1 100 Continue\r\n\r\n`, OK_BODY],
  ];
  test.each(desync)('%s: nobody is given what is too much', async (what, given, expected) => {
    await play(scene, {
      name: what,
      send: request('/1') + request('/2'),
      answer: given,
      ...expected,
      more: [expected],
      upstream: sent(request('/1')) + sent(request('/2')),
    });
  });

  test('an answer to nobody, on a connection that waits: nobody is given it', async () => {
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'other.test');
    const get = message(['GET /x HTTP/1.1', 'Host: other.test']);
    await peer.send(get);
    const upstream = await raw.next();
    await upstream.head();
    await upstream.send(OK);
    expect((await readReply(peer)).body.toString()).toBe('ok');
    await upstream.send(evil);
    await upstream.end();
    await peer.send(get);
    const fresh = await raw.next();
    await fresh.head();
    await fresh.send(LAST);
    expect((await readReply(peer)).body.toString()).toBe('ok');
    peer.cut();
  });

  test('a body with HEAD: nobody is given it', async () => {
    await play(scene, {
      name: '',
      send: request('/1', [], 'HEAD') + request('/2'),
      methods: ['HEAD', 'GET'],
      answer: OK,
      status: 200,
      body: '',
      more: [OK_BODY],
      upstream: sent(request('/1', [], 'HEAD')) + sent(request('/2')),
    });
  });

  const passed: Case[] = [
    {
      name: '16 interim answers are passed on',
      send: request('/x'),
      answer: `${answer(['HTTP/1.1 103 Early Hints', 'Link: </a>']).repeat(16)}${OK}`,
      ...OK_BODY,
      upstream: sent(request('/x')),
    },
    {
      name: 'an answer until the end of the connection is framed',
      send: request('/x'),
      answer: async (peer: Peer) => {
        await peer.send('HTTP/1.1 200 OK\r\n\r\nok');
        peer.finish();
      },
      ...OK_BODY,
      headers: [['transfer-encoding', 'chunked']],
      upstream: sent(request('/x')),
    },
    {
      name: 'an answer of HTTP/1.0 is framed',
      send: request('/x'),
      answer: async (peer: Peer) => {
        await peer.send('HTTP/1.0 200 OK\r\n\r\nok');
        peer.finish();
      },
      ...OK_BODY,
      upstream: sent(request('/x')),
    },
    {
      name: 'what concerns the connection ends at the gate',
      send: request('/x'),
      answer: message(
        [
          'HTTP/1.1 200 OK',
          'Connection: x-hop, keep-alive',
          'X-Hop: a',
          'Keep-Alive: timeout=1',
          'Proxy-Authenticate: Basic realm=evil',
          'Upgrade: h2',
          'Trailer: x',
          'Content-Length: 2',
        ],
        'ok',
      ),
      ...OK_BODY,
      headers: [
        ['connection', undefined],
        ['x-hop', undefined],
        ['keep-alive', undefined],
        ['proxy-authenticate', undefined],
        ['upgrade', undefined],
        ['trailer', undefined],
      ],
      upstream: sent(request('/x')),
    },
    {
      name: 'no way around the gate is shown',
      send: request('/x'),
      answer: message(['HTTP/1.1 200 OK', 'Alt-Svc: h3=":443"', 'Content-Length: 2'], 'ok'),
      ...OK_BODY,
      headers: [['alt-svc', undefined]],
      upstream: sent(request('/x')),
    },
    {
      name: 'only the gate gives reasons',
      send: request('/x'),
      answer: message(['HTTP/1.1 403 Forbidden', 'Stubgate-Reason: no_rule', 'Content-Length: 2'], 'ok'),
      status: 403,
      body: 'ok',
      upstream: sent(request('/x')),
    },
    {
      name: 'an upstream that closes without an answer is unreachable',
      send: request('/x', ['Content-Length: 2'], 'POST', 'ab'),
      answer: (peer: Peer) => peer.finish(),
      status: 502,
      reason: 'upstream_unreachable',
      upstream: /^POST/,
    },
    {
      name: 'a body that is no HTTP is refused',
      send: request('/x', ['Content-Length: 2'], 'POST', 'ab'),
      answer: async (peer: Peer) => {
        await peer.send('hello\n');
        peer.finish();
      },
      status: 502,
      reason: 'upstream_malformed',
      upstream: /^POST/,
    },
  ];
  test.each(named(passed))('%s', (_, c) => play(scene, c));
});

describe('time', () => {
  const limits = {
    head_time: '300ms',
    idle: '300ms',
    body_idle: '300ms',
    response_time: '300ms',
    drain: '1s',
  };
  type Slow = [what: string, send: string, expected: Pick<Case, 'status' | 'reason' | 'cut'>, answer: Answer];
  const slow: Slow[] = [
    [
      'a head that never ends',
      'GET /x HTTP/1.1\r\nHost: api.te',
      { status: 408, reason: 'request_timeout' },
      OK,
    ],
    [
      'a body that never ends',
      request('/x', ['Content-Length: 10'], 'POST', 'abc'),
      { status: 408, reason: 'request_timeout' },
      OK,
    ],
    [
      'a chunk that never ends',
      request('/x', ['Transfer-Encoding: chunked'], 'POST', 'a\r\nabc'),
      { status: 408, reason: 'request_timeout' },
      OK,
    ],
    ['an answer that never comes', request('/x'), { status: 504, reason: 'upstream_timeout' }, []],
    [
      'a response head that never ends',
      request('/x'),
      { status: 504, reason: 'upstream_timeout' },
      'HTTP/1.1 200 OK\r\nX-A',
    ],
    [
      'a response body that never ends',
      request('/x'),
      { status: 200, cut: true },
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc',
    ],
  ];
  test.concurrent.each(slow)('%s', async (name, send, expected, given) => {
    const own = await openScene({ config: { limits } });
    await play(own, {
      name,
      send,
      ...expected,
      answer: given,
      upstream: /^/,
    });
    await own.close();
  });

  test.concurrent('a connection on which nothing is asked is closed', async () => {
    const own = await openScene({ config: { limits } });
    const start = before(own);
    const peer = await openTls(own.session.proxy, own.gate.ca, 'api.test');
    const outer = await dial(own.session.proxy.port);
    await Promise.all([peer.end(), outer.end()]);
    await checkAround(own, start, { received: [peer, outer], lines: 0 });
    await own.close();
  });
});
