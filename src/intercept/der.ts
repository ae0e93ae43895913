/** The part of DER (ITU-T X.690) that certificates need: definite lengths, low tag numbers. */

export interface Element {
  readonly tag: number;
  readonly content: Buffer;
  /** Tag and length included. */
  readonly raw: Buffer;
}

const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

export function element(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag]), lengthOf(content), ...parts]);
}

function lengthOf(content: number): Buffer {
  if (content < 0x80) return Buffer.from([content]);
  if (content < 0x100) return Buffer.from([0x81, content]);
  if (content < 0x10000) return Buffer.from([0x82, content >> 8, content & 0xff]);
  throw new RangeError('longer than any certificate');
}

export const sequence = (...parts: readonly Buffer[]): Buffer => element(TAG.sequence, ...parts);
export const set = (...parts: readonly Buffer[]): Buffer => element(TAG.set, ...parts);
export const octetString = (...parts: readonly Buffer[]): Buffer => element(TAG.octetString, ...parts);
export const utf8String = (text: string): Buffer => element(TAG.utf8String, Buffer.from(text));
export const bitString = (bytes: Buffer, unusedBits = 0): Buffer =>
  element(TAG.bitString, Buffer.from([unusedBits]), bytes);
export const TRUE = element(TAG.boolean, Buffer.from([0xff]));

/** An unsigned number, big-endian and at least one byte, in the fewest bytes that keep it positive. */
export function integer(magnitude: Buffer): Buffer {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const digits = magnitude.subarray(start);
  return (digits[0] ?? 0) < 0x80
    ? element(TAG.integer, digits)
    : element(TAG.integer, Buffer.alloc(1), digits);
}

/** An explicit or constructed context tag, such as `[3]`. */
export const context = (number: number, ...parts: readonly Buffer[]): Buffer =>
  element(0xa0 | number, ...parts);
/** A primitive context tag, such as `[2] IMPLICIT`. */
export const implicit = (number: number, content: Buffer): Buffer => element(0x80 | number, content);

/** From dotted decimal. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(TAG.oid, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const digits = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) digits.unshift((rest & 0x7f) | 0x80);
  return digits;
}

/** `ms` since the epoch, to the second; UTCTime through 2049, GeneralizedTime after (RFC 5280, section 4.1.2.5). */
export function time(ms: number): Buffer {
  const digits = `${new Date(ms).toISOString().slice(0, 19).replace(/\D/g, '')}Z`;
  return digits < '2050'
    ? element(TAG.utcTime, Buffer.from(digits.slice(2)))
    : element(TAG.generalizedTime, Buffer.from(digits));
}

/** The elements that stand one after the other in `der`. */
export function elements(der: Buffer): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < der.length; ) {
    const next = elementAt(der, at);
    found.push(next);
    at += next.raw.length;
  }
  return found;
}

function elementAt(der: Buffer, at: number): Element {
  const short = der[at + 1] ?? 0;
  const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
  const start = at + 2 + lengthBytes;
  if (lengthBytes > 3 || start > der.length) throw new RangeError('not DER');
  const end = start + (lengthBytes === 0 ? short : der.readUIntBE(at + 2, lengthBytes));
  if (end > der.length) throw new RangeError('not DER');
  return { tag: der[at] ?? 0, content: der.subarray(start, end), raw: der.subarray(at, end) };
}
