import type { Random } from './random.ts';

/** Messages that are nearly right: pieces known to part parsers, put together by the grammar, then damaged a little. */

const METHODS = [
  'GET',
  'GET',
  'POST',
  'POST',
  'PUT',
  'HEAD',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'PATCH',
  'TRACE',
  'M-SEARCH',
  'get',
  'PRI',
  'G ET',
  '',
];
const TARGETS = [
  '/',
  '/a',
  '/a/b?c=d',
  '/?q="<>^`{|}',
  '/%2f',
  '/a%00',
  '*',
  'http://a/',
  'http://a:80/x?y',
  'http://a',
  'http://a?x',
  'http://u@a/',
  'https://a/',
  'HTTP://a/',
  'a:443',
  '[::1]:443',
  'a',
  'a:443:80',
  '//a',
  '/\\a',
  '/a#b',
  '#',
  '?',
  '/a b',
  '/\t',
  '/ü',
  '/|',
  '/[a]',
  '/a?b\\',
  'http:///',
  'http://[::1]:8/',
  '',
];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.0',
  'HTTP/0.9',
  'HTTP/2.0',
  'HTTP/1.2',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/01.1',
  'ICE/1.0',
  '',
];
const STATUS_LINES = [
  'HTTP/1.1 200 OK',
  'HTTP/1.1 200 OK',
  'HTTP/1.1 200 ',
  'HTTP/1.1 200',
  'HTTP/1.0 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 304 Not Modified',
  'HTTP/1.1 404 Nöt',
  'HTTP/1.1 500 a\tb',
  'HTTP/1.1 205 Reset',
  'HTTP/1.1 101 Switching',
  'HTTP/1.1 099 x',
  'HTTP/1.1 600 x',
  'HTTP/1.1  200 OK',
  'HTTP/1.1 2000 OK',
  'HTTP/1.1 20 OK',
  'HTTP/1.2 200 OK',
  'HTTP/2 200 OK',
  'http/1.1 200 OK',
  'HTTP/1.1 407 x',
  'HTTP/1.1 199 x',
];
const INTERIMS = [
  'HTTP/1.1 100 Continue',
  'HTTP/1.1 103 Early Hints',
  'HTTP/1.1 102 Processing',
  'HTTP/1.1 100',
  'HTTP/1.1 150 x',
  'HTTP/1.0 100 Continue',
];
const FIELDS = [
  'host: a',
  'Host: a',
  'Host:a',
  'Host:',
  'Host : a',
  'host: b',
  'accept: */*',
  'x: y',
  'X-Y:\tz\t ',
  'x:',
  'x: \xe9\xff',
  'x: a\x00b',
  'x: a\x7fb',
  'x: a\x0bb',
  'x: a\rb',
  'x: a\nb',
  ': a',
  ' folded',
  '\tfolded',
  'no-colon',
  'x\xe9: a',
  'x(: a',
  'x y: a',
  'content-length: 0',
  'content-length: 3',
  'Content-Length: 5',
  'content-length: 03',
  'content-length: +3',
  'content-length: -1',
  'content-length: 3, 3',
  'content-length: 0x3',
  'content-length:',
  'content-length: 3 ',
  'content-length: 3\x0b',
  'content-length: 18446744073709551619',
  'content-length: 99999999999999999999',
  'transfer-encoding: chunked',
  'Transfer-Encoding: Chunked',
  'transfer-encoding: gzip, chunked',
  'transfer-encoding: chunked, identity',
  'transfer-encoding: xchunked',
  'transfer-encoding: identity',
  'transfer-encoding:',
  'transfer-encoding: chunked;q=1',
  'transfer-encoding: \x0bchunked',
  'transfer-encoding : chunked',
  'transfer_encoding: chunked',
  'connection: close',
  'Connection: keep-alive',
  'connection: Close',
  'connection: keep-alive, close',
  'connection: close, te',
  'connection: upgrade',
  'connection: authorization',
  'connection: \xa0close',
  'connection: , close',
  'connection: close x',
  'proxy-connection: keep-alive',
  'upgrade: h2c',
  'upgrade: websocket',
  'expect: 100-continue',
  'expect: 100-Continue',
  'expect: x',
  'authorization: Bearer x',
  'te: trailers',
  'trailer: x',
  'cookie: a=b',
  'content-type: text/plain',
  'keep-alive: timeout=5',
  'set-cookie: a',
  'set-cookie: b',
  'location: /x',
];
const HARMLESS = [
  'accept: */*',
  'x: y',
  'X-Y:\tz  ',
  'x:',
  'x: \xe9\xff',
  'cookie: a=b',
  'connection: close',
  'Connection: keep-alive',
  'connection: keep-alive, te',
  'upgrade: h2c',
];
const CHUNK_SIZES = [
  '0',
  '1',
  '3',
  '5',
  'a',
  'A',
  '03',
  '00000003',
  '000000003',
  '3;x=y',
  '3 ',
  ' 3',
  '+3',
  '-3',
  '0x3',
  '',
  'g',
  'ffffffff',
  '100000000',
  '3\t',
  'fffffffffffffffff',
];
const LINE_ENDS = [
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\r\n',
  '\n',
  '\r',
  '\r\r\n',
  '\n\r\n',
];
const INTERESTING = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  '\0',
  '0',
  ';',
  ',',
  '\x7f',
  '\x80',
  '\xff',
  '\xa0',
  '\x0b',
  '\x0c',
  '#',
  '\\',
  '/',
  '?',
  'HTTP/1.1',
  'chunked',
  'content-length: 5\r\n',
  'transfer-encoding: chunked\r\n',
  '0\r\n\r\n',
  'GET / HTTP/1.1\r\nhost: a\r\n\r\n',
];

