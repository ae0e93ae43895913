import { performance } from 'node:perf_hooks';
import { type ClientHttp2Stream, constants } from 'node:http2';
import { asRefusal, Refusal } from '../../errors.ts';
import { CHUNKED, type RawHeaders, type ResponseHead, type Sink } from '../../types.ts';
import type { ClientHandlers } from '../client.ts';
import { fault } from '../fault.ts';
import { type ClientLimits, MAX_INTERIM } from '../limits.ts';
import { cut } from './cut.ts';
import { writeTo } from './drain.ts';
import { responseHead } from './head.ts';
import { StreamCarrier } from './carrier.ts';
import { StreamBody } from './incoming.ts';

/** The connection that a request is sent on. */
export interface RequestOwner {
  /** Its stream is closed. */
  over(request: Request): void;
}

/** One request on an upstream's connection: the sink of its body, and what its answer is read from. */
export class Request implements Sink {
  onDrain: (() => void) | null = null;
  readonly #stream: ClientHttp2Stream;
  readonly #method: string;
  /** Body bytes if they are known, otherwise negative. */
  readonly #length: number;
  readonly #limits: ClientLimits;
  readonly #body: StreamBody;
  /** Until the final answer was given, or there will be none. */
  #handlers: ClientHandlers | null;
  #hasAnswer = false;
  /** Another protocol speaks here now. */
  #isSwitched = false;
  #interims = 0;
  #sent = 0;
  #received = 0;
  #open = true;
  #error: unknown;
  /** performance.now() when the answer began to be waited for. */
  #since = performance.now();
  #moved = -1;
  #movedAt = 0;

  constructor(
    stream: ClientHttp2Stream,
    method: string,
    length: number,
    limits: ClientLimits,
    handlers: ClientHandlers,
    owner: RequestOwner,
  ) {
    this.#stream = stream;
    this.#method = method;
    this.#length = length;
    this.#limits = limits;
    this.#handlers = handlers;
    this.#body = new StreamBody(stream, 'upstream_malformed', limits, count => (this.#received += count));
    stream.on('headers', (_headers, _flags, raw) => this.#interim(raw));
    stream.on('response', (_headers, flags, raw) => this.#response(flags, raw));
    stream.on('error', error => (this.#error = error));
    stream.on('close', () => {
      this.#close();
      owner.over(this);
    });
  }

  // ---- in ------------------------------------------------------------------------------------------------------

  #interim(raw: RawHeaders): void {
    if (!this.#handlers || this.#hasAnswer) return;
    try {
      if (++this.#interims > MAX_INTERIM) throw fault('upstream_malformed', 'Too many interim answers');
      const head = responseHead(raw, false, this.#limits, this.#method);
      if (head.status >= 200) throw fault('upstream_malformed', 'A final answer among the interim ones');
      this.#handlers.informational(head);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #response(flags: number, raw: RawHeaders): void {
    const isEnd = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    try {
      const head = responseHead(raw, isEnd, this.#limits, this.#method);
      if (head.status < 200) throw fault('upstream_malformed', 'An interim answer that is the last one');
      if (this.#method === 'CONNECT' && head.status < 300) return this.#switch(head);
      if (this.#method === 'CONNECT') this.#stream.end();
      this.#hasAnswer = true;
      // By the end of this turn a short answer is here whole, and can be given in one step.
      setImmediate(() => this.#give(head));
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  /** RFC 8441, section 5 */
  #switch(head: ResponseHead): void {
    if (head.length !== CHUNKED)
      throw fault('upstream_malformed', 'A WebSocket with a length, or that ends with its head');
    const handlers = this.#handlers;
    const early = this.#body.release();
    this.#handlers = null;
    this.#hasAnswer = true;
    this.#isSwitched = true;
    this.#open = false;
    const carrier = new StreamCarrier(this.#stream, this.#body.complete);
    if (handlers?.switched) handlers.switched(head, carrier, early);
    else carrier.destroy();
  }

  #give(head: ResponseHead): void {
    const handlers = this.#handlers;
    this.#handlers = null;
    handlers?.response(head, this.#body);
  }

  /** There will be no answer, or not all of it. */
  #fail(thrown: unknown, retryable = false): void {
    const refusal = asRefusal(thrown);
    const handlers = this.#hasAnswer ? null : this.#handlers;
    if (handlers) this.#handlers = null;
    this.#open = false;
    this.#body.fail(refusal);
    this.#reset(constants.NGHTTP2_CANCEL);
    handlers?.failed(refusal, retryable);
  }

  #close(): void {
    this.#open = false;
    if (this.#body.complete || this.#isSwitched) return;
    const when = this.#hasAnswer ? 'before the answer was complete' : 'before it answered';
    const message = `The upstream closed the stream ${when}`;
    const isRetryable = !this.#hasAnswer && this.#interims === 0 && this.#isLost;
    this.#fail(new Refusal('upstream_unreachable', { message, cause: this.#error }), isRetryable);
  }

  /** Not processed (RFC 9113, section 8.7), or lost with its connection. */
  get #isLost(): boolean {
    const { rstCode, session } = this.#stream;
    return rstCode === constants.NGHTTP2_REFUSED_STREAM || !session || session.closed;
  }

  // ---- out -----------------------------------------------------------------------------------------------------

  get #isGone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  write(chunk: Buffer): boolean {
    if (!this.#open || this.#isGone || chunk.length === 0) return true;
    this.#sent += chunk.length;
    if (this.#length >= 0 && this.#sent > this.#length) {
      this.abort(new Error(`more than the ${this.#length} bytes that were declared`));
      return true;
    }
    return writeTo(this.#stream, chunk, this);
  }

  end(): void {
    if (!this.#open) return;
    if (this.#length >= 0 && this.#sent < this.#length) {
      this.abort(new Error(`${this.#sent} of the ${this.#length} bytes that were declared`));
      return;
    }
    this.#open = false;
    this.#since = performance.now();
    // What follows a handshake is not its body.
    if (!this.#isGone && this.#method !== 'CONNECT') this.#stream.end();
  }

  /** Bytes of the body wait to be taken. */
  get isSending(): boolean {
    return this.#stream.writableLength > 0;
  }

  abort(cause: Error): void {
    if (this.#open) this.#fail(cause);
  }

  /** Nobody waits for the answer, or the rest of it. */
  cancel(): void {
    if (this.#isSwitched) return;
    const isSent = !this.#open;
    this.#handlers = null;
    this.#open = false;
    if (this.#body.complete && isSent) return;
    if (this.#body.complete) this.#reset(constants.NGHTTP2_CANCEL);
    else this.#fail(new Error('the request was given up'));
  }

  #reset(code: number): void {
    cut(this.#stream, code);
    // What is still received is dropped; a stream that is paused would never close.
    if (!this.#stream.destroyed) this.#stream.resume();
  }

  /** Enforces the time limits. `now`: performance.now(). */
  sweep(now: number): void {
    if (this.#isSwitched) return;
    const stream = this.#stream;
    const isReading = this.#hasAnswer && !this.#body.complete && !stream.isPaused();
    const moved = this.#received + this.#sent - stream.writableLength;
    if (!(isReading || this.isSending) || moved !== this.#moved) {
      this.#moved = moved;
      this.#movedAt = now;
    }
    // As long as the request's body is still coming, the answer is not late.
    if (this.#open) this.#since = now;
    const isLate = !this.#hasAnswer && now - this.#since > this.#limits.responseMs;
    if (isLate || now - this.#movedAt > this.#limits.bodyIdleMs) this.#fail(new Refusal('upstream_timeout'));
  }
}
