import { sharedValue, type Spelling } from './spelling.ts';

/** Where a spelling may stand in a text: from `at` on, or from `start` if it shares a character of this value there. */
export interface Hit {
  start: number;
  at: number;
  readonly spelling: Spelling;
  /** -1: none. */
  readonly lead: number;
}

const BLOCK = 3;
const HASH_BITS = 15;
const HASH_MASK = (1 << HASH_BITS) - 1;
const PAIR_MASK = (1 << 13) - 1;

const hash = (a: number, b: number, c: number): number => ((a << 10) ^ (b << 5) ^ c) & HASH_MASK;
const hashPair = (a: number, b: number): number => ((a << 5) ^ b) & PAIR_MASK;

/**
 * Search for many spellings at once: Wu and Manber, "A fast algorithm for multi-pattern searching", 1994. The last
 * three bytes of a window as long as the shortest spelling tell how far the window can move.
 */
export class Matcher {
  /** Bytes of the longest spelling, edges included. */
  readonly longest: number = 0;
  /** Byte → 1 if a spelling, or a character that it shares, may be written with it. */
  readonly alphabet = new Uint8Array(256);
  /** Bytes of the shortest one, as far as windows go. */
  readonly shortest: number;
  readonly #shift: Uint8Array;
  /** Hash of a window's last bytes → index of the group of spellings that may stand there. */
  readonly #group: Uint16Array;
  readonly #groups: Spelling[][] = [[]];
  /** First byte → the spellings that may start with it. */
  readonly #byFirst: Spelling[][] = Array.from({ length: 256 }, () => []);
  readonly #pairs = new Uint8Array(PAIR_MASK + 1);
  /** Byte → 1 if it may be the shared character before a base64 spelling. */
  readonly #leads = new Uint8Array(256);

  constructor(spellings: readonly Spelling[]) {
    this.shortest = Math.min(255, ...spellings.map(s => s.bytes.length));
    this.#shift = new Uint8Array(HASH_MASK + 1).fill(this.shortest - BLOCK + 1);
    this.#group = new Uint16Array(HASH_MASK + 1);
    for (const spelling of spellings) {
      this.longest = Math.max(this.longest, spelling.bytes.length + 2);
      this.#add(spelling);
    }
  }

  #add(spelling: Spelling): void {
    const variants = Array.from(spelling.bytes, byte => unfolded(spelling.fold, byte));
    for (let end = BLOCK - 1; end < this.shortest; end++) {
      const distance = this.shortest - 1 - end;
      for (const a of variants[end - 2] ?? []) {
        for (const b of variants[end - 1] ?? []) {
          for (const c of variants[end] ?? []) this.#block(hash(a, b, c), distance, spelling);
        }
      }
    }
    for (const a of variants[0] ?? []) {
      (this.#byFirst[a] as Spelling[]).push(spelling);
      for (const b of variants[1] ?? []) this.#pairs[hashPair(a, b)] = 1;
    }
    for (const c of variants.flat()) this.alphabet[c] = 1;
    for (let c = 0; c < 256; c++) {
      if (sharedValue(spelling.lead, c) >= 0) this.#leads[c] = this.alphabet[c] = 1;
      if (sharedValue(spelling.trail, c) >= 0) this.alphabet[c] = 1;
    }
  }

  #block(h: number, distance: number, spelling: Spelling): void {
    this.#shift[h] = Math.min(this.#shift[h] as number, distance);
    if (distance > 0) return;
    if (this.#group[h] === 0) this.#group[h] = this.#groups.push([]) - 1;
    const group = this.#groups[this.#group[h] as number] as Spelling[];
    if (!group.includes(spelling)) group.push(spelling);
  }

  /** The spellings that may start with this byte, a character that they share left out. */
  startingWith(byte: number): readonly Spelling[] {
    return this.#byFirst[byte] as Spelling[];
  }

  /** Adds every hit in text[from, to) to `found`, by the place where its window ends. */
  search(text: Buffer, from: number, to: number, found: Hit[]): void {
    const shift = this.#shift;
    const before = this.shortest - 1;
    const farthest = this.shortest - BLOCK + 1;
    let i = from + before;
    while (i < to) {
      const h =
        (((text[i - 2] as number) << 10) ^ ((text[i - 1] as number) << 5) ^ (text[i] as number)) & HASH_MASK;
      const distance = shift[h] as number;
      if (distance === farthest) {
        // A constant: the processor goes on before it knows.
        i += farthest;
      } else if (distance === 0) {
        this.#verify(h, text, from, i - before, to, found);
        i++;
      } else {
        i += distance;
      }
    }
  }

  #verify(h: number, text: Buffer, from: number, at: number, to: number, found: Hit[]): void {
    for (const spelling of this.#groups[this.#group[h] as number] as Spelling[]) {
      const { length } = spelling.bytes;
      if (at + length <= to && agrees(spelling, text, at, length)) found.push(hit(spelling, text, from, at));
    }
  }

  /** Where in text[from, to) a spelling may start that goes on after `to`; `to` if none. May be a little too early. */
  unfinished(text: Buffer, from: number, to: number): number {
    for (let at = Math.max(from, to - this.longest); at < to; at++) {
      const first = text[at] as number;
      if (at + 1 < to && this.#pairs[hashPair(first, text[at + 1] as number)] === 0) continue;
      const start = this.#startsAt(text, from, at, to);
      if (start < to) return start;
    }
    return to > from && this.#leads[text[to - 1] as number] === 1 ? to - 1 : to;
  }

  #startsAt(text: Buffer, from: number, at: number, to: number): number {
    let start = to;
    for (const spelling of this.#byFirst[text[at] as number] as Spelling[]) {
      const { length } = spelling.bytes;
      const rest = to - at;
      // A spelling that is complete but for what may follow it is unfinished, too.
      if (rest > length || (rest === length && !spelling.trail)) continue;
      if (!agrees(spelling, text, at, rest)) continue;
      const hasLead = at > from && sharedValue(spelling.lead, text[at - 1] as number) >= 0;
      start = Math.min(start, hasLead ? at - 1 : at);
    }
    return start;
  }
}

function agrees({ bytes, fold }: Spelling, text: Buffer, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (fold[text[at + i] as number] !== bytes[i]) return false;
  return true;
}

function hit(spelling: Spelling, text: Buffer, from: number, at: number): Hit {
  const lead = at > from ? sharedValue(spelling.lead, text[at - 1] as number) : -1;
  return { start: lead < 0 ? at : at - 1, at, spelling, lead };
}

/** Fold → by folded byte, the bytes that are folded to it. */
const UNFOLDED = new Map<Uint8Array, number[][]>();

function unfolded(fold: Uint8Array, byte: number): number[] {
  let inverse = UNFOLDED.get(fold);
  if (!inverse) {
    inverse = Array.from({ length: 256 }, () => []);
    for (let c = 0; c < 256; c++) inverse[fold[c] as number]?.push(c);
    UNFOLDED.set(fold, inverse);
  }
  return inverse[byte] as number[];
}
