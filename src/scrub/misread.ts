import { escapeAt, INCOMPLETE, LONGEST_ESCAPE, lengthOf, writeDecoded } from './escapes.ts';
import { ROUNDS } from './reader.ts';
import type { Spelling } from './spelling.ts';

/** Introducers of the escapes that one round of decoding may read in a secret: none, those of one syntax, or all. */
const SYNTAXES = ['', '%', '\\', '&', '%\\&'];
const MIN_PART_BYTES = 4;
/** What of a text's start an escape may take that starts before it: what may end an escape. */
const ENDS_OF_ESCAPES = [/^["'/\\nrtbfv]/, /^[\\%]?[ux]?[0-9A-Fa-f]{1,4}/, /^[#0-9A-Za-z{]{0,10}[;}]/];

/** As `spelling` looks in a view in which a part of it was itself taken for escapes, or its end for the start of one. */
export function misread(spelling: Spelling): Spelling[] {
  let read = [spelling.literal];
  for (let round = 0; round < ROUNDS; round++) {
    const texts = read.flatMap(text => SYNTAXES.map(introducers => decodedOnce(text, introducers)));
    read = distinct(distinct(texts).flatMap(withoutTails));
  }
  return read.filter(bytes => bytes.length >= MIN_PART_BYTES).map(bytes => ({ ...spelling, bytes }));
}

const distinct = (texts: readonly Buffer[]): Buffer[] => [
  ...new Map(texts.map(text => [text.toString('latin1'), text])).values(),
];

/** A text, and what is left of it if its end is taken for the start of an escape that goes on after it. */
function withoutTails(text: Buffer): Buffer[] {
  const found = [text];
  for (let at = Math.max(0, text.length - LONGEST_ESCAPE); at < text.length; at++) {
    if (escapeAt(text, at, text.length) === INCOMPLETE) found.push(text.subarray(0, at));
  }
  return found;
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
