import {
  AMPERSAND,
  BACKSLASH,
  escapeAt,
  INCOMPLETE,
  INTRODUCES,
  leadByte,
  lengthOf,
  PERCENT,
  SHORT,
} from './escapes.ts';

/** Below so many bytes to the next one, a loop is cheaper than a call of indexOf. */
const NEAR = 24;

/** The escapes of a text that matter, from left to right. */
export class Seeker {
  /** Where the last escape that does not matter ends: nothing to be found reaches across. */
  clean = 0;
  /** Byte → 1 if an escape for it matters. */
  readonly #matters: Uint8Array;
  #text: Buffer = Buffer.alloc(0);
  #to = 0;
  #final = true;
  // The next of each character that an escape may start with; -1: not looked for yet.
  #percent = -1;
  #backslash = -1;
  #ampersand = -1;

  constructor(matters: Uint8Array) {
    this.#matters = matters;
  }

  over(text: Buffer, from: number, to: number, final: boolean): this {
    this.#text = to === text.length ? text : text.subarray(0, to);
    this.#to = to;
    this.#final = final;
    this.clean = from;
    this.#percent = this.#backslash = this.#ampersand = -1;
    return this;
  }

  /** The first position from `from` on where an escape starts, or may start; the text's end if there is none. */
  next(from: number): number {
    const text = this.#text;
    const to = this.#to;
    let p = from;
    for (;;) {
      p = this.#skim(p);
      if (p < to && INTRODUCES[text[p] as number] === 0) p = this.#jump(p);
      if (p >= to) return to;
      const escape = escapeAt(text, p, to);
      if (escape > 0) {
        if (this.#matters[leadByte(escape)] === 1) return p;
        p += lengthOf(escape);
        this.clean = p;
      } else if (escape === INCOMPLETE && !this.#final) {
        return p;
      } else {
        p++;
      }
    }
  }

  /** Passes escapes of a backslash and a letter that do not matter, up to anything else, or to a stretch without any. */
  #skim(from: number): number {
    const text = this.#text;
    const introducers = INTRODUCES;
    const short = SHORT;
    const matters = this.#matters;
    const last = this.#to - 1;
    let p = from;
    let near = from + NEAR;
    let clean = this.clean;
    while (p < near && p < last) {
      const c = text[p] as number;
      if (introducers[c] === 0) {
        p++;
        continue;
      }
      const code = c === BACKSLASH ? (short[text[p + 1] as number] as number) : 0;
      if (code === 0 || matters[code] === 1) break;
      p += 2;
      clean = p;
      near = p + NEAR;
    }
    this.clean = clean;
    return p;
  }

  #jump(from: number): number {
    const text = this.#text;
    if (this.#percent < from) this.#percent = found(text.indexOf(PERCENT, from), this.#to);
    if (this.#backslash < from) this.#backslash = found(text.indexOf(BACKSLASH, from), this.#to);
    if (this.#ampersand < from) this.#ampersand = found(text.indexOf(AMPERSAND, from), this.#to);
    return Math.min(this.#percent, this.#backslash, this.#ampersand);
  }
}

const found = (at: number, otherwise: number): number => (at < 0 ? otherwise : at);
