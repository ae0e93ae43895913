import { BACKSLASH, escapeAt, INCOMPLETE, INTRODUCES, lengthOf, writeDecoded } from './escapes.ts';
import { sharedValue, type Spelling } from './spelling.ts';

/** Rounds of decoding: an escape may be written in escapes. */
export const ROUNDS = 2;
/** Instead of an end: nothing ends there; or the text, which goes on, ends before that is clear. */
export const [NONE, UNDECIDED] = [0, -1];

/**
 * What stands at one place of a text, whatever stands before it: each byte literally, or in one or two rounds of
 * escapes.
 */
export class Reader {
  /** What the last unit stands for: bytes[0, width). */
  readonly bytes = Buffer.alloc(4);
  width = 0;
  /** Of the last spelling that was read: the value of the character that it shares with what follows, or -1. */
  trail = -1;
  #text: Buffer = Buffer.alloc(0);
  #to = 0;
  #final = true;
  readonly #sample: Buffer;
  /** Where `read` came to no end: `#key` of a place in the text and one in the spelling. */
  readonly #dead = new Set<number>();
  // Scratch: an escape that is itself written in escapes, decoded once, and where the source of each of its bytes ends.
  readonly #inner = Buffer.alloc(16);
  readonly #ends = new Int32Array(16);

  /** `longest`: bytes of the longest spelling. */
  constructor(longest: number) {
    this.#sample = Buffer.alloc(longest);
  }

  /** Reads text[…, to); `final`: the text ends there. */
  over(text: Buffer, to: number, final: boolean): void {
    this.#text = text;
    this.#to = to;
    this.#final = final;
  }

  /** Where what starts at `at` ends, read in so many rounds: an escape, or one literal byte; or NONE, UNDECIDED. */
  unit(at: number, rounds: number): number {
    if (at >= this.#to) return this.#beyond();
    if (rounds === 0) {
      this.bytes[0] = this.#text[at] as number;
      this.width = 1;
      return at + 1;
    }
    if (INTRODUCES[this.#text[at] as number] === 0) return NONE;
    return rounds === 1 ? this.#escape(at) : this.#escapeInEscapes(at);
  }

  /** Where the spelling that starts at `at` ends; or NONE, UNDECIDED. */
  read(spelling: Spelling, at: number): number {
    if (this.#dead.size > 0) this.#dead.clear();
    const end = this.#rest(spelling, at, 0);
    return end > 0 ? this.#withTrail(spelling, end) : end;
  }

  /** The bytes of the spelling that was read last, as they stand there. */
  sample(spelling: Spelling): string {
    return this.#sample.toString('latin1', 0, spelling.literal.length);
  }

  #beyond(): number {
    return this.#final ? NONE : UNDECIDED;
  }

  #escape(at: number): number {
    const escape = escapeAt(this.#text, at, this.#to);
    if (escape === INCOMPLETE) return this.#beyond();
    if (escape === 0) return NONE;
    this.width = writeDecoded(escape, this.bytes, 0);
    return at + lengthOf(escape);
  }

  #escapeInEscapes(at: number): number {
    if (this.#isRun(at)) {
      this.bytes[0] = BACKSLASH;
      this.width = 1;
      return at + 4;
    }
    const inner = this.#inner;
    let p = at;
    for (let n = 0; p < this.#to; ) {
      const escape = escapeAt(this.#text, p, this.#to);
      if (escape === INCOMPLETE && !this.#final) return UNDECIDED;
      if (escape > 0) {
        n += writeDecoded(escape, inner, n);
        p += lengthOf(escape);
      } else {
        inner[n++] = this.#text[p++] as number;
      }
      this.#ends[n] = p;
      const outer = escapeAt(inner, 0, n);
      if (outer === INCOMPLETE) continue;
      if (outer === 0) return NONE;
      this.width = writeDecoded(outer, this.bytes, 0);
      return this.#ends[lengthOf(outer)] as number;
    }
    return this.#beyond();
  }

  /** The commonest one: four backslashes. */
  #isRun(at: number): boolean {
    if (at + 4 > this.#to) return false;
    for (let p = at; p < at + 4; p++) if (this.#text[p] !== BACKSLASH) return false;
    return true;
  }

  /** As `unit`, if it stands for what the spelling has from `q` on. */
  #agreeing({ literal, fold }: Spelling, q: number, at: number, rounds: number): number {
    const end = this.unit(at, rounds);
    if (end <= 0) return end;
    for (let i = 0; i < this.width; i++) {
      const c = this.bytes[i] as number;
      if (fold[c] !== literal[q + i]) return NONE;
      this.#sample[q + i] = c;
    }
    return end;
  }

  /** Where the spelling ends if its bytes from `from` on start at `at`. */
  #rest(spelling: Spelling, at: number, from: number): number {
    const { literal } = spelling;
    let p = at;
    for (let q = from; q < literal.length; q += this.width) {
      // Only what may introduce an escape can be read in more than one way.
      if (INTRODUCES[literal[q] as number] === 1) return this.#anyWay(spelling, p, q);
      let end = NONE;
      for (let rounds = ROUNDS; rounds >= 0 && end === NONE; rounds--)
        end = this.#agreeing(spelling, q, p, rounds);
      if (end <= 0) return end;
      p = end;
    }
    return p;
  }

  #anyWay(spelling: Spelling, at: number, q: number): number {
    const key = at * (spelling.literal.length + 1) + q;
    if (this.#dead.has(key)) return NONE;
    for (let rounds = ROUNDS; rounds >= 0; rounds--) {
      const end = this.#agreeing(spelling, q, at, rounds);
      if (end === NONE) continue;
      const rest = end === UNDECIDED ? UNDECIDED : this.#rest(spelling, end, q + this.width);
      if (rest !== NONE) return rest;
    }
    this.#dead.add(key);
    return NONE;
  }

  #withTrail({ trail }: Spelling, at: number): number {
    this.trail = -1;
    if (!trail) return at;
    for (let rounds = ROUNDS; rounds >= 0; rounds--) {
      const end = this.unit(at, rounds);
      if (end === UNDECIDED) return UNDECIDED;
      if (end === NONE || this.width !== 1) continue;
      this.trail = sharedValue(trail, this.bytes[0] as number);
      if (this.trail >= 0) return end;
    }
    return at;
  }
}
