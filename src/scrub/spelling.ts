import { Buffer } from 'node:buffer';
import type { Secret } from '../secret.ts';

/** Fewer bytes would be found where no secret stands. */
export const MIN_SECRET_BYTES = 8;
/** A line of a secret that is one by itself: longer than what frames a PEM key or names a JSON field. */
const SECRET_LINE = /^[A-Za-z0-9+/=_-]{24,}$/;
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

export type Encoding = 'plain' | 'base64' | 'hex' | 'utf16le' | 'utf16be';

/** One way to write a secret, as bytes to look for. */
export interface Spelling {
  readonly name: string;
  readonly encoding: Encoding;
  /** Bytes of the secret. */
  readonly secretLength: number;
  /** The whole of it, folded, if no byte is escaped. */
  readonly literal: Buffer;
  /** What to look for, folded: `literal`, or what is left of it in a view that takes a part of it for escapes. */
  readonly bytes: Buffer;
  /** Byte of a text → byte to compare: makes hex blind to case, and base64 to its alphabet. */
  readonly fold: Uint8Array;
  /** base64: bytes before the secret in its group of three, and the characters that it shares with its neighbours. */
  readonly shift: number;
  readonly lead: Edge | undefined;
  readonly trail: Edge | undefined;
}

/** A base64 character of which only some bits belong to the secret: `value & mask`. */
export interface Edge {
  readonly mask: number;
  readonly value: number;
}

const SAME = Uint8Array.from({ length: 256 }, (_, c) => c);
const HEX = Uint8Array.from(SAME, c => (c >= 0x41 && c <= 0x46 ? c + 32 : c));
const EITHER_BASE64 = Uint8Array.from(SAME, c => (c === 0x2d ? 0x2b : c === 0x5f ? 0x2f : c));

/** Byte → value of the base64 or base64url character; -1: none. */
const SEXTET = new Int8Array(256).fill(-1);
for (let value = 0; value < 64; value++) SEXTET[BASE64.charCodeAt(value)] = value;
SEXTET[0x2d] = 62;
SEXTET[0x5f] = 63;

/** White space around a secret is not a part of it: files end with a line break. */
const core = (secret: Secret): string => secret.reveal().trim();

export function tooShort(secret: Secret): boolean {
  return Buffer.byteLength(core(secret)) < MIN_SECRET_BYTES;
}

/** Every listed spelling of a secret and of its lines. */
export function spellings(secret: Secret): Spelling[] {
  if (tooShort(secret))
    throw new Error(
      `${secret.toString()} is shorter than ${MIN_SECRET_BYTES} bytes: it cannot be told from other text`,
    );
  const whole = core(secret);
  const lines = whole.split(/\\n|\\r|[\r\n]/).filter(line => line !== whole && SECRET_LINE.test(line));
  return [whole, ...new Set(lines)].flatMap(text => spell(secret.name, text));
}

function spell(name: string, text: string): Spelling[] {
  const bytes = Buffer.from(text);
  const wide = Buffer.from(text, 'utf16le');
  const base = {
    name,
    secretLength: bytes.length,
    fold: SAME,
    shift: 0,
    lead: undefined,
    trail: undefined,
  };
  const plain = new Map<string, Buffer>();
  const others = [
    text.replaceAll('\r\n', '\n'),
    text.replaceAll(/\r?\n/g, '\r\n'),
    text.replaceAll(' ', '+'),
  ];
  for (const spelled of [text, ...others]) plain.set(spelled, Buffer.from(spelled));
  const latin1 = Buffer.from(text, 'latin1');
  if (latin1.length !== bytes.length && latin1.toString('latin1') === text) plain.set('latin1', latin1);
  const found: Omit<Spelling, 'bytes'>[] = [
    ...[...plain.values()].map(literal => ({ ...base, encoding: 'plain' as const, literal })),
    ...[0, 1, 2].map(shift => ({
      ...base,
      encoding: 'base64' as const,
      fold: EITHER_BASE64,
      shift,
      ...base64(bytes, shift),
    })),
    { ...base, encoding: 'hex', fold: HEX, literal: Buffer.from(bytes.toString('hex')) },
    { ...base, encoding: 'utf16le', literal: wide },
    { ...base, encoding: 'utf16be', literal: Buffer.from(wide).swap16() },
  ];
  return found.map(spelling => ({ ...spelling, bytes: spelling.literal }));
}

/** The characters that hold nothing but bits of the secret, and those that it shares. */
function base64(
  secret: Buffer,
  shift: number,
): { literal: Buffer; lead: Edge | undefined; trail: Edge | undefined } {
  const text = Buffer.concat([Buffer.alloc(shift), secret])
    .toString('base64')
    .replace(/=+$/, '');
  const leadBits = (6 - ((8 * shift) % 6)) % 6;
  const trailBits = (8 * (shift + secret.length)) % 6;
  const start = Math.ceil((8 * shift) / 6);
  const end = trailBits === 0 ? text.length : text.length - 1;
  const value = (at: number): number => BASE64.indexOf(text[at] as string);
  return {
    literal: Buffer.from(text.slice(start, end)),
    lead:
      leadBits === 0
        ? undefined
        : { mask: (1 << leadBits) - 1, value: value(start - 1) & ((1 << leadBits) - 1) },
    trail: trailBits === 0 ? undefined : { mask: 63 & ~((1 << (6 - trailBits)) - 1), value: value(end) },
  };
}

/** The value of a base64 character that holds bits of the secret as `edge` says; -1 if it does not. */
export function sharedValue(edge: Edge | undefined, c: number): number {
  const value = SEXTET[c] as number;
  return edge && value >= 0 && (value & edge.mask) === edge.value ? value : -1;
}
