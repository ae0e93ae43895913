import { describe, expect, test } from 'vitest';
import type { Refusal } from '../../src/errors.ts';
import { CHUNKED, UNTIL_CLOSE } from '../../src/types.ts';
import { parseRequestHead, parseResponseHead } from '../../src/wire/head.ts';
import { CLIENT_LIMITS, WIRE_LIMITS } from '../../src/wire/limits.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

function refusalOf(parse: () => unknown): Pick<Refusal, 'code' | 'message'> {
  try {
    parse();
  } catch (thrown) {
    const { code, message } = thrown as Refusal;
    return { code, message };
  }
  throw new Error('accepted');
}

describe('a request head', () => {
  const parse = (text: string, isProxy = false) => parseRequestHead(latin1(text), WIRE_LIMITS, isProxy);
  const get = (fields: string, line = 'GET / HTTP/1.1') => parse(`${line}\r\n${fields}\r\n`);

  test('is read byte for byte, in wire order and case', () => {
    const text =
      'POST /a%2Fb?q="<>^`{|}" HTTP/1.1\r\nHoSt:a\r\nX-Y:\t \xe9\t z  \r\nX-Empty:\r\nx-y: 2\r\nContent-Length: 12\r\n\r\n';
    expect(parse(text)).toEqual({
      method: 'POST',
      target: '/a%2Fb?q="<>^`{|}"',
      minor: 1,
      headers: ['HoSt', 'a', 'X-Y', '\xe9\t z', 'X-Empty', '', 'x-y', '2', 'Content-Length', '12'],
      length: 12,
      expectContinue: false,
      keepAlive: true,
      bytes: latin1(text),
      text: text.slice(0, -2),
      starts: [34, 42, 56, 66, 74, 94],
    });
  });

  test.each([
    ['host: a\r\n', 'GET / HTTP/1.1', true],
    ['host: a\r\nconnection: close\r\n', 'GET / HTTP/1.1', false],
    ['host: a\r\nconnection: te, Close\r\n', 'GET / HTTP/1.1', false],
    ['host: a\r\nconnection: te\r\nconnection: close\r\n', 'GET / HTTP/1.1', false],
    ['host: a\r\n', 'GET / HTTP/1.0', false],
    ['host: a\r\nconnection: Keep-Alive\r\n', 'GET / HTTP/1.0', true],
    ['host: a\r\nconnection: keep-alive, close\r\n', 'GET / HTTP/1.0', false],
    ['host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n', 'GET / HTTP/1.1', false],
    [
      'host: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n',
      'GET / HTTP/1.1',
      true,
    ],
  ])('%j after %j keeps the connection: %j', (fields, line, keepAlive) => {
    expect(get(fields, line).keepAlive).toBe(keepAlive);
  });

  test('tells the length of the body', () => {
    expect(get('host: a\r\n').length).toBe(0);
    expect(get('host: a\r\ncontent-length: 9007199254740991\r\n').length).toBe(2 ** 53 - 1);
    expect(get('host: a\r\ntransfer-encoding: Chunked\r\n', 'POST / HTTP/1.1').length).toBe(CHUNKED);
  });

  test('tells what expects a 100 (Continue): never HTTP/1.0', () => {
    expect(get('host: a\r\nexpect: 100-Continue\r\n').expectContinue).toBe(true);
    expect(get('host: a\r\nexpect: 100-continue\r\n', 'GET / HTTP/1.0').expectContinue).toBe(false);
  });

  test.each([
    ['GET / HTTP/1.1', 'host: a'],
    ['OPTIONS * HTTP/1.1', 'host: a'],
    ['GET /?a=b//c HTTP/1.1', 'host: a'],
    ['GET /[a];b=c@d:e,f HTTP/1.1', 'host: a'],
    ['M-SEARCH / HTTP/1.1', 'host: a'],
  ])('%s is accepted in a tunnel', (line, host) => {
    expect(parse(`${line}\r\n${host}\r\n\r\n`).target).toBe(line.split(' ')[1]);
  });

  test.each([
    ['CONNECT a:443 HTTP/1.0', ''],
    ['CONNECT a:443 HTTP/1.1', ''],
    ['CONNECT [::1]:443 HTTP/1.1', 'host: [::1]:443\r\n'],
    ['GET http://a/ HTTP/1.0', ''],
    ['GET http://a:8080/b?c HTTP/1.1', 'host: a\r\n'],
    ['GET http://a HTTP/1.1', 'host: a\r\n'],
    ['GET http://a?b HTTP/1.1', 'host: a\r\n'],
  ])('%s is accepted by the proxy', (line, fields) => {
    expect(parse(`${line}\r\n${fields}\r\n`, true).target).toBe(line.split(' ')[1]);
  });

  const line = 'The request line is not "method target HTTP/1.1"';
  const version = 'The request line does not end with HTTP/1.1 or HTTP/1.0';
  const method = 'The method is not a word in upper case';
  const encode = 'The request target holds a character that must be percent-encoded';
  const url = 'An absolute URL as the target must be http://host[:port]/path, without a user name';
  const slash = 'The request target must start with a slash';
  test.each([
    ['GET /', line],
    ['GET', line],
    ['', line],
    ['GET / ', version],
    ['GET  / HTTP/1.1', version],
    ['GET /  HTTP/1.1', version],
    ['GET / HTTP/1.1 ', version],
    ['GET /a b HTTP/1.1', version],
    ['GET / HTTP/1.2', version],
    ['GET / HTTP/2.0', version],
    ['GET / HTTP/0.9', version],
    ['GET / HTTP/01.1', version],
    ['GET / http/1.1', version],
    [' GET / HTTP/1.1', method],
    ['get / HTTP/1.1', method],
    ['G(T / HTTP/1.1', method],
    ['ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1', method],
    ['GET //a HTTP/1.1', 'The request target starts with two slashes'],
    ['GET /a#b HTTP/1.1', 'The request target holds a fragment'],
    ['GET /a?b#c HTTP/1.1', 'The request target holds a fragment'],
    ['GET /\\a HTTP/1.1', 'The request target holds a backslash'],
    ['GET /?\\a HTTP/1.1', 'The request target holds a backslash'],
    ['GET /{a} HTTP/1.1', encode],
    ['GET /\xe9 HTTP/1.1', encode],
    ['GET /?\xe9 HTTP/1.1', encode],
    ['GET /\x7f HTTP/1.1', encode],
    ['GET /\t HTTP/1.1', encode],
    ['GET * HTTP/1.1', slash],
    ['GET a HTTP/1.1', slash],
    ['GET a:443 HTTP/1.1', url],
    ['GET http://u@a/ HTTP/1.1', url],
    ['GET http://u:p@a/ HTTP/1.1', url],
    ['GET http:/// HTTP/1.1', url],
    ['GET HTTP://a/ HTTP/1.1', url],
    ['GET ftp://a/ HTTP/1.1', url],
    ['GET https://a/ HTTP/1.1', 'An https URL needs CONNECT'],
    ['CONNECT https://a:443/ HTTP/1.1', 'CONNECT needs host:port as its target'],
    ['CONNECT a:443/ HTTP/1.1', 'CONNECT needs host:port as its target'],
    ['CONNECT u@a:443 HTTP/1.1', 'CONNECT needs host:port as its target'],
    ['CONNECT / HTTP/1.1', 'CONNECT needs host:port as its target'],
  ])('%j is refused by the proxy: %s', (start, message) => {
    expect(refusalOf(() => parse(`${start}\r\nhost: a\r\n\r\n`, true))).toEqual({
      code: 'malformed_request',
      message,
    });
  });

  test.each([
    ['CONNECT a:443 HTTP/1.1', 'CONNECT inside a tunnel'],
    ['GET http://a/ HTTP/1.1', 'An absolute URL as the target inside a tunnel'],
    ['GET https://a/ HTTP/1.1', 'An https URL needs CONNECT'],
  ])('%j is refused in a tunnel: %s', (start, message) => {
    expect(refusalOf(() => parse(`${start}\r\nhost: a\r\n\r\n`))).toEqual({
      code: 'malformed_request',
      message,
    });
  });

  const folded = 'A header line starts with white space (obsolete line folding)';
  const space = 'White space before the colon of a header';
  const name = 'A header name holds a character that is not allowed';
  const value = 'A header value holds a control character';
  const length = 'A Content-Length that is not a number of bytes';
  const coding = 'A Transfer-Encoding other than chunked';
  const nominated = 'Connection names a header that is not hop-by-hop';
  const both = 'Both Content-Length and Transfer-Encoding';
  test.each([
    ['host : a', space],
    ['x\t: a', space],
    [' x: a', folded],
    ['\tx: a', folded],
    ['x: a\r\n b', folded],
    [': a', 'A header without a name'],
    ['x', 'A header line without a colon'],
    ['x(y: a', name],
    ['x\xe9: a', name],
    ['x\x00: a', name],
    ['x: a\x00', value],
    ['x: a\x0bb', value],
    ['x: a\x7f', value],
    ['x: a\rb: c', 'A bare CR in a header'],
    ['x: a\nb: c', 'A line that ends with a bare LF'],
    ['host: a', 'Two host headers'],
    ['Host: b', 'Two host headers'],
    ['authorization: a\r\nAuthorization: a', 'Two authorization headers'],
    ['proxy-authorization: a\r\nproxy-authorization: a', 'Two proxy-authorization headers'],
    ['content-type: a\r\ncontent-type: a', 'Two content-type headers'],
    ['expect: 100-continue\r\nexpect: 100-continue', 'Two expect headers'],
    ['upgrade: h2c\r\nupgrade: h2c', 'Two upgrade headers'],
    ['content-length: 3\r\nContent-Length: 3', 'Two content-length headers'],
    ['content-length: 3, 3', length],
    ['content-length: +2', length],
    ['content-length: -2', length],
    ['content-length: 0x2', length],
    ['content-length: 2 2', length],
    ['content-length: 1e3', length],
    ['content-length:', length],
    ['content-length: 9007199254740992', length],
    ['content-length: 18446744073709551617', length],
    ['transfer-encoding: xchunked', coding],
    ['transfer-encoding: gzip, chunked', coding],
    ['transfer-encoding: chunked, identity', coding],
    ['transfer-encoding: identity', coding],
    ['transfer-encoding: chunked;a=b', coding],
    ['transfer-encoding: \x0cchunked', value],
    ['transfer-encoding:', coding],
    ['transfer-encoding: chunked\t', 'A header value ends with a tab'],
    ['x: a \t ', 'A header value ends with a tab'],
    ['transfer-encoding: chunked\r\ntransfer-encoding: chunked', 'Two transfer-encoding headers'],
    ['transfer-encoding: chunked\r\ncontent-length: 3', both],
    ['content-length: 3\r\ntransfer-encoding: chunked', both],
    ['content-length: 0\r\ntransfer-encoding: chunked', both],
    ['connection: authorization', nominated],
    ['connection: close, X-Secret', nominated],
    ['connection: host', nominated],
    ['connection: content-length', nominated],
    ['connection: close x', 'A Connection option that is not a token'],
    ['connection: \xa0close', 'A Connection option that is not a token'],
    ['expect: 200-ok', 'An Expect other than 100-continue'],
    ['expect: 100-continue, x', 'An Expect other than 100-continue'],
  ])('with %j is refused: %s', (fields, message) => {
    expect(refusalOf(() => get(`host: a\r\n${fields}\r\n`))).toEqual({ code: 'malformed_request', message });
  });

  test.each([
    ['GET / HTTP/1.1\r\n\r\n', 'No Host header'],
    ['GET / HTTP/1.0\r\n\r\n', 'No Host header'],
    ['GET http://a/ HTTP/1.1\r\n\r\n', 'No Host header'],
    ['POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n', 'Transfer-Encoding in HTTP/1.0'],
    ['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\ncontent-length: 0\r\n\r\n', 'CONNECT with a body'],
    ['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\ntransfer-encoding: chunked\r\n\r\n', 'CONNECT with a body'],
  ])('%j is refused: %s', (text, message) => {
    expect(refusalOf(() => parse(text, true))).toEqual({ code: 'malformed_request', message });
  });

  test('may be as large as the limits and no larger', () => {
    const fields = (n: number): string => `host: a\r\n${'x: y\r\n'.repeat(n - 1)}`;
    const target = (n: number): string => `/${'a'.repeat(n - 1)}`;
    expect(get(fields(100)).headers).toHaveLength(200);
    expect(refusalOf(() => get(fields(101))).code).toBe('head_too_large');
    expect(get('host: a\r\n', `GET ${target(8192)} HTTP/1.1`).target).toHaveLength(8192);
    expect(refusalOf(() => get('host: a\r\n', `GET ${target(8193)} HTTP/1.1`)).code).toBe('uri_too_long');
  });
});

