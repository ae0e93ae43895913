import { escapeAt, INCOMPLETE, LONGEST_ESCAPE, lengthOf, writeDecoded } from './escapes.ts';
import type { Spelling } from './spelling.ts';

/** Introducers of the escapes that one round of decoding reads: those of one syntax, or all. */
const SYNTAXES = ['%', '\\', '&', '%\\&'];
/** What two rounds or less may do to a secret that itself looks like escapes. */
const ROUNDS = [
  [],
  ...SYNTAXES.map(one => [one]),
  ...SYNTAXES.flatMap(one => SYNTAXES.map(two => [one, two])),
];
const MIN_PART_BYTES = 4;
/** What of a text's start an escape may take that starts before it: what may end an escape. */
const ENDS_OF_ESCAPES = [/^["'/\\nrtbfv]/, /^[\\%]?[ux]?[0-9A-Fa-f]{1,4}/, /^[#0-9A-Za-z{]{0,10}[;}]/];

/** As `spelling` looks in a view in which a part of it was itself taken for escapes, or its end for the start of one. */
export function misread(spelling: Spelling): Spelling[] {
  const found = new Map<string, Spelling>();
  for (const rounds of ROUNDS) {
    const whole = rounds.reduce(decodedOnce, spelling.literal);
    for (const tail of swallowedTails(whole)) {
      const bytes = whole.subarray(0, whole.length - tail);
      if (bytes.length >= MIN_PART_BYTES) found.set(bytes.toString('latin1'), { ...spelling, bytes });
    }
  }
  return [...found.values()];
}

/** How many bytes at the end of a secret may be taken for the start of an escape that goes on after it. */
function swallowedTails(secret: Buffer): number[] {
  const lengths = [0];
  for (let at = Math.max(0, secret.length - LONGEST_ESCAPE); at < secret.length; at++) {
    if (escapeAt(secret, at, secret.length) === INCOMPLETE) lengths.push(secret.length - at);
  }
  return lengths;
}

/** How many bytes at the start of a spelling, at most, may be taken for the end of an escape that starts before it. */
export function swallowedHead({ literal }: Spelling): number {
  const text = literal.toString('latin1');
  return Math.max(...ENDS_OF_ESCAPES.map(end => end.exec(text)?.[0].length ?? 0));
}

/** `bytes` with those escapes decoded that start with one of `introducers`. */
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
