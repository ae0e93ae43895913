import { Buffer } from 'node:buffer';
import type { RawHeaders, Sink } from '../types.ts';
import { type Patterns, STRETCH } from './patterns.ts';
import { replacement } from './replace.ts';

const NOTHING = Buffer.alloc(0);

/** The secrets taken out of one exchange's response. */
export class Scrubber {
  /** Secrets removed so far. */
  hits = 0;
  readonly patterns: Patterns;
  readonly #stubOf: (name: string) => string;

  /** `stubOf`: what stands instead of a secret, by its name; '' if there is no stub. */
  constructor(patterns: Patterns, stubOf: (name: string) => string) {
    this.patterns = patterns;
    this.#stubOf = stubOf;
  }

  /** latin1 text: a field value, the status text. */
  text(value: string): string {
    if (this.patterns.empty || value.length === 0) return value;
    const bytes = Buffer.from(value, 'latin1');
    const clean = this.whole(bytes);
    return clean === bytes ? value : clean.toString('latin1');
  }

  headers(raw: RawHeaders): RawHeaders {
    if (this.patterns.empty || raw.length === 0) return raw;
    if (!this.patterns.find(Buffer.from(raw.join('\n'), 'latin1'))) return raw;
    return raw.map(text => this.text(text));
  }

  /** A complete body; the same buffer if nothing was found. */
  whole(body: Buffer): Buffer {
    if (!this.patterns.find(body)) return body;
    return new Pass(this.patterns, this.#stubOf, this).push(body, true);
  }

  /** The stage that a body goes through on its way to `next`. */
  body(next: Sink): Sink {
    return this.patterns.empty ? next : new ScrubStage(new Pass(this.patterns, this.#stubOf, this), next);
  }
}

/** One text on its way through, in chunks. */
class Pass {
  readonly #patterns: Patterns;
  readonly #stubOf: (name: string) => string;
  readonly #count: { hits: number };
  /** What may be the start of a secret; its first `#done` bytes are already out, and only kept to read the rest. */
  #held = NOTHING;
  #done = 0;

  constructor(patterns: Patterns, stubOf: (name: string) => string, count: { hits: number }) {
    this.#patterns = patterns;
    this.#stubOf = stubOf;
    this.#count = count;
  }

  /** What can go out after this chunk; `final`: the text ends with it. */
  push(chunk: Buffer, final: boolean): Buffer {
    const text = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const pieces: Buffer[] = [];
    let from = 0;
    let to = 0;
    do {
      to = Math.min(text.length, to + STRETCH);
      const { matches, hold, base } = this.#patterns.search(text, from, to, final && to === text.length);
      for (const match of matches) {
        if (match.start >= hold) break;
        if (match.start >= this.#done) {
          if (match.start > this.#done) pieces.push(text.subarray(this.#done, match.start));
          pieces.push(replacement(match, this.#stubOf(match.spelling.name)));
          this.#count.hits++;
        }
        this.#done = Math.max(this.#done, match.end);
      }
      if (hold > this.#done) {
        pieces.push(text.subarray(this.#done, hold));
        this.#done = hold;
      }
      from = base;
    } while (to < text.length);
    // A copy: what is held must not keep the whole chunk in memory.
    this.#held = from === text.length ? NOTHING : Buffer.from(text.subarray(from));
    this.#done -= from;
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
  }
}

class ScrubStage implements Sink {
  readonly #pass: Pass;
  readonly #next: Sink;

  constructor(pass: Pass, next: Sink) {
    this.#pass = pass;
    this.#next = next;
  }

  get onDrain(): (() => void) | null {
    return this.#next.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#next.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    const clean = this.#pass.push(chunk, false);
    return clean.length === 0 || this.#next.write(clean);
  }

  end(trailers: RawHeaders): void {
    const rest = this.#pass.push(NOTHING, true);
    if (rest.length > 0) this.#next.write(rest);
    this.#next.end(trailers);
  }

  abort(cause: Error): void {
    this.#next.abort(cause);
  }
}

/**
 * The stage that a request body goes through: no secret is ever forwarded whole. At the first one it calls `onHit`,
 * once, and forwards nothing more, neither `end` nor `abort`.
 */
export function detector(patterns: Patterns, next: Sink, onHit: (name: string) => void): Sink {
  return patterns.empty ? next : new Detector(patterns, next, onHit);
}

class Detector implements Sink {
  readonly #pass: Pass;
  readonly #next: Sink;
  readonly #onHit: (name: string) => void;
  #seen: string | undefined;
  readonly #count = { hits: 0 };

  constructor(patterns: Patterns, next: Sink, onHit: (name: string) => void) {
    this.#pass = new Pass(patterns, name => (this.#seen ??= name), this.#count);
    this.#next = next;
    this.#onHit = onHit;
  }

  get onDrain(): (() => void) | null {
    return this.#next.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#next.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    const clean = this.#searched(chunk, false);
    return !clean || clean.length === 0 || this.#next.write(clean);
  }

  end(trailers: RawHeaders): void {
    const rest = this.#searched(NOTHING, true);
    if (!rest) return;
    if (rest.length > 0) this.#next.write(rest);
    this.#next.end(trailers);
  }

  abort(cause: Error): void {
    if (this.#seen === undefined) this.#next.abort(cause);
  }

  /** What may be forwarded; undefined once a secret was seen. */
  #searched(chunk: Buffer, final: boolean): Buffer | undefined {
    if (this.#seen !== undefined) return undefined;
    const clean = this.#pass.push(chunk, final);
    if (this.#seen === undefined) return clean;
    this.#onHit(this.#seen);
    return undefined;
  }
}
