import { sensitiveHeaders } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { Refusal } from '../../../src/errors.ts';
import { fieldLines } from '../../../src/fields.ts';
import { CHUNKED } from '../../../src/types.ts';
import { headOf, objectOf } from '../../../src/wire/h2/fields.ts';
import { requestHead, responseHead, trailersOf } from '../../../src/wire/h2/head.ts';
import { CLIENT_LIMITS, WIRE_LIMITS } from '../../../src/wire/limits.ts';

const PSEUDO = [':method', 'GET', ':scheme', 'https', ':authority', 'a.test', ':path', '/x?y'];
const request = (raw: readonly string[], isEnd = true) => requestHead(raw, isEnd, WIRE_LIMITS);
const response = (raw: readonly string[], isEnd = false, method = 'GET') =>
  responseHead(raw, isEnd, CLIENT_LIMITS, method);

function code(read: () => unknown): string {
  try {
    read();
    return 'accepted';
  } catch (thrown) {
    return thrown instanceof Refusal ? thrown.code : String(thrown);
  }
}

describe('a request', () => {
  test('is the HTTP/1.1 head that says the same', () => {
    const head = request([...PSEUDO, 'accept', '*/*', 'x-a', '']);
    expect(head.bytes.toString('latin1')).toBe(
      'GET /x?y HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\nx-a: \r\n\r\n',
    );
    expect(head).toMatchObject({
      method: 'GET',
      target: '/x?y',
      headers: ['host', 'a.test', 'accept', '*/*', 'x-a', ''],
    });
    expect(fieldLines(head.headers, head, true)).toBe(head.text);
  });

  test('keeps every byte of latin1', () => {
    const all = Array.from({ length: 0x80 }, (_, i) => String.fromCharCode(0x80 + i)).join('');
    expect(request([...PSEUDO, 'x-a', all]).headers.at(-1)).toBe(all);
  });

  test('has one Cookie of all crumbs, in their order, and one Host', () => {
    const crumbs = ['cookie', 'a=1', 'x', '1', 'cookie', 'b=2', 'cookie', 'c=3'];
    const { headers } = request([...PSEUDO, ...crumbs, 'host', 'a.test']);
    expect(headers).toEqual(['host', 'a.test', 'cookie', 'a=1; b=2; c=3', 'x', '1']);
  });

  test('with a Host that differs from the authority has one that is no host', () => {
    expect(request([...PSEUDO, 'host', 'b.test']).headers).toEqual(['host', 'a.test, b.test']);
  });

  test.each<[string, string[], boolean, number]>([
    ['no body', [], true, 0],
    ['a body of unknown length', [], false, CHUNKED],
    ['a body of 5 bytes', ['content-length', '5'], false, 5],
    ['a declared empty body', ['content-length', '0'], true, 0],
    ['a value that looks like a name', ['x', 'content-length'], false, CHUNKED],
  ])('tells of %s', (_, fields, isEnd, length) => {
    expect(request([...PSEUDO, ...fields], isEnd).length).toBe(length);
  });

  const without = (name: string): string[] => {
    const at = PSEUDO.indexOf(name);
    return PSEUDO.toSpliced(at, 2);
  };
  const replaced = (name: string, value: string): string[] => PSEUDO.with(PSEUDO.indexOf(name) + 1, value);

  test('that is an extended CONNECT is the GET with Upgrade that says the same', () => {
    const raw = [':method', 'CONNECT', ':protocol', 'websocket', ...PSEUDO.slice(2), 'x-a', '1'];
    const head = request(raw, false);
    expect(head.bytes.toString('latin1')).toBe(
      'GET /x?y HTTP/1.1\r\nhost: a.test\r\nx-a: 1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n',
    );
    expect(head).toMatchObject({ method: 'GET', length: 0 });
    expect(code(() => request(raw, true))).toBe('malformed_request');
    expect(code(() => request([...raw, 'content-length', '0'], false))).toBe('malformed_request');
    expect(code(() => request(raw.with(3, 'a\r\nx: y'), false))).toBe('malformed_request');
    expect(code(() => request(raw.with(1, 'GET'), false))).toBe('malformed_request');
  });

  test.each<[string, readonly string[], string?]>([
    ['without :method', without(':method')],
    ['without :scheme', without(':scheme')],
    ['without :authority', without(':authority')],
    ['without :path', without(':path')],
    ['two :path', [...PSEUDO, ':path', '/z']],
    ['an unknown pseudo-header', [...PSEUDO, ':protocol', 'websocket']],
    ['a pseudo-header behind a header', [...without(':path'), 'x', '1', ':path', '/']],
    ['CONNECT', replaced(':method', 'CONNECT')],
    ['a method in lower case', replaced(':method', 'get')],
    ['http', replaced(':scheme', 'http')],
    ['a path that is an URL', replaced(':path', 'https://b.test/')],
    ['a path that ends the line', replaced(':path', '/ HTTP/1.1\r\nx: y')],
    ['a path with a space', replaced(':path', '/a b')],
    ['a path that ends with a version', replaced(':path', '/a HTTP/1.1')],
    ['a method with a path', replaced(':method', 'GET /z')],
    ['an authority that ends the line', replaced(':authority', 'a.test\r\nx: y')],
    ['a name in upper case', [...PSEUDO, 'X-A', '1']],
    ['a name with a colon', [...PSEUDO, 'x:a', '1']],
    ['an empty name', [...PSEUDO, '', '1']],
    ['a value that ends the line', [...PSEUDO, 'x', '1\r\ny: 2']],
    ['a value with NUL', [...PSEUDO, 'x', '1\0']],
    ['a value with a control', [...PSEUDO, 'x', '\x01']],
    ['connection', [...PSEUDO, 'connection', 'close']],
    ['keep-alive', [...PSEUDO, 'keep-alive', '1']],
    ['proxy-connection', [...PSEUDO, 'proxy-connection', '1']],
    ['transfer-encoding', [...PSEUDO, 'transfer-encoding', 'chunked']],
    ['upgrade', [...PSEUDO, 'upgrade', 'h2c']],
    ['te', [...PSEUDO, 'te', 'gzip']],
    ['two authorization', [...PSEUDO, 'authorization', 'a', 'authorization', 'b']],
    ['content-length that is no number', [...PSEUDO, 'content-length', '+5']],
    ['content-length without a body', [...PSEUDO, 'content-length', '5']],
    ['a long path', replaced(':path', `/${'a'.repeat(WIRE_LIMITS.uri)}`), 'uri_too_long'],
    ['a long head', [...PSEUDO, 'x', 'a'.repeat(WIRE_LIMITS.head)], 'head_too_large'],
    ['many fields', [...PSEUDO, ...Array(2 * WIRE_LIMITS.headers).fill('x')], 'head_too_large'],
  ])('is refused: %s', (_, raw, reason = 'malformed_request') => {
    expect(code(() => request(raw))).toBe(reason);
  });

  test('may say te: trailers', () => {
    expect(request([...PSEUDO, 'te', 'trailers']).headers.slice(-2)).toEqual(['te', 'trailers']);
  });
});

