import { escapeAt, INCOMPLETE, lengthOf, writeDecoded } from './escapes.ts';
import { ROUNDS } from './reader.ts';
import type { Spelling } from './spelling.ts';

/** With so many bytes, what follows need not be known: a spelling is read as a whole wherever its start is found. */
const ENOUGH = 8;
/** Fewer cannot be looked for. */
const MIN_BYTES = 3;
/** What of a text's start an escape may take that starts before it: what may end an escape. */
const ENDS_OF_ESCAPES = [/^["'/\\nrtbfv]/, /^[\\%]?[ux]?[0-9A-Fa-f]{1,4}/, /^[#0-9A-Za-z{]{0,10}[;}]/];

/** As `spelling` looks in a view, or starts there, if it looks like escapes itself: each of them is read, or is not. */
export function misread(spelling: Spelling): Spelling[] {
  let texts = [spelling.literal];
  for (let round = 0; round < ROUNDS; round++) {
    const read = new Set(texts.flatMap(text => [...readings(text, 0, '')]));
    texts = [...read].map(text => Buffer.from(text, 'latin1'));
  }
  return texts.filter(bytes => bytes.length >= MIN_BYTES).map(bytes => ({ ...spelling, bytes }));
}

/** `out`, and what one round of decoding may make of text[from, …), as latin1. */
function* readings(text: Buffer, from: number, out: string): Generator<string> {
  let at = from;
  while (at < text.length && escapeAt(text, at, text.length) === 0) at++;
  const read = out + text.toString('latin1', from, at);
  if (at === text.length || read.length >= ENOUGH) {
    yield read;
    return;
  }
  const escape = escapeAt(text, at, text.length);
  // It may go on in what follows.
  if (escape === INCOMPLETE) yield read;
  else yield* readings(text, at + lengthOf(escape), read + decoded(escape).toString('latin1'));
  yield* readings(text, at + 1, read + String.fromCharCode(text[at] as number));
}

/** What stands for itself in a view in which some of what looks like escapes in a spelling was decoded. */
export function decodedBytes({ literal }: Spelling): Buffer {
  const found = [literal];
  let text = literal;
  for (let round = 0; round < ROUNDS; round++) {
    const once: Buffer[] = [];
    let decodedUpTo = 0;
    for (let at = 0; at < text.length; at++) {
      const escape = escapeAt(text, at, text.length);
      const bytes = escape > 0 ? decoded(escape) : text.subarray(at, at + 1);
      found.push(bytes);
      if (at < decodedUpTo) continue;
      once.push(bytes);
      decodedUpTo = escape > 0 ? at + lengthOf(escape) : at + 1;
    }
    text = Buffer.concat(once);
  }
  return Buffer.concat(found);
}

function decoded(escape: number): Buffer {
  const bytes = Buffer.alloc(4);
  return bytes.subarray(0, writeDecoded(escape, bytes, 0));
}

/** How many bytes at the start of a spelling, at most, may be taken for the end of an escape that starts before it. */
export function swallowedHead({ literal }: Spelling): number {
  const text = literal.toString('latin1');
  return Math.max(...ENDS_OF_ESCAPES.map(end => end.exec(text)?.[0].length ?? 0));
}
