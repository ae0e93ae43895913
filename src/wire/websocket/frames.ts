import { Buffer } from 'node:buffer';
import { randomFillSync } from 'node:crypto';

const MASKED = 0x80;
const FIN = 0x80;

/** Random bytes that wait to become masking keys: one call of the generator is for many frames. */
const keys = Buffer.alloc(4096);
let nextKey = keys.length;

/** Adds nothing but the header to a frame that is sent as it is. */
export function header(opcode: number, fin: boolean, length: number): Buffer {
  return head(opcode, fin, length, 0, 0);
}

/** A frame masked under a fresh key, as a client must send it (RFC 6455, section 5.3). */
export function maskedFrame(opcode: number, fin: boolean, payload: Buffer): Buffer {
  const frame = head(opcode, fin, payload.length, MASKED, 4 + payload.length);
  const start = frame.length - payload.length;
  const key = takeKey();
  frame.set(key, start - 4);
  mask(payload, key, 0, frame, start);
  return frame;
}

/** The header (RFC 6455, section 5.2) and `room` bytes behind it. */
function head(opcode: number, fin: boolean, length: number, masked: number, room: number): Buffer {
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const bytes = Buffer.allocUnsafe(2 + extended + room);
  bytes[0] = (fin ? FIN : 0) | opcode;
  bytes[1] = masked | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) bytes.writeUInt16BE(length, 2);
  if (extended === 8) bytes.writeBigUInt64BE(BigInt(length), 2);
  return bytes;
}

function takeKey(): Buffer {
  if (nextKey === keys.length) {
    randomFillSync(keys);
    nextKey = 0;
  }
  return keys.subarray(nextKey, (nextKey += 4));
}

/**
 * Writes `from`, masked or unmasked, into `to` at `at` (RFC 6455, section 5.3). `phase`: payload bytes that came
 * before. Returns the next phase.
 */
export function mask(from: Buffer, key: Uint8Array, phase: number, to: Buffer, at: number): number {
  const { length } = from;
  const [a = 0, b = 0, c = 0, d = 0] = [0, 1, 2, 3].map(i => key[(phase + i) & 3] as number);
  let i = 0;
  for (; i + 3 < length; i += 4) {
    to[at + i] = (from[i] as number) ^ a;
    to[at + i + 1] = (from[i + 1] as number) ^ b;
    to[at + i + 2] = (from[i + 2] as number) ^ c;
    to[at + i + 3] = (from[i + 3] as number) ^ d;
  }
  for (; i < length; i++) to[at + i] = (from[i] as number) ^ (key[(phase + i) & 3] as number);
  return (phase + length) & 3;
}
