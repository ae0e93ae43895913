import { Buffer } from 'node:buffer';
import {
  ALWAYS,
  BACKSLASH,
  escapeAt,
  INCOMPLETE,
  INTRODUCES,
  lengthOf,
  matters,
  NOTHING,
  SHORT,
  writeDecoded,
} from './escapes.ts';

/** A stretch of text with its escapes decoded once, and the way back from each byte to where it came from. */
export class View {
  bytes: Buffer = Buffer.alloc(0);
  length = 0;
  /** The stretch of the source that is shown; `end` also is where a trailing unfinished escape starts. */
  start = 0;
  end = 0;
  /** Whether an escape may start in the view. */
  introduces = false;
  /** Whether the view stopped before an escape that the source does not hold whole. */
  unfinished = false;
  /** Where the last decoded escape ends in the source; the start if there is none. */
  lastEscapeEnd = 0;

  // Mark k: an escape that ends at view index #ends[k], where it took #widths[k] bytes, and at source #sources[k]. What
  // follows goes along byte by byte. Mark 0 is the start.
  #ends = new Int32Array(1);
  #sources = new Int32Array(1);
  #widths = new Uint8Array(1);
  #marks = 0;
  readonly #worth: Uint8Array;
  /** Byte → 1 if it is not simply copied: an escape may start there, or nothing is found that has it. */
  readonly #special: Uint8Array;
  readonly #reach: number;
  // Where `show` is: in the source, and where it would stop there.
  #at = 0;
  #stop = 0;

  /** `worth`: byte → what an escape for it is worth. */
  constructor(worth: Uint8Array, reach: number) {
    this.#worth = worth;
    this.#special = worth.map((value, c) => (value === NOTHING ? 1 : (INTRODUCES[c] as number)));
    this.#reach = reach;
  }

  /**
   * Shows source[start, to), or less: it stops once `reach` bytes after an escape hold no other, before anything that
   * cannot be part of a match, and before an escape that is unfinished at `to`, unless the text is known to end there.
   */
  show(source: Buffer, start: number, to: number, final: boolean): void {
    this.#reserve(to - start);
    this.start = this.#at = start;
    this.length = 0;
    this.introduces = this.unfinished = false;
    this.#ends[0] = 0;
    this.#sources[0] = start;
    this.#marks = 1;
    this.#stop = to;
    while (this.#copy(source, to)) {
      const escape = escapeAt(source, this.#at, to);
      this.unfinished = escape === INCOMPLETE && !final;
      if (this.unfinished) break;
      const after = this.#at + lengthOf(escape);
      if (escape > 0 && !matters(escape, this.#worth, source, after, to)) break;
      if (escape > 0) this.#decode(escape, to);
      else this.#keep(source[this.#at] as number);
    }
    this.end = this.#at;
    this.lastEscapeEnd = this.#sources[this.#marks - 1] as number;
  }

  /**
   * Copies what is no escape, and decodes those with a backslash and a letter, by far the commonest; true at any other
   * introducer. Without a call in the loop, so that the compiler keeps everything in registers.
   */
  #copy(source: Buffer, to: number): boolean {
    const out = this.bytes;
    const ends = this.#ends;
    const sources = this.#sources;
    const widths = this.#widths;
    const special = this.#special;
    const short = SHORT;
    const worth = this.#worth;
    const reach = this.#reach;
    let at = this.#at;
    let v = this.length;
    let marks = this.#marks;
    let stop = this.#stop;
    let introduces = this.introduces;
    while (at < stop) {
      let c = source[at] as number;
      if (special[c] !== 0) {
        if (worth[c] === NOTHING) stop = at;
        c = c === BACKSLASH && at + 1 < to ? (short[source[at + 1] as number] as number) : 0;
        if (c === 0 || worth[c] !== ALWAYS) break;
        introduces ||= c === BACKSLASH;
        at += 2;
        stop = at + reach < to ? at + reach : to;
        ends[marks] = v + 1;
        sources[marks] = at;
        widths[marks++] = 1;
        at--;
      }
      out[v++] = c;
      at++;
    }
    this.#at = at;
    this.length = v;
    this.#marks = marks;
    this.#stop = stop;
    this.introduces = introduces;
    return at < stop;
  }

  #decode(escape: number, to: number): void {
    const width = writeDecoded(escape, this.bytes, this.length);
    this.introduces ||= INTRODUCES[this.bytes[this.length] as number] === 1;
    this.length += width;
    this.#at += lengthOf(escape);
    this.#stop = Math.min(to, this.#at + this.#reach);
    this.#ends[this.#marks] = this.length;
    this.#sources[this.#marks] = this.#at;
    this.#widths[this.#marks++] = width;
  }

  #keep(c: number): void {
    this.bytes[this.length++] = c;
    this.#at++;
    this.introduces = true;
  }

  /** Where the source of the byte at view index `v` starts. */
  sourceStart(v: number): number {
    const k = this.#markBefore(v);
    return this.#isEscape(k + 1, v)
      ? this.escapeStart(k + 1)
      : (this.#sources[k] as number) + v - (this.#ends[k] as number);
  }

  /** Where the source of the byte before view index `v` ends. */
  sourceEnd(v: number): number {
    if (v === 0) return this.start;
    const k = this.#markBefore(v - 1);
    return this.#isEscape(k + 1, v - 1)
      ? (this.#sources[k + 1] as number)
      : (this.#sources[k] as number) + v - (this.#ends[k] as number);
  }

  /** The view index of the byte whose source holds position `p`. */
  indexOf(p: number): number {
    const k = lastUpTo(this.#sources, this.#marks, p);
    const inEscape = k + 1 < this.#marks && p >= this.escapeStart(k + 1);
    if (inEscape) return (this.#ends[k + 1] as number) - (this.#widths[k + 1] as number);
    return (this.#ends[k] as number) + p - (this.#sources[k] as number);
  }

  /** The last mark whose escape ends at view index `v` or before. */
  #markBefore(v: number): number {
    return lastUpTo(this.#ends, this.#marks, v);
  }

  #isEscape(k: number, v: number): boolean {
    return k < this.#marks && v >= (this.#ends[k] as number) - (this.#widths[k] as number);
  }

  /** How many escapes are decoded. */
  get escapes(): number {
    return this.#marks - 1;
  }

  /** Where escape k starts in the source, and where it ends; k from 1 on. */
  escapeStart(k: number): number {
    const plain = (this.#ends[k] as number) - (this.#widths[k] as number) - (this.#ends[k - 1] as number);
    return (this.#sources[k - 1] as number) + plain;
  }

  escapeEnd(k: number): number {
    return this.#sources[k] as number;
  }

  #reserve(length: number): void {
    if (this.bytes.length >= length) return;
    const size = 2 ** Math.ceil(Math.log2(length));
    this.bytes = Buffer.allocUnsafeSlow(size);
    // The shortest escape has two bytes.
    this.#ends = new Int32Array(size / 2 + 1);
    this.#sources = new Int32Array(size / 2 + 1);
    this.#widths = new Uint8Array(size / 2 + 1);
  }
}

/** The index of the last of `count` rising values that is not above `limit`; the first is not. */
function lastUpTo(values: Int32Array, count: number, limit: number): number {
  let low = 0;
  let high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((values[middle] as number) <= limit) low = middle;
    else high = middle - 1;
  }
  return low;
}
