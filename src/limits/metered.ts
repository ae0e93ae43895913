import { Transform } from 'node:stream';
import { asRefusal, type Refusal } from '../errors.ts';
import type { RawHeaders, Sink } from '../types.ts';
import type { Meter } from './limiter.ts';

/** Stops and starts what writes, where `write` returning false does not. */
interface Valve {
  pause(): void;
  resume(): void;
}

/** A body on its way, each chunk paid for before it goes on. Past the limit `refuse` is called, and nothing more goes. */
export class Metered implements Sink {
  onDrain: (() => void) | null = null;
  readonly #meter: Meter;
  readonly #next: Sink;
  readonly #refuse: (refusal: Refusal) => void;
  readonly #valve: Valve | undefined;
  /** Behind a chunk that is not paid for yet. */
  #held: Buffer[] = [];
  #trailers: RawHeaders | undefined;
  #isWaiting = false;
  #isOver = false;

  constructor(meter: Meter, next: Sink, refuse: (refusal: Refusal) => void, valve?: Valve) {
    this.#meter = meter;
    this.#next = next;
    this.#refuse = refuse;
    this.#valve = valve;
    const drained = (): void => {
      if (!this.#isWaiting) this.onDrain?.();
    };
    next.onDrain = drained;
  }

  write(chunk: Buffer): boolean {
    if (this.#isOver) return false;
    if (this.#isWaiting) {
      this.#held.push(chunk);
      return false;
    }
    return this.#pay(chunk) && this.#next.write(chunk);
  }

  end(trailers: RawHeaders): void {
    if (this.#isWaiting) this.#trailers = trailers;
    else if (!this.#isOver) this.#next.end(trailers);
  }

  abort(cause: Error): void {
    this.#isOver = true;
    this.#next.abort(cause);
  }

  /** False: it is held, or refused. */
  #pay(chunk: Buffer): boolean {
    try {
      const paying = this.#meter(chunk.length);
      if (!paying) return true;
      this.#isWaiting = true;
      this.#valve?.pause();
      paying.then(
        () => this.#paid(chunk),
        (thrown: unknown) => this.#fail(thrown),
      );
    } catch (thrown) {
      this.#fail(thrown);
    }
    return false;
  }

  #paid(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#isWaiting = false;
    let wantsMore = this.#next.write(chunk);
    while (this.#held.length > 0) {
      const next = this.#held.shift() as Buffer;
      if (!this.#pay(next)) return;
      wantsMore = this.#next.write(next);
    }
    if (this.#trailers) this.#next.end(this.#trailers);
    this.#valve?.resume();
    if (wantsMore) this.onDrain?.();
  }

  #fail(thrown: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#isWaiting = false;
    this.#held = [];
    this.#refuse(asRefusal(thrown));
  }
}

/** The same for a stream of bytes that nobody reads; past the limit it fails with the Refusal. */
export function meteredStream(meter: Meter): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, passed) {
      passOn(meter, chunk).then(
        () => passed(null, chunk),
        (thrown: Error) => passed(thrown),
      );
    },
  });
}

async function passOn(meter: Meter, chunk: Buffer): Promise<void> {
  await meter(chunk.length);
}
