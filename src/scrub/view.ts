import { escapeAt, INCOMPLETE, INTRODUCES, lengthOf, writeDecoded } from './escapes.ts';

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

  // Mark k: from view index #at[k] on, the source position is #from[k] and goes along. An escape has a mark of its own.
  #at = new Int32Array(0);
  #from = new Int32Array(0);
  #marks = 0;

  /**
   * Shows source[start, to), or less: it stops once `reach` bytes after an escape hold no other, and before an escape
   * that is unfinished at `to`, unless the text is known to end there.
   */
  show(source: Buffer, start: number, to: number, reach: number, final: boolean): void {
    this.#reserve(to - start);
    this.start = start;
    this.lastEscapeEnd = start;
    this.introduces = false;
    this.unfinished = false;
    this.#marks = 0;
    const out = this.bytes;
    let p = start;
    let v = 0;
    let stop = to;
    this.#mark(0, start);
    for (;;) {
      while (p < stop && INTRODUCES[source[p] as number] === 0) out[v++] = source[p++] as number;
      if (p >= stop) break;
      const escape = escapeAt(source, p, to);
      this.unfinished = escape === INCOMPLETE && !final;
      if (this.unfinished) break;
      if (escape <= 0) {
        this.introduces = true;
        out[v++] = source[p++] as number;
        continue;
      }
      this.#mark(v, p);
      const written = writeDecoded(escape, out, v);
      this.introduces ||= INTRODUCES[out[v] as number] === 1;
      v += written;
      p += lengthOf(escape);
      this.#mark(v, p);
      this.lastEscapeEnd = p;
      stop = Math.min(to, p + reach);
    }
    this.length = v;
    this.end = p;
    this.#mark(v, p);
  }

  /** Where the source of the byte at view index `v` starts. */
  sourceStart(v: number): number {
    const k = this.#markAt(v);
    const from = this.#from[k] as number;
    return this.#isEscape(k) ? from : from + v - (this.#at[k] as number);
  }

  /** Where the source of the byte before view index `v` ends. */
  sourceEnd(v: number): number {
    if (v === 0) return this.start;
    const k = this.#markAt(v - 1);
    return this.#isEscape(k)
      ? (this.#from[k + 1] as number)
      : (this.#from[k] as number) + v - (this.#at[k] as number);
  }

  /** The view index of the byte whose source holds position `p`. */
  indexOf(p: number): number {
    let low = 0;
    let high = this.#marks - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#from[middle] as number) <= p) low = middle;
      else high = middle - 1;
    }
    const at = this.#at[low] as number;
    return this.#isEscape(low) ? at : at + p - (this.#from[low] as number);
  }

  endsWithEscape(): boolean {
    return this.lastEscapeEnd === this.end && this.end > this.start;
  }

  #markAt(v: number): number {
    let low = 0;
    let high = this.#marks - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#at[middle] as number) <= v) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** An escape is longer than what it stands for. */
  #isEscape(k: number): boolean {
    if (k + 1 >= this.#marks) return false;
    const shown = (this.#at[k + 1] as number) - (this.#at[k] as number);
    return (this.#from[k + 1] as number) - (this.#from[k] as number) > shown;
  }

  #mark(at: number, from: number): void {
    // An escape right after another one starts where that one's end is already marked.
    const last = this.#marks - 1;
    if (last >= 0 && this.#at[last] === at && this.#from[last] === from) return;
    this.#at[this.#marks] = at;
    this.#from[this.#marks++] = from;
  }

  #reserve(length: number): void {
    if (this.bytes.length >= length) return;
    const size = 2 ** Math.ceil(Math.log2(length));
    this.bytes = Buffer.allocUnsafeSlow(size);
    // The shortest escape has two bytes, and each has at most one mark for itself and one for what follows.
    this.#at = new Int32Array(size + 2);
    this.#from = new Int32Array(size + 2);
  }
}
