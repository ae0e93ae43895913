import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { Refusal } from '../../errors.ts';
import type { BodyStage, RawHeaders, Sink } from '../../types.ts';
import { differentBody, isSame } from './verify.ts';

/** A body on its way that must have this hash, hex SHA-256; one that does not never completes. */
export function hashed(hash: string): BodyStage {
  return (next, refuse) => new Hashed(hash, next, refuse);
}

class Hashed implements Sink {
  readonly #hash = createHash('sha256');
  readonly #wanted: string;
  readonly #next: Sink;
  readonly #refuse: (refusal: Refusal) => void;
  /** What would complete the body, if nothing follows. */
  #held = Buffer.alloc(0);

  constructor(wanted: string, next: Sink, refuse: (refusal: Refusal) => void) {
    this.#wanted = wanted;
    this.#next = next;
    this.#refuse = refuse;
  }

  get onDrain(): (() => void) | null {
    return this.#next.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#next.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    if (chunk.length === 0) return true;
    this.#hash.update(chunk);
    const settled = this.#held;
    this.#held = chunk as Buffer<ArrayBuffer>;
    return settled.length === 0 || this.#next.write(settled);
  }

  end(trailers: RawHeaders): void {
    if (!isSame(this.#hash.digest('hex'), this.#wanted)) {
      this.#refuse(differentBody());
      return;
    }
    if (this.#held.length > 0) this.#next.write(this.#held);
    this.#next.end(trailers);
  }

  abort(cause: Error): void {
    this.#next.abort(cause);
  }
}
