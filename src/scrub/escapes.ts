import { Buffer } from 'node:buffer';
/**
 * Escapes of single characters as URLs, JSON and JavaScript strings, and HTML write them, in one grammar:
 * `%HH` `%uHHHH` (RFC 3986, section 2.1), `\n` `\"` `\/` `\xHH` `\uHHHH` `\u{H…}` (RFC 8259, section 7; ECMA-262),
 * `&#D…;` `&#xH…;` `&name;` (HTML, section 13.5).
 *
 * What stands at a position is one integer: 0 for no escape, INCOMPLETE if the text ends too early to tell, else
 * length | code << 4, with BYTE set if the code is a byte and not a code point.
 */
export const INCOMPLETE = -1;
const BYTE = 1 << 26;
/** Source bytes of the longest escape; bounds leading zeros, too. */
export const LONGEST_ESCAPE = 12;

export const PERCENT = 0x25;
export const AMPERSAND = 0x26;
export const BACKSLASH = 0x5c;
const SEMICOLON = 0x3b;
const LOWER_U = 0x75;
const LOWER_X = 0x78;
const MAX_DIGITS = 8;
const NO_CODE = -2;

/** Byte → 1 if an escape may start with it. */
export const INTRODUCES = new Uint8Array(256);
for (const c of [PERCENT, AMPERSAND, BACKSLASH]) INTRODUCES[c] = 1;

/** Byte → 1 if an escape may be written with it. */
export const WRITES_ESCAPES = new Uint8Array(256);
for (const c of Buffer.from('%&\\#;{}')) WRITES_ESCAPES[c] = 1;
for (let c = 0; c < 128; c++) if (/[0-9A-Za-z]/.test(String.fromCharCode(c))) WRITES_ESCAPES[c] = 1;

const DIGIT = new Int8Array(256).fill(-1);
for (let d = 0; d < 16; d++) {
  DIGIT[d.toString(16).charCodeAt(0)] = d;
  DIGIT[d.toString(16).toUpperCase().charCodeAt(0)] = d;
}

/** Letter after a backslash → code; 0: none. */
export const SHORT = new Uint8Array(256);
for (const [letter, code] of Object.entries({ n: 10, r: 13, t: 9, b: 8, f: 12, v: 11 }))
  SHORT[letter.charCodeAt(0)] = code;
for (const c of '"\'/\\') SHORT[c.charCodeAt(0)] = c.charCodeAt(0);

/** Names and what they stand for. */
const NAMES =
  'amp& lt< gt> quot" apos\' sol/ bsol\\ plus+ equals= percnt% num# dollar$ excl! quest? commat@ ast* semi; colon: ' +
  'comma, period. lowbar_ lpar( rpar) lsqb[ lbrack[ rsqb] rbrack] lcub{ lbrace{ rcub} rbrace} vert| verbar| grave` Hat^';
const NAMED = new Map(
  NAMES.split(' ').map(word => [nameKey(word.slice(0, -1)), word.charCodeAt(word.length - 1)]),
);
NAMED.set(nameKey('NewLine'), 10).set(nameKey('Tab'), 9);
/** What a name may start with: all but its last letters. */
const NAME_STARTS = new Set<number>();
for (const key of NAMED.keys())
  for (let start = key; start > 0; start = Math.trunc(start / 64)) NAME_STARTS.add(start);
NAME_STARTS.add(0);

/** Up to eight letters as one number. */
function nameKey(name: string): number {
  return Buffer.from(name).reduce((key, letter) => key * 64 + (letter & 63), 0);
}

export function escapeAt(text: Buffer, at: number, to: number): number {
  switch (text[at]) {
    case PERCENT:
      return percent(text, at, to);
    case BACKSLASH:
      return backslash(text, at, to);
    case AMPERSAND:
      return reference(text, at, to);
    default:
      return 0;
  }
}

export const lengthOf = (escape: number): number => escape & 15;

/** The first byte of what the escape stands for. */
export function leadByte(escape: number): number {
  const code = (escape & ~BYTE) >> 4;
  if (code < 0x80 || (escape & BYTE) !== 0) return code;
  if (code < 0x800) return 0xc0 | (code >> 6);
  return code < 0x10000 ? 0xe0 | (code >> 12) : 0xf0 | (code >> 18);
}

/** Byte → bits of the introducers that an escape may have before it. */
const FOLLOWS = new Uint8Array(256);
const BIT: Readonly<Record<number, number>> = { [PERCENT]: 1, [BACKSLASH]: 2, [AMPERSAND]: 4 };
for (const c of Buffer.from('0123456789abcdefABCDEFu')) FOLLOWS[c] = 1;
for (let c = 0; c < 256; c++)
  if (SHORT[c] !== 0 || c === LOWER_U || c === LOWER_X) FOLLOWS[c] = (FOLLOWS[c] as number) | 2;
