import { randomBytes } from 'node:crypto';

const BASE62 = /[^0-9A-Za-z]/g;

/** A secret that occurs nowhere else: `prefix` and `length` random base62 characters. */
export function canary(prefix = 'canary-', length = 40): string {
  let text = '';
  while (text.length < length) text += randomBytes(48).toString('base64').replace(BASE62, '');
  return prefix + text.slice(0, length);
}

/** The base64 digits that do not depend on what stands before or after `bytes`, for `shift` bytes before it. */
function base64Core(bytes: Buffer, shift: number): string {
  const text = Buffer.concat([Buffer.alloc(shift), bytes])
    .toString('base64')
    .replace(/=+$/, '');
  const total = (shift + bytes.length) * 8;
  return text.slice(Math.ceil((shift * 8) / 6), Math.floor(total / 6));
}

const percentAll = (bytes: Buffer, digits: (hex: string) => string): string =>
  [...bytes].map(byte => `%${digits(byte.toString(16).padStart(2, '0'))}`).join('');

const jsonEscapes = (text: string): string =>
  text
    .split('')
    .map(char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');

const entities = (text: string): string =>
  text
    .split('')
    .map(char => `&#${char.charCodeAt(0)};`)
    .join('');

/** Every spelling a test looks for, by its name; independent of `src/scrub`. */
export function spellings(secret: string): Map<string, Buffer> {
  const bytes = Buffer.from(secret, 'latin1');
  const texts: [string, string][] = [
    ['raw', secret],
    ['hex', bytes.toString('hex')],
    ['HEX', bytes.toString('hex').toUpperCase()],
    ['percent', percentAll(bytes, hex => hex)],
    ['PERCENT', percentAll(bytes, hex => hex.toUpperCase())],
    ['encodeURIComponent', encodeURIComponent(secret)],
    ['json', jsonEscapes(secret)],
    ['html', entities(secret)],
    ['reversed', secret.split('').toReversed().join('')],
  ];
  for (const shift of [0, 1, 2]) {
    const core = base64Core(bytes, shift);
    texts.push([`base64+${shift}`, core]);
    texts.push([`base64url+${shift}`, core.replaceAll('+', '-').replaceAll('/', '_')]);
  }
  const found = new Map(texts.map(([name, text]) => [name, Buffer.from(text, 'latin1')]));
  found.set('utf16le', Buffer.from(secret, 'utf16le'));
  return found;
}

/** The names of the spellings of `secret` that stand in `bytes`; empty is what a test wants. */
export function leaks(bytes: Buffer | string, secret: string): string[] {
  const text = typeof bytes === 'string' ? Buffer.from(bytes, 'utf8') : bytes;
  const found: string[] = [];
  for (const [name, spelling] of spellings(secret)) if (text.includes(spelling)) found.push(name);
  return found;
}
