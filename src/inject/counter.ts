import type { StubKey } from './stub.ts';

/** Candidates in one body that are verified; further ones count as they are. */
const MAX_VERIFIED = 64;

/** Stubs in a body that arrives in chunks, in plain and in base64, wherever it is cut. */
export class StubCounter {
  readonly #key: StubKey;
  /** Longest spelling of a tag. */
  readonly #span: number;
  /** The last bytes seen, too few to hold a tag's longest spelling: what begins there is counted with the next chunk. */
  #carry: Buffer = Buffer.alloc(0);
  #candidates = 0;
  #seen = 0;

  constructor(key: StubKey) {
    this.#key = key;
    this.#span = Math.max(...key.needles.map(needle => needle.span));
  }

  feed(chunk: Buffer): void {
    const held = this.#span - 1;
    if (chunk.length < held) {
      const text = Buffer.concat([this.#carry, chunk]);
      const settled = Math.max(0, text.length - held);
      this.#seen += this.#count(text, settled);
      this.#carry = text.subarray(settled);
      return;
    }
    if (this.#carry.length > 0) {
      const seam = Buffer.concat([this.#carry, chunk.subarray(0, held)]);
      this.#seen += this.#count(seam, this.#carry.length);
    }
    const settled = chunk.length - held;
    this.#seen += this.#count(chunk, settled);
    // A copy: the chunk's memory is its owner's.
    this.#carry = Buffer.from(chunk.subarray(settled));
  }

  /** Stubs so far, as if the body ended here. */
  get seen(): number {
    return this.#seen + this.#count(this.#carry, this.#carry.length);
  }

  /** Stubs that begin before `end`. */
  #count(text: Buffer, end: number): number {
    let seen = 0;
    for (const needle of this.#key.needles) {
      let at = text.indexOf(needle.bytes);
      while (at >= 0 && at < end) {
        const tag = needle.tagAt(text.toString('latin1', at, at + needle.span), 0);
        if (++this.#candidates > MAX_VERIFIED || this.#key.isTag(tag)) seen++;
        at = text.indexOf(needle.bytes, at + needle.bytes.length);
      }
    }
    return seen;
  }
}
