import { constants, type ServerHttp2Stream, type ServerStreamResponseOptions } from 'node:http2';
import type { RawHeaders, Sink } from '../../types.ts';
import { COALESCE_BYTES } from '../limits.ts';
import type { WriterOwner } from '../writer.ts';
import { cut } from './cut.ts';
import { writeTo } from './drain.ts';
import { headOf, type Head, objectOf } from './fields.ts';

/** One answer on its way out. The head is held so that an answer that is here whole ends without a frame of its own. */
export class AnswerWriter implements Sink {
  onDrain: (() => void) | null = null;
  /** Bytes of the answer so far: fields and payload. */
  bytes: number;
  readonly #stream: ServerHttp2Stream;
  readonly #owner: WriterOwner;
  readonly #length: number | undefined;
  readonly #isBodyless: boolean;
  #bodyBytes = 0;
  #head: RawHeaders | null;
  #chunk: Buffer | null = null;
  #trailers: RawHeaders = [];
  #open = true;

  /** `length`: body bytes, if they are known. */
  constructor(
    stream: ServerHttp2Stream,
    owner: WriterOwner,
    { list, size }: Head,
    length: number | undefined,
    isBodyless: boolean,
  ) {
    this.#stream = stream;
    this.#owner = owner;
    this.#head = list;
    this.bytes = size;
    this.#length = length;
    this.#isBodyless = isBodyless;
  }

  get #isGone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  write(chunk: Buffer): boolean {
    if (!this.#open || this.#isBodyless || chunk.length === 0) return true;
    this.#bodyBytes += chunk.length;
    if (this.#length !== undefined && this.#bodyBytes > this.#length) {
      this.abort(new Error(`more than the ${this.#length} bytes that were declared`));
      return true;
    }
    this.bytes += chunk.length;
    if (this.#head && chunk.length === this.#length) {
      this.#chunk = chunk;
      return true;
    }
    this.flush();
    return this.#isGone || writeTo(this.#stream, chunk, this);
  }

  /** Sends what is held. */
  flush(): void {
    const chunk = this.#chunk;
    this.#chunk = null;
    this.#finishReading();
    if (this.#head && !this.#isBodyless) this.#stream.once('wantTrailers', () => this.#sendTrailers());
    this.#begin({ waitForTrailers: !this.#isBodyless, endStream: this.#isBodyless });
    if (chunk && !this.#isGone) this.#stream.write(chunk);
  }

  /**
   * Reads the end of a request without a body, or Node would end the stream by a reset. Not before a small answer that
   * leaves whole: Node would find its write under way when the stream closes, and make an error, with a stack, for nobody.
   */
  #finishReading(): void {
    if (this.#stream.endAfterHeaders) this.#stream.resume();
  }

  #begin(options: ServerStreamResponseOptions): void {
    const headers = this.#head;
    this.#head = null;
    // A Date of our own would be one that the upstream did not send.
    const all: ServerStreamResponseOptions & { sendDate: boolean } = { ...options, sendDate: false };
    if (headers && !this.#isGone) this.#try(() => this.#stream.respond(headers, all));
  }

  end(trailers: RawHeaders): void {
    if (!this.#open) return;
    if (this.#length !== undefined && this.#bodyBytes < this.#length && !this.#isBodyless) {
      this.abort(new Error(`${this.#bodyBytes} of the ${this.#length} bytes that were declared`));
      return;
    }
    this.#open = false;
    this.#trailers = trailers;
    this.#end();
    this.#owner.written();
  }

  #end(): void {
    if (this.#head && (this.#trailers.length === 0 || this.#isBodyless)) {
      if (!this.#chunk || this.#chunk.length > COALESCE_BYTES) this.#finishReading();
      this.#begin({ endStream: this.#chunk === null });
      if (this.#chunk && !this.#isGone) this.#stream.end(this.#chunk);
      this.#chunk = null;
    } else {
      this.flush();
      if (!this.#isGone) this.#stream.end();
    }
  }

  #sendTrailers(): void {
    if (this.#isGone) return;
    this.#try(() => {
      const head = headOf([], this.#trailers);
      if (this.#trailers.length > 0) this.bytes += head.size;
      this.#stream.sendTrailers(objectOf(head));
    });
  }

  /** What node:http2 will not write must break this answer, and nothing else. */
  #try(write: () => void): void {
    try {
      write();
    } catch (thrown) {
      const cause = thrown as Error;
      if (this.#open) this.abort(cause);
      else cut(this.#stream, constants.NGHTTP2_INTERNAL_ERROR);
    }
  }

  abort(cause: Error): void {
    if (!this.#open) return;
    this.close();
    cut(this.#stream, constants.NGHTTP2_INTERNAL_ERROR);
    this.#owner.cut(cause);
  }

  /** From now on, what is written is dropped. */
  close(): void {
    this.#open = false;
    this.#head = null;
    this.#chunk = null;
  }
}
