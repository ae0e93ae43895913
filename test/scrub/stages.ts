import { Patterns, Scrubber } from '../../src/scrub/index.ts';
import { Secret } from '../../src/secret.ts';
import type { RawHeaders, Sink } from '../../src/types.ts';

/** A sink that keeps what it gets, and can be made to say stop. */
export class Collector implements Sink {
  onDrain: (() => void) | null = null;
  readonly chunks: Buffer[] = [];
  accepts = true;
  ended: RawHeaders | null = null;
  aborted: Error | null = null;
  readonly settled: Promise<void>;
  #settle: () => void = () => undefined;

  constructor() {
    this.settled = new Promise(resolve => (this.#settle = resolve));
  }

  write(chunk: Buffer): boolean {
    this.chunks.push(Buffer.from(chunk));
    return this.accepts;
  }

  end(trailers: RawHeaders): void {
    this.ended = trailers;
    this.#settle();
  }

  abort(cause: Error): void {
    this.aborted = cause;
    this.#settle();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

export const STUB = 'ghp_stub_0123456789';

export const patternsOf = (...values: string[]): Patterns =>
  new Patterns(values.map((value, n) => new Secret(`s${n}`, value)));

export const scrubberOf = (patterns: Patterns): Scrubber => new Scrubber(patterns, () => STUB);

export interface Scrubbed {
  readonly text: string;
  readonly hits: number;
}

/** The body that comes out of the stage when these chunks go in. */
export function streamed(patterns: Patterns, chunks: readonly Buffer[]): Scrubbed {
  const scrubber = scrubberOf(patterns);
  const out = new Collector();
  const stage = scrubber.body(out);
  for (const chunk of chunks) stage.write(chunk);
  stage.end([]);
  return { text: out.bytes.toString('latin1'), hits: scrubber.hits };
}

export function whole(patterns: Patterns, body: Buffer): Scrubbed {
  const scrubber = scrubberOf(patterns);
  return { text: scrubber.whole(body).toString('latin1'), hits: scrubber.hits };
}

export const bytewise = (body: Buffer): Buffer[] => Array.from(body, byte => Buffer.from([byte]));
