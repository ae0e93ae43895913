import { Buffer } from 'node:buffer';
import type { Secret } from '../secret.ts';
import { escapeAt, lengthOf, LONGEST_ESCAPE, writeDecoded } from './escapes.ts';

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
  /** What to look for, folded. */
  readonly bytes: Buffer;
  /** Byte of a text → byte to compare: makes hex blind to case, and base64 to its alphabet. */
  readonly fold: Uint8Array;
  /** base64: bytes before the secret in its group of three, and the characters that it shares with its neighbours. */
  readonly shift: number;
  readonly lead: Edge | undefined;
  readonly trail: Edge | undefined;
  /** In a view: what stands literally before and after it in the source, taken there for a part of an escape. */
  readonly before: Buffer;
  readonly after: Buffer;
}

/** A base64 character of which only some bits belong to the secret: `value & mask`. */
export interface Edge {
  readonly mask: number;
  readonly value: number;
}

const NOTHING = Buffer.alloc(0);
const SAME = Uint8Array.from({ length: 256 }, (_, c) => c);
const HEX = Uint8Array.from(SAME, c => (c >= 0x41 && c <= 0x46 ? c + 32 : c));
const EITHER_BASE64 = Uint8Array.from(SAME, c => (c === 0x2d ? 0x2b : c === 0x5f ? 0x2f : c));

/** Byte → value of the base64 or base64url character; -1: none. */
export const SEXTET = new Int8Array(256).fill(-1);
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
    before: NOTHING,
    after: NOTHING,
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
  return [
    ...[...plain.values()].map((spelled): Spelling => ({ ...base, encoding: 'plain', bytes: spelled })),
    ...[0, 1, 2].map(
      (shift): Spelling => ({
        ...base,
        encoding: 'base64',
        fold: EITHER_BASE64,
        shift,
        ...base64(bytes, shift),
      }),
    ),
    { ...base, encoding: 'hex', fold: HEX, bytes: Buffer.from(bytes.toString('hex')) },
    { ...base, encoding: 'utf16le', bytes: wide },
    { ...base, encoding: 'utf16be', bytes: Buffer.from(wide).swap16() },
  ];
}

/** The characters that hold nothing but bits of the secret, and those that it shares. */
function base64(
  secret: Buffer,
  shift: number,
): { bytes: Buffer; lead: Edge | undefined; trail: Edge | undefined } {
  const text = Buffer.concat([Buffer.alloc(shift), secret])
    .toString('base64')
    .replace(/=+$/, '');
  const leadBits = (6 - ((8 * shift) % 6)) % 6;
  const trailBits = (8 * (shift + secret.length)) % 6;
  const start = Math.ceil((8 * shift) / 6);
  const end = trailBits === 0 ? text.length : text.length - 1;
  const value = (at: number): number => BASE64.indexOf(text[at] as string);
  return {
    bytes: Buffer.from(text.slice(start, end)),
    lead:
      leadBits === 0
        ? undefined
        : { mask: (1 << leadBits) - 1, value: value(start - 1) & ((1 << leadBits) - 1) },
    trail: trailBits === 0 ? undefined : { mask: 63 & ~((1 << (6 - trailBits)) - 1), value: value(end) },
  };
}

/** Introducers of the escapes that one round of decoding reads: those of one syntax, or all. */
const SYNTAXES = ['%', '\\', '&', '%\\&'];
/** What two rounds or less may do to a secret that itself looks like escapes. */
const ROUNDS = [
  [],
  ...SYNTAXES.map(one => [one]),
  ...SYNTAXES.flatMap(one => SYNTAXES.map(two => [one, two])),
];
/** What a decoder may take for the start of an escape that goes on in the secret, or the other way round. */
const STRAY_BEFORE = [
  '',
  '%',
  '%0',
  '\\',
  '\\x',
  '\\x0',
  '\\u',
  '\\u0',
  '\\u00',
  '\\u000',
  '&',
  '&#',
  '&#x',
  '&#1',
  '&#x1',
];
const STRAY_AFTER = ['n', '0', '00', '000', '0000', 'u0000', 'x00', ';', '0;', 'lt;', '#1;', '\\'];
const MIN_PART_BYTES = 4;

/** As `spelling` looks in a view in which a part of it was itself taken for escapes, or for a part of one. */
export function misread(spelling: Spelling): Spelling[] {
  if (spelling.encoding !== 'plain') return [spelling];
  const literal = spelling.bytes;
  const seen = new Set<string>();
  const found: Spelling[] = [];
  for (const rounds of ROUNDS) {
    const bytes = decoded(literal, rounds);
    if (seen.has(bytes.toString('latin1'))) continue;
    seen.add(bytes.toString('latin1'));
    // What was taken away must stand there literally, so only where nothing was decoded.
    const heads = swallowedHeads(literal).filter(n => literal.subarray(0, n).equals(bytes.subarray(0, n)));
    const tails = swallowedTails(literal).filter(
      n => n === 0 || literal.subarray(-n).equals(bytes.subarray(-n)),
    );
    for (const head of heads) {
      for (const tail of tails) {
        if (bytes.length - head - tail < MIN_PART_BYTES) continue;
        const part = bytes.subarray(head, bytes.length - tail);
        const [before, after] = [literal.subarray(0, head), literal.subarray(literal.length - tail)];
        found.push({ ...spelling, bytes: part, before, after });
      }
    }
  }
  return found;
}

/** How many bytes at the start of a secret an escape may take that starts before it. */
function swallowedHeads(secret: Buffer): number[] {
  const lengths = STRAY_BEFORE.map(stray => {
    const text = Buffer.concat([Buffer.from(stray), secret]);
    return Math.max(0, lengthOf(Math.max(0, escapeAt(text, 0, text.length))) - stray.length);
  });
  return [...new Set([0, ...lengths])];
}

/** How many bytes at the end of a secret may be taken for the start of an escape that goes on after it. */
function swallowedTails(secret: Buffer): number[] {
  const lengths = new Set([0]);
  for (const stray of STRAY_AFTER) {
    const text = Buffer.concat([secret, Buffer.from(stray)]);
    for (let at = Math.max(0, secret.length - LONGEST_ESCAPE); at < secret.length; at++) {
      const escape = Math.max(0, escapeAt(text, at, text.length));
      if (at + lengthOf(escape) > secret.length) lengths.add(secret.length - at);
    }
  }
  return [...lengths];
}

/** `bytes` after rounds of decoding, each of which reads the escapes with these introducers. */
function decoded(bytes: Buffer, rounds: readonly string[]): Buffer {
  return rounds.reduce(decodedOnce, bytes);
}

function decodedOnce(bytes: Buffer, introducers: string): Buffer {
  const out = Buffer.alloc(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const isIntroducer = introducers.includes(String.fromCharCode(bytes[at] as number));
    const escape = isIntroducer ? escapeAt(bytes, at, bytes.length) : 0;
    if (escape > 0) {
      length += writeDecoded(escape, out, length);
      at += lengthOf(escape);
    } else {
      out[length++] = bytes[at++] as number;
    }
  }
  return out.subarray(0, length);
}
