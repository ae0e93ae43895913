import { Buffer } from 'node:buffer';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';

type Spelling = (text: string) => string;

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
const each = (text: string, spell: (code: number) => string): string =>
  [...bytesOf(text)].map(spell).join('');
const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, '0');
const percent = (text: string): string => each(text, code => `%${hex(code, 2)}`);

/** Ways to write a text so that it is still there (contract, section 2). */
export const SPELLINGS: ReadonlyMap<string, Spelling> = new Map<string, Spelling>([
  ['as it is', text => text],
  ['base64', text => bytesOf(text).toString('base64')],
  ['base64 behind one byte', text => bytesOf(`.${text}`).toString('base64')],
  ['base64 behind two bytes', text => bytesOf(`..${text}`).toString('base64')],
  ['base64url', text => bytesOf(text).toString('base64url')],
  ['hex', text => bytesOf(text).toString('hex')],
  ['hex in capitals', text => bytesOf(text).toString('hex').toUpperCase()],
  ['percent-encoded', text => encodeURIComponent(text)],
  ['percent-encoded whole', percent],
  ['percent-encoded in capitals', text => percent(text).toUpperCase()],
  [
    'percent-encoded here and there',
    text => Array.from(text, (c, i) => (i % 3 === 0 ? percent(c) : c)).join(''),
  ],
  ['JSON string', text => JSON.stringify(text)],
  ['JSON string with slashes escaped', text => JSON.stringify(text).replaceAll('/', '\\/')],
  ['JSON escapes', text => each(text, code => `\\u${hex(code, 4)}`)],
  ['JSON escapes in capitals', text => each(text, code => `\\u${hex(code, 4).toUpperCase()}`)],
  ['JSON in JSON', text => JSON.stringify(JSON.stringify({ it: text }))],
  ['HTML entities, decimal', text => each(text, code => `&#${code};`)],
  ['HTML entities, hexadecimal', text => each(text, code => `&#x${hex(code, 2)};`)],
  ['as the password of Basic', text => `Basic ${bytesOf(`user:${text}`).toString('base64')}`],
  ['as the user of Basic', text => `Basic ${bytesOf(`${text}:x`).toString('base64')}`],
]);

type Coding = (bytes: Buffer) => Buffer;

/** Content codings (RFC 9110, section 8.4.1; RFC 7932; RFC 8878), and stacks of them; by Content-Encoding. */
export const CODINGS: ReadonlyMap<string, Coding> = new Map<string, Coding>([
  ['gzip', bytes => gzipSync(bytes)],
  ['x-gzip', bytes => gzipSync(bytes)],
  ['deflate', bytes => deflateSync(bytes)],
  ['deflate ', bytes => deflateRawSync(bytes)],
  ['br', bytes => brotliCompressSync(bytes)],
  ['zstd', bytes => zstdCompressSync(bytes)],
  ['gzip, br', bytes => brotliCompressSync(gzipSync(bytes))],
  ['zstd, gzip', bytes => gzipSync(zstdCompressSync(bytes))],
  ['gzip, gzip', bytes => gzipSync(gzipSync(bytes))],
]);