describe('a response', () => {
  test('is the HTTP/1.1 head that says the same, with the status text that HTTP/1.1 gives it', () => {
    const head = response([':status', '404', 'x', '1']);
    expect(head.bytes.toString('latin1')).toBe('HTTP/1.1 404 Not Found\r\nx: 1\r\n\r\n');
    expect(head).toMatchObject({ status: 404, reason: 'Not Found', length: CHUNKED });
  });

  test.each<[string, string[], boolean, string, number]>([
    ['no body', [':status', '200'], true, 'GET', 0],
    ['5 bytes', [':status', '200', 'content-length', '5'], false, 'GET', 5],
    ['HEAD', [':status', '200', 'content-length', '5'], true, 'HEAD', 0],
    ['304', [':status', '304', 'content-length', '5'], true, 'GET', 0],
    ['204', [':status', '204'], true, 'GET', 0],
    ['a status without a name', [':status', '299'], false, 'GET', CHUNKED],
  ])('tells of %s', (_, raw, isEnd, method, length) => {
    expect(response(raw, isEnd, method).length).toBe(length);
  });

  test.each<[string, readonly string[]]>([
    ['no status', ['x', '1']],
    ['two', [':status', '200', ':status', '200']],
    ['a status of two digits', [':status', '20']],
    ['999', [':status', '999']],
    ['101', [':status', '101']],
    ['a status that ends the line', [':status', '200\r\nx: y']],
    [':path', [':status', '200', ':path', '/']],
    ['a name in upper case', [':status', '200', 'X', '1']],
    ['connection', [':status', '200', 'connection', 'x']],
    ['a value that ends the line', [':status', '200', 'x', 'a\nb']],
    ['two content-length', [':status', '200', 'content-length', '1', 'content-length', '1']],
    ['204 with a length', [':status', '204', 'content-length', '1']],
    ['a long head', [':status', '200', 'x', 'a'.repeat(CLIENT_LIMITS.head)]],
  ])('is refused: %s', (_, raw) => {
    expect(code(() => response(raw))).toBe('upstream_malformed');
  });
});

describe('trailers', () => {
  const read = (raw: readonly string[]) => trailersOf(raw, CLIENT_LIMITS, 'upstream_malformed');

  test('pass', () => {
    expect(read(['grpc-status', '0', 'grpc-message', ''])).toEqual(['grpc-status', '0', 'grpc-message', '']);
    expect(read([])).toEqual([]);
  });

  test.each<[string, readonly string[]]>([
    [':status', [':status', '200']],
    ['content-length', ['content-length', '1']],
    ['a name in upper case', ['X', '1']],
    ['a line end', ['x', 'a\r\ny: z']],
  ])('are refused: %s', (_, raw) => {
    expect(code(() => read(raw))).toBe('upstream_malformed');
  });
});

describe('what is written', () => {
  const LIST = ['Set-Cookie', 'a', 'X', '1', 'set-cookie', 'b'];

  test('keeps repeated fields apart, and every field in its place', () => {
    expect(headOf([':status', '200'], LIST).list).toEqual([':status', '200', ...LIST]);
  });

  test('as an object, too, in lower case', () => {
    const head = headOf([':status', '200'], LIST);
    expect({ ...objectOf(head) }).toEqual({ ':status': '200', 'set-cookie': ['a', 'b'], x: '1' });
  });

  test('a name of Object.prototype is a name like any other', () => {
    const head = headOf([], ['__proto__', 'a', 'constructor', 'b']);
    expect(Object.entries(objectOf(head))).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
  });

  test('names what no intermediary may index', () => {
    const { list } = headOf([], ['x', 'secret'], ['x']);
    expect((list as unknown as Record<symbol, unknown>)[sensitiveHeaders]).toEqual(['x']);
  });

  test.each(['a\0b', 'a\r\nb', 'Ā'])('%j is never written', value => {
    expect(() => headOf([], ['x', value])).toThrow('cannot be written');
    expect(() => headOf([':path', value], [])).toThrow('cannot be written');
  });
});
