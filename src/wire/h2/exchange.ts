import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { RawHeaders, RequestHead, Sink, Source } from '../../types.ts';
import type { IncomingBody } from '../body.ts';
import type { WireLimits } from '../limits.ts';
import type { Answer, Exchange } from '../message.ts';
import { began, ended } from '../turn.ts';
import type { WriterOwner } from '../writer.ts';
import { cut } from './cut.ts';
import { headOf, sizeOf } from './fields.ts';
import { incomingBody } from './incoming.ts';
import { AnswerWriter } from './writer.ts';

const NOTHING = Buffer.alloc(0);
const NO_BODY: Source = { pipe: sink => sink.end([]), take: () => NOTHING };
/** No Content-Length may stand with these, or none says anything. */
const LENGTHLESS = new Set([204, 205]);

/** One stream of a client, and its answer (RFC 9113, section 8.1). */
export class Http2Exchange implements Exchange, WriterOwner {
  readonly head: RequestHead;
  readonly body: Source;
  readonly startedAt: number = performance.now();
  bytesIn: number;
  onAbort: ((cause: Error) => void) | null = null;
  switched: null = null;
  readonly #stream: ServerHttp2Stream;
  readonly #incoming: IncomingBody | null;
  #interimBytes = 0;
  #answer: AnswerWriter | null = null;
  #done = false;
  #aborted = false;
  #moved = -1;
  #movedAt = 0;

  /** `raw`: the head as received. `isEnd`: no body follows. */
  constructor(
    stream: ServerHttp2Stream,
    head: RequestHead,
    raw: RawHeaders,
    isEnd: boolean,
    limits: WireLimits,
  ) {
    began();
    this.#stream = stream;
    this.head = head;
    this.bytesIn = sizeOf(raw);
    // Node tells of a HEAD that was reset only so: it ends the answer's side of each by itself.
    const onReset = (cause: Error): void => this.abort(cause, true);
    this.#incoming = isEnd
      ? null
      : incomingBody(stream, 'malformed_request', limits, count => (this.bytesIn += count), onReset);
    this.body = this.#incoming ?? NO_BODY;
    if (isEnd) stream.resume();
    stream.on('drain', () => this.#answer?.onDrain?.());
    stream.on('aborted', () => this.abort(new Error('the client reset the stream'), true));
    stream.on('close', () => this.abort(new Error('the client closed the stream'), true));
    // Such as a reset that came with its request.
    if (stream.destroyed || stream.aborted) this.abort(new Error('the client reset the stream'), true);
  }

  get isHttp2(): boolean {
    return true;
  }

  get done(): boolean {
    return this.#done;
  }

  get responded(): boolean {
    return this.#answer !== null;
  }

  get bytesOut(): number {
    return this.#interimBytes + (this.#answer?.bytes ?? 0);
  }

  get received(): boolean {
    return this.#incoming === null || this.#incoming.complete;
  }

  informational(status: number, _reason: string, headers: RawHeaders): void {
    if (this.#done || this.#answer || this.#stream.closed) return;
    const head = headOf({ ':status': status }, headers);
    this.#interimBytes += head.size;
    this.#stream.additionalHeaders(head.headers);
  }

  respond({ status, headers, length }: Answer): Sink {
    if (this.#answer) throw new Error('a request is answered once');
    const isBodyless = this.head.method === 'HEAD' || status === 304 || LENGTHLESS.has(status);
    const declares = length !== undefined && !LENGTHLESS.has(status);
    const fields = declares ? [...headers, 'content-length', `${length}`] : headers;
    this.#answer = new AnswerWriter(
      this.#stream,
      this,
      headOf({ ':status': status }, fields),
      length,
      isBodyless,
    );
    if (this.#done) this.#answer.close();
    return this.#answer;
  }

  flush(): void {
    this.#answer?.flush();
  }

  /** No request of HTTP/2 asks for it: a field Upgrade is refused, and an extended CONNECT. */
  switch(): never {
    throw new Error('HTTP/2 has no upgrade');
  }

  /** The client's fault or absence. `isOver`: it can no longer be answered. */
  abort(cause: Error, isOver: boolean): void {
    if (this.#done) return;
    if (isOver) {
      this.#end();
      this.#answer?.close();
    }
    if (this.#aborted) return;
    this.#aborted = true;
    this.onAbort?.(cause);
    this.#incoming?.fail(cause);
  }

  /** ms since the last byte in or out; 0 as long as none is due. `now`: performance.now(). */
  stalledFor(now: number): number {
    const stream = this.#stream;
    const isDue = (!this.received && !stream.isPaused()) || stream.writableLength > 0;
    const moved = this.bytesIn + this.bytesOut - stream.writableLength;
    if (!isDue || moved !== this.#moved) {
      this.#moved = moved;
      this.#movedAt = now;
    }
    return now - this.#movedAt;
  }

  /** Ends the stream, whatever is under way. */
  reset(code: number): void {
    cut(this.#stream, code);
  }

  #end(): void {
    if (!this.#done) ended();
    this.#done = true;
  }

  written(): void {
    this.#end();
    if (this.received) return;
    this.#incoming?.fail(new Error('the request was answered before its body was complete'));
    this.#stream.resume();
    // RFC 9113, section 8.1: the rest of the body is not wanted; the reset must not overtake the answer's end.
    this.#stream.once('finish', () => setImmediate(() => this.reset(constants.NGHTTP2_NO_ERROR)));
  }

  cut(cause: Error): void {
    this.#end();
    this.#incoming?.fail(cause);
  }
}