export function requests(random: Random): Buffer {
  let text = random.chance(12) ? random.pick(['\r\n', '\r\n\r\n', '\n', '\r', ' ']) : '';
  for (let n = 1 + random.below(3); n > 0; n--) text += requestMessage(random);
  return damage(Buffer.from(text, 'latin1'), random);
}

function requestMessage(random: Random): string {
  const strange = random.chance(8);
  const method = strange ? random.pick(METHODS) : random.pick(METHODS.slice(0, 8));
  const target = strange ? random.pick(TARGETS) : random.pick(TARGETS.slice(0, 5));
  const version = strange ? random.pick(VERSIONS) : random.pick(VERSIONS.slice(0, 5));
  const line = `${method} ${target} ${version}${lineEnd(random)}`;
  return line + (random.chance(20) ? '' : `host: a\r\n`) + rest(random);
}

export function response(random: Random): Buffer {
  let text = '';
  while (random.chance(6))
    text += `${random.pick(INTERIMS)}\r\n${random.chance(3) ? `${random.pick(FIELDS)}\r\n` : ''}\r\n`;
  text +=
    (random.chance(6) ? random.pick(STATUS_LINES) : random.pick(STATUS_LINES.slice(0, 7))) +
    lineEnd(random) +
    rest(random);
  if (random.chance(12)) text += random.pick(['\r\n', 'x', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n']);
  return damage(Buffer.from(text, 'latin1'), random);
}

/** Fields, empty line and body. */
function rest(random: Random): string {
  let text = '';
  for (let n = random.below(4); n > 0; n--) text += field(random) + lineEnd(random);
  const kind = random.below(4);
  if (kind === 1) text += 'content-length: 5\r\n';
  if (kind === 2) text += 'transfer-encoding: chunked\r\n';
  text += lineEnd(random);
  if (kind === 1 || /length: [35]/i.test(text)) text += 'hello';
  if (kind === 2 || /chunked/i.test(text)) text += chunks(random);
  if (kind === 3 && random.chance(2)) text += 'body until the end';
  return text;
}

function chunks(random: Random): string {
  let text = '';
  for (let n = random.below(4); n > 0; n--) {
    if (random.chance(6)) text += random.pick(CHUNK_SIZES) + lineEnd(random) + 'abc' + lineEnd(random);
    else text += random.pick([`3\r\nabc\r\n`, 'A\r\n0123456789\r\n', '02\r\n\r\n\r\n', '1\r\n\0\r\n']);
  }
  text += random.chance(10) ? random.pick(CHUNK_SIZES) : '0';
  text += lineEnd(random);
  for (let n = random.chance(4) ? 1 + random.below(2) : 0; n > 0; n--)
    text += field(random) + lineEnd(random);
  return text + lineEnd(random);
}

function field(random: Random): string {
  return random.pick(random.chance(4) ? FIELDS : HARMLESS);
}

function lineEnd(random: Random): string {
  return random.chance(40) ? random.pick(LINE_ENDS) : '\r\n';
}

/** Leaves most messages whole. */
export function damage(bytes: Buffer, random: Random): Buffer {
  let damaged = bytes;
  while (random.chance(4)) {
    const at = random.below(damaged.length + 1);
    const removed = random.chance(2) ? 0 : random.below(4);
    const added = random.chance(4)
      ? Buffer.of(random.below(256))
      : Buffer.from(random.pick(INTERESTING), 'latin1');
    damaged = Buffer.concat([damaged.subarray(0, at), added, damaged.subarray(at + removed)]);
  }
  return random.chance(10) ? damaged.subarray(0, random.below(damaged.length + 1)) : damaged;
}
