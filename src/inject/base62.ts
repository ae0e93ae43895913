import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** The largest multiple of 62 in a byte: what is not below it is skipped, so that every character is equally likely. */
const LIMIT = 248;

/** Up to `length` characters, as many as the bytes yield; uniform if the bytes are. */
export function toBase62(bytes: Uint8Array, length: number): string {
  let text = '';
  for (const byte of bytes) {
    if (text.length === length) break;
    if (byte < LIMIT) text += ALPHABET[byte % 62];
  }
  return text;
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** One character of base32 (RFC 4648, section 6) for each byte: its low five bits. */
export function toBase32(bytes: Uint8Array): string {
  return Array.from(bytes, byte => BASE32[byte & 31]).join('');
}

/** `length` random characters, 5.95 bits each. */
export function randomBase62(length: number): string {
  let text = '';
  while (text.length < length) text += toBase62(randomBytes(length + 8), length - text.length);
  return text;
}
