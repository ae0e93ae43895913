import { Buffer } from 'node:buffer';
import { asRefusal } from '../errors.ts';
import { CHUNKED, type RawHeaders, type Sink, type Source, UNTIL_CLOSE } from '../types.ts';
import { ChunkedReader, type DataSink } from './chunked.ts';
import type { Side } from './fault.ts';
import { RECORD_BYTES, UNREAD_BYTES } from './limits.ts';

/** Stops and starts the socket that a body comes from. */
export interface Valve {
  pause(): void;
  resume(): void;
}

/** A body on its way in: bytes of the wire are fed to it, and wait until it is piped. */
export class IncomingBody implements Source, DataSink {
  /** Every byte of it has been received. */
  complete: boolean;
  readonly #valve: Valve;
  readonly #chunked: ChunkedReader | null;
  /** Bytes still to come; unused for a chunked body. */
  #left: number;
  #unread: Buffer[] = [];
  #unreadBytes = 0;
  #sink: Sink | null = null;
  /** What goes to the sink in one piece, at the end of this turn of the event loop at the latest. */
  #gathered: Buffer | null = null;
  #fault: Error | null = null;
  #trailers: RawHeaders = [];

  /** `length`: ≥ 0, CHUNKED or UNTIL_CLOSE. */
  constructor(
    length: number,
    side: Side,
    limits: { readonly head: number; readonly headers: number },
    valve: Valve,
  ) {
    this.#valve = valve;
    this.#chunked = length === CHUNKED ? new ChunkedReader(side, limits) : null;
    this.#left = length === UNTIL_CLOSE ? Number.POSITIVE_INFINITY : length;
    this.complete = length === 0;
  }

  /** Takes bytes from `at` on and returns the offset of the first one behind the body. Throws a Refusal. */
  feed(bytes: Buffer, at: number): number {
    if (this.#chunked) return this.#feedChunked(this.#chunked, bytes, at);
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    const data = at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end);
    if (data.length > 0) this.data(data);
    if (this.#left === 0) this.end([]);
    return end;
  }

  #feedChunked(reader: ChunkedReader, bytes: Buffer, at: number): number {
    const end = reader.read(bytes, at, this);
    if (reader.done) this.end(reader.trailers);
    return end;
  }

  /** The connection has ended: completes a body that lasts until then. Returns whether the body is complete. */
  close(): boolean {
    if (this.#left === Number.POSITIVE_INFINITY && !this.#fault) this.end([]);
    return this.complete;
  }

  /** The body will not complete. */
  fail(cause: Error): void {
    if (this.complete || this.#fault) return;
    deliver(this);
    // What was still to be delivered broke it already.
    if (this.#fault) return;
    this.#fault = cause;
    this.#sink?.abort(cause);
  }

  pipe(sink: Sink): void {
    const drained = (): void => this.#valve.resume();
    sink.onDrain = drained;
    this.#sink = sink;
    let wantsMore = true;
    for (const chunk of this.#unread) wantsMore = sink.write(chunk) && wantsMore;
    const wasFull = this.#unreadBytes > UNREAD_BYTES;
    this.#unread = [];
    if (this.#fault) sink.abort(this.#fault);
    else if (this.complete) sink.end(this.#trailers);
    else if (!wantsMore) this.#valve.pause();
    else if (wasFull) this.#valve.resume();
  }

  take(): Buffer | undefined {
    if (!this.complete || this.#fault || this.#trailers.length > 0) return undefined;
    return this.unread();
  }

  /** What was received and nobody has read, which is then the caller's. */
  protected unread(): Buffer {
    const chunks = this.#unread;
    this.#unread = [];
    return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  }

  /** Delivers a piece of the body, or keeps it until it is asked for. */
  data(chunk: Buffer): void {
    if (this.#fault) return;
    if (this.#sink) return this.#gather(chunk);
    this.#unread.push(chunk);
    this.#unreadBytes += chunk.length;
    if (this.#unreadBytes > UNREAD_BYTES) this.#valve.pause();
  }

  /**
   * Full records often come several in a turn, and Node puts them side by side: together they are searched and written at
   * the cost of one. Anything shorter is the end of what the other side wrote, and waits for nothing.
   */
  #gather(chunk: Buffer): void {
    const before = this.#gathered;
    if (before && isBehind(chunk, before)) {
      this.#gathered = Buffer.from(before.buffer, before.byteOffset, before.length + chunk.length);
    } else {
      this.deliver();
      this.#gathered = chunk;
    }
    if (chunk.length < RECORD_BYTES) this.deliver();
    else if (!before) setImmediate(deliver, this);
  }

  /** Gives the sink what was gathered for it. */
  deliver(): void {
    const chunk = this.#gathered;
    if (!chunk) return;
    this.#gathered = null;
    if (this.#sink?.write(chunk) === false) this.#valve.pause();
  }

  /** The body is complete; its sink was told otherwise if it broke before. */
  end(trailers: RawHeaders): void {
    this.deliver();
    this.complete = true;
    this.#trailers = trailers;
    if (!this.#fault) this.#sink?.end(trailers);
  }
}

/** Outside of `feed`, whose caller would break the connection. */
function deliver(body: IncomingBody): void {
  try {
    body.deliver();
  } catch (thrown) {
    body.fail(asRefusal(thrown));
  }
}

/** Whether a chunk stands in memory right behind the one before it. */
function isBehind(chunk: Buffer, before: Buffer): boolean {
  return chunk.buffer === before.buffer && chunk.byteOffset === before.byteOffset + before.length;
}
