import type { Secret } from '../secret.ts';
import { IF_INTRODUCING, INTRODUCES, LONGEST_ESCAPE, NOTHING, WRITES_ESCAPES } from './escapes.ts';
import { Seeker } from './seeker.ts';
import { type Match, Matcher } from './matcher.ts';
import { misread, type Spelling, spellings } from './spelling.ts';
import { View } from './view.ts';

/** Rounds of decoding: an escape may be written in escapes. */
const ROUNDS = 2;
/** Text is searched in stretches of so many bytes, which bounds the views. */
export const STRETCH = 64 * 1024;

const found: Match[] = [];

/** What a search gave; overwritten by the next one. */
export interface Finding {
  /** By start, the longest first. */
  readonly matches: readonly Match[];
  /** From here on, a secret or an escape may be unfinished; matches that start later are not settled. */
  hold: number;
  /** Where the next search must start, so that it reads the escapes as this one did; ≤ hold. */
  base: number;
}
const finding: Finding = { matches: found, hold: 0, base: 0 };

/** Every spelling of a set of secrets, compiled. */
export class Patterns {
  readonly empty: boolean;
  readonly #plain: Matcher;
  readonly #inView: Matcher;
  /** Whether a view is also searched for spellings that the text itself is not searched for. */
  readonly #viewDiffers: boolean;
  /** An escape further away than so many bytes cannot be part of the same match. */
  readonly #reach: number;
  // Scratch for one search at a time: view n is what view n-1, or the text itself, decodes to, where seeker n says.
  /** Byte → what an escape for it is worth. */
  readonly #worth: Uint8Array;
  readonly #seekers: readonly Seeker[];
  readonly #views: readonly View[];
  /** Whether view n shows its source up to where that ends for now. */
  readonly #open: boolean[] = Array.from({ length: ROUNDS }, () => false);