for (let c = 0; c < 128; c++)
  if (/[A-Za-z#]/.test(String.fromCharCode(c))) FOLLOWS[c] = (FOLLOWS[c] as number) | 4;
// What follows may be written in an escape, too.
for (const c of [PERCENT, AMPERSAND, BACKSLASH]) FOLLOWS[c] = 7;

/**
 * What an escape for a byte is worth: nothing, to be decoded, or to be decoded if another escape may start there. Any two
 * that are worth something share a bit.
 */
export const [NOTHING, ALWAYS, IF_INTRODUCING] = [0, 1, 3];

/** Whether the escape that ends before text[after] is to be decoded, by what an escape for each byte is worth. */
export function matters(escape: number, worth: Uint8Array, text: Buffer, after: number, to: number): boolean {
  const byte = leadByte(escape);
  if (worth[byte] !== IF_INTRODUCING || after >= to) return worth[byte] !== NOTHING;
  return ((FOLLOWS[text[after] as number] as number) & (BIT[byte] as number)) !== 0;
}

/** Writes what the escape stands for, as UTF-8, at `into[at]`; returns the number of bytes, fewer than the escape has. */
export function writeDecoded(escape: number, into: Buffer, at: number): number {
  const code = (escape & ~BYTE) >> 4;
  into[at] = leadByte(escape);
  if (code < 0x80 || (escape & BYTE) !== 0) return 1;
  const extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  for (let i = 1; i <= extra; i++) into[at + i] = 0x80 | ((code >> ((extra - i) * 6)) & 63);
  return extra + 1;
}

function percent(text: Buffer, at: number, to: number): number {
  if (text[at + 1] === LOWER_U && at + 1 < to) return unicode(text, at, to);
  return asEscape(fixed(text, at + 1, at + 3, to), 3, BYTE);
}

function backslash(text: Buffer, at: number, to: number): number {
  if (at + 1 >= to) return INCOMPLETE;
  const letter = text[at + 1] as number;
  if (letter === LOWER_U) return unicode(text, at, to);
  if (letter === LOWER_X) return asEscape(fixed(text, at + 2, at + 4, to), 4, BYTE);
  const code = SHORT[letter] as number;
  return code === 0 ? 0 : asEscape(code, 2, 0);
}

/** A code unit, or two that make a surrogate pair: then 12 bytes long. */
function unicode(text: Buffer, at: number, to: number): number {
  if (at + 2 < to && text[at + 2] === 0x7b) return delimited(text, at, at + 3, to, 16, 0x7d);
  const high = fixed(text, at + 2, at + 6, to);
  if (high < 0xd800 || high > 0xdbff) return asEscape(high, 6, 0);
  if (at + 6 >= to) return INCOMPLETE;
  if (text[at + 6] !== text[at]) return asEscape(high, 6, 0);
  if (at + 7 >= to) return INCOMPLETE;
  if (text[at + 7] !== LOWER_U) return asEscape(high, 6, 0);
  const low = fixed(text, at + 8, at + 12, to);
  if (low === INCOMPLETE) return INCOMPLETE;
  if (low < 0xdc00 || low > 0xdfff) return asEscape(high, 6, 0);
  return asEscape(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12, 0);
}

function reference(text: Buffer, at: number, to: number): number {
  if (at + 1 >= to) return INCOMPLETE;
  if (text[at + 1] !== 0x23) return named(text, at, to);
  if (at + 2 >= to) return INCOMPLETE;
  if (((text[at + 2] as number) | 0x20) === LOWER_X) return delimited(text, at, at + 3, to, 16, SEMICOLON);
  return delimited(text, at, at + 2, to, 10, SEMICOLON);
}

function named(text: Buffer, at: number, to: number): number {
  let key = 0;
  for (let i = at + 1; i < at + 9; i++) {
    if (i >= to) return NAME_STARTS.has(key) ? INCOMPLETE : 0;
    const c = text[i] as number;
    if (c === SEMICOLON) return asEscape(NAMED.get(key) ?? NO_CODE, i + 1 - at, 0);
    const letter = c | 0x20;
    if (letter < 0x61 || letter > 0x7a) return 0;
    key = key * 64 + (c & 63);
  }
  return 0;
}

/** The number in digits of `base` from `from` up to the terminator; the escape starts at `at`. */
function delimited(
  text: Buffer,
  at: number,
  from: number,
  to: number,
  base: number,
  terminator: number,
): number {
  let code = 0;
  for (let i = from; i <= from + MAX_DIGITS; i++) {
    if (i >= to) return INCOMPLETE;
    if (text[i] === terminator && i > from) return asEscape(code > 0x10ffff ? NO_CODE : code, i + 1 - at, 0);
    const digit = DIGIT[text[i] as number] as number;
    if (digit < 0 || digit >= base) return 0;
    code = code * base + digit;
  }
  return 0;
}

/** The number in hex digits from `from` up to `end`; INCOMPLETE if the text ends before, NO_CODE if one is none. */
function fixed(text: Buffer, from: number, end: number, to: number): number {
  let code = 0;
  for (let i = from; i < end; i++) {
    if (i >= to) return INCOMPLETE;
    const digit = DIGIT[text[i] as number] as number;
    if (digit < 0) return NO_CODE;
    code = (code << 4) | digit;
  }
  return code;
}

const asEscape = (code: number, length: number, kind: number): number =>
  code >= 0 ? length | (code << 4) | kind : code === INCOMPLETE ? INCOMPLETE : 0;
