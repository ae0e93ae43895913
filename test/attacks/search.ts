import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { leaks } from '../support/canary.ts';

type Decoder = (text: string) => string;

const latin1 = (bytes: Buffer): string => bytes.toString('latin1');
const char = (digits: string, base: number): string => {
  const code = Number.parseInt(digits, base);
  return code <= 0x10ffff ? String.fromCodePoint(code) : '';
};
/** Every alignment of every run of an alphabet, decoded. */
const runs =
  (run: RegExp, width: number, decode: (digits: string) => Buffer): Decoder =>
  text =>
    [...text.matchAll(run)]
      .flatMap(([digits]) => Array.from({ length: width }, (_, from) => latin1(decode(digits.slice(from)))))
      .join('\n');

const NAMED: Readonly<Record<string, string>> = { amp: '&', lowbar: '_', dash: '-', hyphen: '-', quot: '"' };

/** What a reader may do to a text to find a secret in it; written apart from `src/scrub`, and slow. */
const DECODERS: ReadonlyMap<string, Decoder> = new Map<string, Decoder>([
  ['percent', text => text.replace(/%(?:u00)?([0-9a-fA-F]{2})/g, (_, hex: string) => char(hex, 16))],
  [
    'json',
    text =>
      text
        .replace(/\\u\{?([0-9a-fA-F]{1,6})\}?/g, (_, hex: string) => char(hex.slice(-4), 16))
        .replace(/\\x([0-9a-fA-F]{2})/g, (_, hex: string) => char(hex, 16))
        .replace(/\\([/"'\\])/g, '$1'),
  ],
  [
    'html',
    text =>
      text
        .replace(/&#x0*([0-9a-fA-F]{1,6});?/gi, (_, hex: string) => char(hex, 16))
        .replace(/&#0*(\d{1,7});?/g, (_, dec: string) => char(dec, 10))
        .replace(/&([a-z]+);/g, (all, name: string) => NAMED[name] ?? all),
  ],
  ['base64', runs(/[A-Za-z0-9+/_-]{12,}/g, 4, digits => Buffer.from(digits, 'base64'))],
  ['hex', runs(/[0-9a-fA-F]{16,}/g, 2, digits => Buffer.from(digits, 'hex'))],
  ['wide', text => text.replaceAll('\0', '')],
  ['inflated', inflated],
]);

/** Whatever stands compressed in the text, from each place where a format may begin. */
function inflated(text: string): string {
  const bytes = Buffer.from(text, 'latin1');
  const found: string[] = [];
  const attempt = (decode: (part: Buffer) => Buffer, from: number): void => {
    try {
      found.push(latin1(decode(bytes.subarray(from))));
    } catch {
      // not that
    }
  };
  for (let at = bytes.indexOf('1f8b', 0, 'hex'); at >= 0; at = bytes.indexOf('1f8b', at + 1, 'hex')) {
    attempt(gunzipSync, at);
  }
  const zstd = bytes.indexOf('28b52ffd', 0, 'hex');
  if (zstd >= 0) attempt(zstdDecompressSync, zstd);
  const body = bytes.indexOf('\r\n\r\n') + 4;
  for (const decode of [inflateSync, inflateRawSync, brotliDecompressSync]) {
    attempt(decode, 0);
    if (body > 3) attempt(decode, body);
  }
  return found.join('\n');
}

/**
 * The ways in which `secret` can be read out of `bytes`: as it stands, in a listed spelling, and after one or two
 * rounds of decoding. Empty is what a test wants.
 */
export function readings(bytes: Buffer | string, secret: string): string[] {
  const text = typeof bytes === 'string' ? Buffer.from(bytes, 'utf8').toString('latin1') : latin1(bytes);
  const found = leaks(Buffer.from(text, 'latin1'), secret);
  for (const [first, decode] of DECODERS) {
    const once = decode(text);
    if (once === text) continue;
    if (once.includes(secret)) found.push(first);
    for (const [second, again] of DECODERS) {
      if (second === 'inflated' || once.length < secret.length) continue;
      if (again(once).includes(secret)) found.push(`${first}, ${second}`);
    }
  }
  return found;
}