  /** Several secrets may share a name. Throws for one that is too short (MIN_SECRET_BYTES). */
  constructor(secrets: readonly Secret[]) {
    const plain = unique(secrets.flatMap(spellings));
    const inView = unique(plain.flatMap(misread));
    this.empty = plain.length === 0;
    this.#plain = new Matcher(plain);
    this.#viewDiffers = inView.length !== plain.length;
    this.#inView = this.#viewDiffers ? new Matcher(inView) : this.#plain;
    this.#reach = this.#inView.longest + LONGEST_ESCAPE;
    const { alphabet } = this.#inView;
    this.#worth = alphabet.map((used, c) =>
      used || INTRODUCES[c] !== 1 ? used | (WRITES_ESCAPES[c] as number) : IF_INTRODUCING,
    );
    this.#seekers = Array.from({ length: ROUNDS }, () => new Seeker(this.#worth, this.#inView.shortest));
    this.#views = Array.from({ length: ROUNDS }, () => new View(this.#worth, this.#reach));
  }

  /** The first secret in `bytes`, in any spelling. */
  find(bytes: Buffer): { name: string; at: number; length: number } | undefined {
    if (this.empty) return undefined;
    let from = 0;
    for (let to = Math.min(bytes.length, STRETCH); ; to = Math.min(bytes.length, to + STRETCH)) {
      const { matches, hold, base } = this.search(bytes, from, to, to === bytes.length);
      const first = matches[0];
      if (first && first.start < hold)
        return { name: first.spelling.name, at: first.start, length: first.end - first.start };
      if (to === bytes.length) return undefined;
      from = base;
    }
  }

  /** Searches text[from, to); `final`: the text ends there. */
  search(text: Buffer, from: number, to: number, final: boolean): Finding {
    found.length = 0;
    finding.hold = Math.max(from, this.#level(0, text, from, to, final));
    finding.base = final ? to : this.#tokenStart(0, finding.hold);
    if (found.length > 1) found.sort((a, b) => a.start - b.start || b.end - a.end);
    return finding;
  }

  #level(level: number, text: Buffer, from: number, to: number, final: boolean): number {
    const matcher = level === 0 ? this.#plain : this.#inView;
    const source = this.#views[level - 1];
    matcher.search(text, from, to, found);
    let hold = to;
    if (!final) {
      hold = matcher.unfinished(text, from, to);
      if (level === 0 && this.#viewDiffers) hold = Math.min(hold, this.#inView.unfinished(text, from, to));
    }
    if (level === ROUNDS) return hold;
    this.#open[level] = false;
    return source?.introduces === false ? hold : Math.min(hold, this.#decoded(level, text, from, to, final));
  }

  /** Searches what the escapes in text[from, to) stand for. */
  #decoded(level: number, text: Buffer, from: number, to: number, final: boolean): number {
    const view = this.#views[level] as View;
    const seeker = (this.#seekers[level] as Seeker).over(text, from, to, final, level === 0);
    let hold = to;
    let decoded = from;
    for (let p = seeker.next(from); p < to; p = seeker.next(view.end)) {
      view.show(text, this.#runStart(text, p, Math.max(decoded, seeker.clean, p - this.#reach)), to, final);
      const isOpen = !final && (view.unfinished || view.end === to);
      this.#open[level] = isOpen;
      decoded = view.lastEscapeEnd;
      if (!isOpen && view.length < this.#inView.shortest) continue;
      const first = found.length;
      const held = this.#level(level + 1, view.bytes, 0, view.length, !isOpen);
      if (found.length > first) mapBack(view, text, first, level === 0);
      if (isOpen) hold = view.sourceStart(held);
      if (view.unfinished) break;
    }
    // What is unfinished may have begun in the escape before it.
    const follows = !final && (hold < to || Math.max(decoded, seeker.clean) === to);
    return follows ? hold - this.#inView.longestBefore : hold;
  }

  /** Where the bytes before `p` start that may be part of a match. */
  #runStart(text: Buffer, p: number, from: number): number {
    let start = p;
    while (start > from && this.#worth[text[start - 1] as number] !== NOTHING) start--;
    return start;
  }

  /** Where the outermost source of what stands at `p` starts: decoding from there on reads the same. */
  #tokenStart(level: number, p: number): number {
    const view = this.#views[level];
    if (!view || !this.#open[level] || p < view.start) return p;
    return view.sourceStart(this.#tokenStart(level + 1, view.indexOf(p)));
  }
}

/**
 * Turns the matches found in a view into matches of its source. Drops those that stand there literally, for they are
 * found there as well, and those of which a part is nowhere to be seen.
 */
function mapBack(view: View, source: Buffer, first: number, isText: boolean): void {
  let kept = first;
  for (let i = first; i < found.length; i++) {
    const match = found[i] as Match;
    const { before, after } = match.spelling;
    let start = view.sourceStart(match.start);
    let end = view.sourceEnd(match.end);
    let isNew = end - start > match.end - match.start;
    if (match.lacksBefore && stands(before, source, start - before.length)) {
      start -= before.length;
      match.lacksBefore = false;
      isNew = true;
    }
    if (match.lacksAfter && stands(after, source, end)) {
      end += after.length;
      match.lacksAfter = false;
      isNew = true;
    }
    if (!isNew || (isText && (match.lacksBefore || match.lacksAfter))) continue;
    match.start = start;
    match.end = end;
    found[kept++] = match;
  }
  found.length = kept;
}

function stands(part: Buffer, text: Buffer, at: number): boolean {
  return at >= 0 && at + part.length <= text.length && part.compare(text, at, at + part.length) === 0;
}

function unique(spellings: readonly Spelling[]): Spelling[] {
  const byBytes = new Map<string, Spelling>();
  for (const s of spellings) {
    const id = [
      s.encoding,
      s.shift,
      s.before.toString('hex'),
      s.bytes.toString('hex'),
      s.after.toString('hex'),
    ].join(' ');
    if (!byBytes.has(id)) byBytes.set(id, s);
  }
  return [...byBytes.values()];
}
