import { Buffer } from 'node:buffer';
import type { RawHeaders, Sink } from '../types.ts';
import { asRefusal, Refusal } from '../errors.ts';
import { isGrpc, mayBeMessages, Messages, type MessagesOptions, type Pass } from './messages.ts';
import { type Patterns, STRETCH } from './patterns.ts';
import { fitted, replacement } from './replace.ts';

const NOTHING = Buffer.alloc(0);

/** The secrets taken out of one exchange's response. */
export class Scrubber {
  /** Secrets removed so far. */
  hits = 0;
  #patterns: Patterns;
  readonly #stubOf: (name: string) => string;
  readonly #present: () => Patterns;

  /**
   * `stubOf`: what stands instead of a secret, by its name; '' if there is no stub. `present`: asked at each chunk of a
   * body for the patterns as they are by then, as a stream may outlive a secret.
   */
  constructor(patterns: Patterns, stubOf: (name: string) => string, present?: () => Patterns) {
    this.#patterns = patterns;
    this.#stubOf = stubOf;
    this.#present = present ?? (() => patterns);
  }

  /** As they were last. */
  get patterns(): Patterns {
    return this.#patterns;
  }

  /** As they are now; none at all can search nothing, so that the last ones stay. */
  #renewed(): Patterns {
    const present = this.#present();
    if (!present.empty) this.#patterns = present;
    return this.#patterns;
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
    // Trailers, too, which come at the end of a stream.
    if (!this.#renewed().find(Buffer.from(raw.join('\n'), 'latin1'))) return raw;
    return raw.map(text => this.text(text));
  }

  /** A complete body; the same buffer if nothing was found. `headers`: of its message. Throws a Refusal. */
  whole(body: Buffer, headers: RawHeaders = []): Buffer {
    if (!this.patterns.find(body) && !(mayBeMessages(body) && !this.patterns.empty && isGrpc(headers)))
      return body;
    return this.#pass(headers).push(body, true);
  }

  /** The stage that a body goes through on its way to `next`. `headers`: of its message. */
  body(next: Sink, headers: RawHeaders = []): Sink {
    return this.patterns.empty ? next : new ScrubStage(this.#pass(headers), next);
  }

  #pass(headers: RawHeaders): Pass {
    if (!isGrpc(headers)) return new Text(() => this.#renewed(), this.#stubOf, this);
    return new Messages(() => new Text(() => this.#renewed(), this.#stubOf, this, true), {
      compressed: false,
      fault: () => new Refusal('undecodable_response', { message: 'A gRPC message that cannot be read' }),
    });
  }
}

/** One text on its way through, in chunks. */
class Text implements Pass {
  readonly #present: () => Patterns;
  readonly #stubOf: (name: string) => string;
  readonly #count: { hits: number };
  readonly #keepLength: boolean;
  /** What may be the start of a secret; its first `#done` bytes are already out, and only kept to read the rest. */
  #held = NOTHING;
  #done = 0;

  constructor(
    present: () => Patterns,
    stubOf: (name: string) => string,
    count: { hits: number },
    keepLength = false,
  ) {
    this.#present = present;
    this.#stubOf = stubOf;
    this.#count = count;
    this.#keepLength = keepLength;
  }

  get pending(): number {
    return this.#held.length - this.#done;
  }

  push(chunk: Buffer, final: boolean): Buffer {
    const text = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const pieces: Buffer[] = [];
    // Others than at the last chunk: what is held is searched again, from where reading it started.
    const patterns = this.#present();
    let from = 0;
    let to = 0;
    do {
      to = Math.min(text.length, to + STRETCH);
      const { matches, hold, base } = patterns.search(text, from, to, final && to === text.length);
      for (const match of matches) {
        if (match.start >= hold) break;
        if (match.start >= this.#done) {
          if (match.start > this.#done) pieces.push(text.subarray(this.#done, match.start));
          const stub = this.#stubOf(match.spelling.name);
          pieces.push(this.#keepLength ? fitted(match, stub) : replacement(match, stub));
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
  #isBroken = false;

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
    if (!this.#isBroken) this.#next.abort(cause);
  }

  /** Undefined once the body was found not to be what it said. */
  #searched(chunk: Buffer, final: boolean): Buffer | undefined {
    if (this.#isBroken) return undefined;
    try {
      return this.#pass.push(chunk, final);
    } catch (thrown) {
      this.#isBroken = true;
      this.#next.abort(asRefusal(thrown));
      return undefined;
    }
  }
}

/**
 * The stage that a request body goes through: no secret is ever forwarded whole. At the first one it calls `onHit`,
 * once, and forwards nothing more, neither `end` nor `abort`. `headers`: of its message.
 */
export function detector(
  patterns: Patterns,
  next: Sink,
  onHit: (name: string) => void,
  headers: RawHeaders = [],
): Sink {
  return patterns.empty ? next : new Detector(patterns, next, onHit, headers);
}

const UPLOAD: MessagesOptions = {
  compressed: true,
  fault: () => new Refusal('malformed_request', { message: 'A gRPC body that is not made of gRPC messages' }),
};

class Detector implements Sink {
  readonly #pass: Pass;
  readonly #next: Sink;
  readonly #onHit: (name: string) => void;
  #seen: string | undefined;
  readonly #count = { hits: 0 };

  constructor(patterns: Patterns, next: Sink, onHit: (name: string) => void, headers: RawHeaders) {
    const begin = (): Pass =>
      new Text(
        () => patterns,
        name => (this.#seen ??= name),
        this.#count,
      );
    this.#pass = isGrpc(headers) ? new Messages(begin, UPLOAD) : begin();
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
    try {
      const clean = this.#pass.push(chunk, final);
      if (this.#seen === undefined) return clean;
    } catch (thrown) {
      this.#seen ??= '';
      this.#next.abort(asRefusal(thrown));
      return undefined;
    }
    this.#onHit(this.#seen);
    return undefined;
  }
}
