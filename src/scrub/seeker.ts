import { Buffer } from 'node:buffer';
import {
  AMPERSAND,
  BACKSLASH,
  escapeAt,
  INCOMPLETE,
  INTRODUCES,
  lengthOf,
  matters,
  NOTHING,
  PERCENT,
  SHORT,
} from './escapes.ts';

/** Below so many bytes to the next one, a loop is cheaper than a call of indexOf. */
const NEAR = 24;

/** In a text of fewer bytes, too. */
const WORTH_JUMPING = 64;

/** The escapes of a text that matter, from left to right. */
export class Seeker {
  /** Where the last escape, or other byte, that does not matter ends: nothing to be found reaches across. */
  clean = 0;
  /** Where that escape starts; `clean` itself if it is none. */
  skipped = 0;
  /** Byte → what an escape for it is worth. */
  readonly #worth: Uint8Array;
  #text: Buffer = Buffer.alloc(0);
  #to = 0;
  #final = true;
  /** Up to here escapes are close to each other, and a loop finds them faster than indexOf. */
  #denseUntil = 0;
  // The next of each character that an escape may start with; -1: not looked for yet.
  #percent = -1;
  #backslash = -1;
  #ampersand = -1;

  /** Bytes of the shortest thing to be found, behind an escape that may have swallowed its start. */
  readonly #shortest: number;

  constructor(worth: Uint8Array, shortest: number) {
    this.#worth = worth;
    this.#shortest = shortest;
  }

  /** `jumps`: the escapes may be far from each other. */
  over(text: Buffer, from: number, to: number, final: boolean, jumps: boolean): this {
    const isLong = jumps && to - from >= WORTH_JUMPING;
    this.#text = isLong && to < text.length ? text.subarray(0, to) : text;
    this.#to = to;
    this.#final = final;
    this.clean = this.skipped = from;
    this.#denseUntil = isLong ? from : to;
    this.#percent = this.#backslash = this.#ampersand = -1;
    return this;
  }

  /** The first position from `from` on where an escape starts, or may start; the text's end if there is none. */
  next(from: number): number {
    const text = this.#text;
    const to = this.#to;
    // A view's bytes go on behind its end, and would be searched.
    if (from >= to) return to;
    // Most texts hold no escape.
    if (from >= this.#denseUntil && this.#jump(from) >= to) return to;
    let p = from;
    let inRun = from;
    for (;;) {
      if (p >= inRun) {
        const run = firstRun(
          text,
          Math.max(this.clean, p - this.#shortest + 1),
          to,
          this.#final,
          this.#worth,
          this.#shortest,
        );
        if (run >= to) return to;
        if (run > p) p = this.clean = this.skipped = run;
        inRun = run + this.#shortest;
      }
      p = p < this.#denseUntil ? this.#skim(p) : this.#jump(p);
      if (p >= to) return to;
      if (p >= inRun) continue;
      const escape = escapeAt(text, p, to);
      if (escape > 0) {
        const after = p + lengthOf(escape);
        if (matters(escape, this.#worth, text, after, to)) return p;
        this.skipped = p;
        p = after;
        this.clean = p;
        if (this.#denseUntil < to) this.#denseUntil = p + NEAR;
      } else if (escape === INCOMPLETE && !this.#final) {
        return p;
      } else {
        p++;
      }
    }
  }

  /** Where the escape starts that was passed last, if `p` stands inside of it; else `p`. */
  tokenStart(p: number): number {
    return p > this.skipped && p < this.clean ? this.skipped : p;
  }

  /** Passes escapes of a backslash and a letter that do not matter, as long as they are dense, up to anything else. */
  #skim(from: number): number {
    const text = this.#text;
    const introducers = INTRODUCES;
    const short = SHORT;
    const worth = this.#worth;
    const last = this.#to - 1;
    let p = from;
    let denseUntil = this.#denseUntil;
    let clean = this.clean;
    while (p < last) {
      const c = text[p] as number;
      if (introducers[c] === 0) {
        if (++p > denseUntil) break;
        continue;
      }
      const code = c === BACKSLASH ? (short[text[p + 1] as number] as number) : 0;
      if (code === 0 || worth[code] !== NOTHING) break;
      p += 2;
      clean = p;
      if (denseUntil <= last) denseUntil = p + NEAR;
    }
    this.#denseUntil = denseUntil;
    if (clean > this.clean) {
      this.clean = clean;
      this.skipped = clean - 2;
    }
    return p > denseUntil ? this.#jump(p) : p;
  }

  #jump(from: number): number {
    const text = this.#text;
    const to = this.#to;
    if (this.#percent < from) this.#percent = orElse(text.indexOf(PERCENT, from), to);
    if (this.#backslash < from) this.#backslash = orElse(text.indexOf(BACKSLASH, from), to);
    if (this.#ampersand < from) this.#ampersand = orElse(text.indexOf(AMPERSAND, from), to);
    const next = this.#percent < this.#backslash ? this.#percent : this.#backslash;
    const at = next < this.#ampersand ? next : this.#ampersand;
    if (at - from < NEAR) this.#denseUntil = at + NEAR;
    return at;
  }
}

const orElse = (at: number, otherwise: number): number => (at < 0 ? otherwise : at);

/**
 * Where the first run in text[from, to) starts of as many bytes as the shortest match has, all of which may be part of
 * one; `to` if there is none. A run at the end may go on if the text does. Looks at the end of a window first, as Boyer
 * and Moore do, and there at three bytes at once: in binary data they are hardly ever all of that kind, so that the
 * processor guesses right. `looks`: so many windows are read further; then it is told that a run may start at the next.
 */
export function firstRun(
  text: Buffer,
  from: number,
  to: number,
  final: boolean,
  worth: Uint8Array,
  shortest: number,
  looks = Number.MAX_SAFE_INTEGER,
): number {
  const skip = shortest - 2;
  let end = from + shortest - 1;
  while (end < to) {
    if (
      skip > 0 &&
      ((worth[text[end] as number] as number) &
        (worth[text[end - 1] as number] as number) &
        (worth[text[end - 2] as number] as number)) ===
        NOTHING
    ) {
      end += skip;
      continue;
    }
    const start = end - shortest + 1;
    if (--looks < 0) return start;
    let p = end;
    while (p >= start && worth[text[p] as number] !== NOTHING) p--;
    if (p < start) return start;
    end = p + shortest;
  }
  if (final) return to;
  const start = Math.max(from, end - shortest + 1);
  let p = to;
  while (p > start && worth[text[p - 1] as number] !== NOTHING) p--;
  return p;
}
