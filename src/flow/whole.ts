import { Buffer } from 'node:buffer';
import type { RawHeaders, Sink } from '../types.ts';

/** Whom to tell; one of them, once. */
export interface WholeHandlers {
  readonly tooLarge: () => Error;
  readonly end: (body: Buffer, trailers: RawHeaders) => void;
  readonly fail: (cause: Error) => void;
}

/** Collects a body in one buffer, so that many small chunks cost no more than a large one. */
export class Whole implements Sink {
  onDrain: (() => void) | null = null;
  readonly #limit: number;
  readonly #handlers: WholeHandlers;
  #bytes = Buffer.allocUnsafe(4096);
  #length = 0;

  constructor(limit: number, handlers: WholeHandlers) {
    this.#limit = limit;
    this.#handlers = handlers;
  }

  write(chunk: Buffer): boolean {
    const length = this.#length + chunk.length;
    if (length > this.#limit) {
      this.#handlers.fail(this.#handlers.tooLarge());
      return false;
    }
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#length += chunk.copy(this.#bytes, this.#length);
    return true;
  }

  end(trailers: RawHeaders): void {
    this.#handlers.end(this.#bytes.subarray(0, this.#length), trailers);
  }

  abort(cause: Error): void {
    this.#handlers.fail(cause);
  }
}
