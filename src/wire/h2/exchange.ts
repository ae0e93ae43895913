import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import { constants, type ServerHttp2Stream, type ServerStreamResponseOptions } from 'node:http2';
import { has } from '../../fields.ts';
import type { RawHeaders, RequestHead, Sink, Source } from '../../types.ts';
import type { WireLimits } from '../limits.ts';
import type { Answer, Carrier, Exchange, Switched } from '../message.ts';
import { began, ended } from '../turn.ts';
import type { WriterOwner } from '../writer.ts';
import { StreamCarrier } from './carrier.ts';
import { cut } from './cut.ts';
import { headOf, objectOf, sizeOf } from './fields.ts';
import { StreamBody } from './incoming.ts';
import { AnswerWriter } from './writer.ts';

const NOTHING = Buffer.alloc(0);
const NO_BODY: Source = { pipe: sink => sink.end([]), take: () => NOTHING };
/** No Content-Length may stand with these, or none says anything. */
const LENGTHLESS = new Set([204, 205]);

/** The connection that an exchange is part of. */
export interface ExchangeOwner {
  /** Its stream is closed. */
  over(x: Http2Exchange): void;
}

/** One stream of a client, and its answer (RFC 9113, section 8.1). */
export class Http2Exchange implements Exchange, WriterOwner {
  readonly head: RequestHead;
  readonly body: Source;
  readonly startedAt: number = performance.now();
  bytesIn: number;
  onAbort: ((cause: Error) => void) | null = null;
  switched: Switched | null = null;
  /** The stream ends once its reset has left. */
  isReset = false;
  readonly #stream: ServerHttp2Stream;
  readonly #incoming: StreamBody | null;
  /** An extended CONNECT (RFC 8441): what follows its head is no body, and waits for the answer. */
  readonly #isHandshake: boolean;
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
    owner: ExchangeOwner,
  ) {
    began();
    this.#stream = stream;
    this.head = head;
    this.bytesIn = sizeOf(raw);
    // Node tells of a HEAD that was reset only so: it ends the answer's side of each by itself.
    const onReset = (cause: Error): void => this.abort(cause, true);
    this.#incoming = isEnd
      ? null
      : new StreamBody(stream, 'malformed_request', limits, count => (this.bytesIn += count), onReset);
    this.body = this.#incoming ?? NO_BODY;
    this.#isHandshake = has(head.headers, 'upgrade');
    if (this.#isHandshake) stream.once('end', () => this.#endEarly());
    stream.on('aborted', () => this.abort(new Error('the client reset the stream'), true));
    stream.on('close', () => {
      // An Error, with its stack, costs more than all else here.
      if (!this.#done) this.abort(new Error('the client closed the stream'), true);
      owner.over(this);
    });
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
    const head = headOf([':status', `${status}`], headers);
    this.#interimBytes += head.size;
    this.#stream.additionalHeaders(objectOf(head));
  }

  respond({ status, headers, length }: Answer): Sink {
    if (this.#answer) throw new Error('a request is answered once');
    const isBodyless = this.head.method === 'HEAD' || status === 304 || LENGTHLESS.has(status);
    const declares = length !== undefined && !LENGTHLESS.has(status);
    const fields = declares ? [...headers, 'content-length', `${length}`] : headers;
    this.#answer = new AnswerWriter(
      this.#stream,
      this,
      headOf([':status', `${status}`], fields),
      length,
      isBodyless,
    );
    if (this.#done) this.#answer.close();
    return this.#answer;
  }

  flush(): void {
    this.#answer?.flush();
  }

  switch(headers: RawHeaders): { socket: Carrier; early: Buffer } {
    if (!this.#incoming || this.#answer) throw new Error('nothing to switch');
    const head = headOf([':status', '200'], headers);
    const early = this.#incoming.release();
    // Whoever reads them counts them.
    this.bytesIn -= early.length;
    this.#interimBytes += head.size;
    this.#end();
    const options: ServerStreamResponseOptions & { sendDate: boolean } = { sendDate: false };
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.respond(head.list, options);
    return { socket: new StreamCarrier(this.#stream, this.#incoming.complete), early };
  }

  /** Nobody waits for a WebSocket any more. */
  #endEarly(): void {
    if (this.#done || this.#answer) return;
    this.abort(new Error('the client ended the stream'), true);
    this.reset(constants.NGHTTP2_CANCEL);
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

  /** Bytes of the answer wait to be taken. */
  get isSending(): boolean {
    return this.#stream.writableLength > 0;
  }

  /** ms since the last byte in or out; 0 as long as none is due. `now`: performance.now(). */
  stalledFor(now: number): number {
    const stream = this.#stream;
    const isReading = !this.received && !this.#isHandshake && !stream.isPaused();
    const isDue = isReading || this.isSending;
    const moved = this.bytesIn + this.bytesOut - stream.writableLength;
    if (!isDue || moved !== this.#moved) {
      this.#moved = moved;
      this.#movedAt = now;
    }
    return now - this.#movedAt;
  }

  /** Ends the stream, whatever is under way. */
  reset(code: number): void {
    this.isReset = true;
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