describe('a response head', () => {
  const parse = (text: string, method = 'GET') => parseResponseHead(latin1(text), CLIENT_LIMITS, method);

  test.each([
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', 'GET', 5, true],
    ['HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n', 'GET', 0, false],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', 'GET', CHUNKED, true],
    ['HTTP/1.1 200 OK\r\n\r\n', 'GET', UNTIL_CLOSE, false],
    ['HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n', 'GET', 5, false],
    ['HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n', 'GET', 5, true],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', 'HEAD', 0, true],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', 'HEAD', 0, true],
    ['HTTP/1.1 204 No Content\r\n\r\n', 'GET', 0, true],
    ['HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n', 'GET', 0, true],
    ['HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n', 'GET', 0, true],
    ['HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n', 'GET', 0, true],
    ['HTTP/1.1 200\r\ncontent-length: 5\r\n\r\n', 'GET', 5, true],
    ['HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\n', 'GET', 5, true],
  ])('%j to %s has %i bytes, keeps the connection: %j', (text, method, length, keepAlive) => {
    const { head, ...rest } = parse(text, method);
    expect({ length: head.length, ...rest }).toEqual({ length, keepAlive });
  });

  test('keeps status text and fields as sent', () => {
    const text = 'HTTP/1.1 404 N\xf6t\t found \r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n';
    expect(parse(text).head).toEqual({
      status: 404,
      reason: 'N\xf6t\t found ',
      headers: ['Set-Cookie', 'a', 'set-cookie', 'b'],
      length: UNTIL_CLOSE,
      bytes: latin1(text),
      text: text.slice(0, -2),
      starts: [26, 41, 56],
    });
  });

  const status = 'The status line is not "HTTP/1.1 status reason"';
  const interim = 'An interim answer that some clients would take for the final one';
  const body = 'A body where the status allows none';
  test.each([
    ['HTTP/2 200 OK', status],
    ['HTTP/1.2 200 OK', status],
    ['http/1.1 200 OK', status],
    ['HTTP/1.1  200 OK', status],
    ['HTTP/1.1 20 OK', status],
    ['HTTP/1.1 2000 OK', status],
    ['HTTP/1.1 099 OK', status],
    ['HTTP/1.1 600 OK', status],
    ['HTTP/1.1 200 a\x00', status],
    ['HTTP/1.1 200 a\rb', status],
    ['HTTP/1.1 200 OK\r', status],
    ['HTTP/1.1 200\r', status],
    ['HTTP/1.1 200 a\nx: y', status],
    ['HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket', interim],
    ['HTTP/1.1 199 x', interim],
    ['HTTP/1.0 100 Continue', interim],
    ['HTTP/1.1 100 Continue\r\nconnection: close', interim],
    ['HTTP/1.1 100 Continue\r\ncontent-length: 5', body],
    ['HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked', body],
    ['HTTP/1.1 204 No Content\r\ncontent-length: 5', body],
    ['HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked', body],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5', 'Two content-length headers'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5, 5', 'A Content-Length that is not a number of bytes'],
    [
      'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked',
      'Both Content-Length and Transfer-Encoding',
    ],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked', 'A Transfer-Encoding other than chunked'],
    ['HTTP/1.0 200 OK\r\ntransfer-encoding: chunked', 'Transfer-Encoding in HTTP/1.0'],
    ['HTTP/1.1 200 OK\r\nx : y', 'White space before the colon of a header'],
    ['HTTP/1.1 200 OK\r\n folded', 'A header line starts with white space (obsolete line folding)'],
    ['HTTP/1.1 200 OK\r\nx: a\rset-cookie: b', 'A bare CR in a header'],
    ['HTTP/1.1 200 OK\r\nconnection: content-encoding', 'Connection names a header that is not hop-by-hop'],
    [`HTTP/1.1 200 OK${'\r\nx: y'.repeat(201)}`, 'The response has too many headers'],
  ])('%j is refused: %s', (text, message) => {
    expect(refusalOf(() => parse(`${text}\r\n\r\n`))).toEqual({ code: 'upstream_malformed', message });
  });
});
