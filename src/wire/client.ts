import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import { asRefusal, Refusal } from '../errors.ts';
import { type ResponseHead, type Sink, type Source } from '../types.ts';
import { IncomingBody, type Valve } from './body.ts';
import { fault } from './fault.ts';
import { framingLines, NONE } from './framing.ts';
import { hasBareLf, headLength, parseResponseHead } from './head.ts';
import { type ClientLimits, MAX_INTERIM } from './limits.ts';
import type { Carrier } from './message.ts';
import { Progress } from './progress.ts';
import { type Arriving, arriveSoon } from './turn.ts';
import { BODYLESS, MessageWriter, type WriterOwner } from './writer.ts';

export { NONE } from './framing.ts';
export { CLIENT_LIMITS, type ClientLimits } from './limits.ts';

export interface ClientHandlers {
  /** A 1xx answer. */
  informational(head: ResponseHead): void;
  /** The final answer; its body flows once it is piped. */
  response(head: ResponseHead, body: Source): void;
  /** The request asks for another protocol: the answer may be 101. */
  readonly maySwitch?: boolean;
  /** The answer is 101, or a 2xx of HTTP/2: `socket` is the caller's now, paused; `early` are the first bytes of the other protocol. */
  switched?(head: ResponseHead, socket: Carrier, early: Buffer): void;
  /**
   * There will be no final answer; once there was one, a failure goes to its body's sink. `retryable`: the connection
   * closed before a byte of an answer.
   */
  failed(refusal: Refusal, retryable: boolean): void;
}

export interface ClientEvents {
  /** The connection may carry another request. */
  free(c: ClientConnection): void;
  closed(c: ClientConnection): void;
}

const NOTHING: Buffer = Buffer.alloc(0);

/** The upstream's leg: requests on one connection (RFC 9112), one after another. The socket is connected already. */
export class ClientConnection implements WriterOwner, Arriving, Valve {
  readonly socket: Socket;
  readonly #limits: ClientLimits;
  readonly #events: ClientEvents;
  readonly #progress = new Progress();
  #requests = 0;
  /** Of the request under way; null: there is none. */
  #handlers: ClientHandlers | null = null;
  #method = '';
  #writer: MessageWriter | null = null;
  #body: IncomingBody | null = null;
  #keepAlive = false;
  #interims = 0;
  #hasAnswered = false;
  #held: Buffer = NOTHING;
  /** performance.now() when the answer began to be waited for. */
  #since = 0;
  #error: Error | undefined;

  constructor(socket: Socket, limits: ClientLimits, events: ClientEvents) {
    this.socket = socket;
    this.#limits = limits;
    this.#events = events;
    socket.setNoDelay(true);
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    if (socket.isPaused()) socket.resume();
  }

  /** Requests that were answered on this connection; > 0: it is a reused one. */
  get requests(): number {
    return this.#requests;
  }

  /**
   * Begins a request. `head`: request line and fields, each line ended by CRLF, without framing fields and without the
   * empty line. `length`: body bytes, CHUNKED, or NONE. The head is held until the first bytes of the body, the end of
   * the returned sink, or `flush`.
   */
  send(head: string, method: string, length: number, handlers: ClientHandlers): Sink {
    if (this.#handlers) throw new Error('a request is under way on this connection');
    this.#handlers = handlers;
    this.#method = method;
    this.#body = null;
    this.#interims = 0;
    this.#hasAnswered = false;
    this.#since = performance.now();
    this.#progress.reset();
    const writer = new MessageWriter(
      this.socket,
      this,
      head + framingLines(length),
      length === NONE ? BODYLESS : length,
    );
    this.#writer = writer;
    if (this.socket.destroyed) process.nextTick(this.#onEnd);
    return writer;
  }

  /** Sends what is held. */
  flush(): void {
    this.#writer?.flush();
  }

  /** Gives up the request that `sink` was returned for, and the connection with it; nothing if it is over. */
  cancel(sink: Sink): void {
    if (this.#handlers && sink === this.#writer) this.destroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Enforces the time limits; called about twice a second. `now`: performance.now(). */
  sweep(now: number): void {
    if (!this.#handlers) return;
    const isReading = this.#body !== null && !this.socket.isPaused();
    const isDue = isReading || this.socket.writableLength > 0;
    const stalled = this.#progress.stalledFor(this.socket, isDue, now);
    // As long as the request's body is still coming, the answer is not late.
    if (this.#writer?.open === true) this.#since = now;
    const isLate = !this.#body && now - this.#since > this.#limits.responseMs;
    if (isLate || stalled > this.#limits.bodyIdleMs) this.#fail(new Refusal('upstream_timeout'));
  }

  // ---- in ------------------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Buffer): void => {
    // What nobody asked for may be the answer that a later request would be given.
    if (!this.#handlers) return this.destroy();
    this.#hasAnswered = true;
    // Retryable: it may be what a server says before it closes an idle connection.
    if (this.#writer?.unsent === true)
      return this.#fail(fault('upstream_malformed', 'An answer before the request'), true);
    const isFirst = this.#held.length === 0 && !this.#body;
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (isFirst) arriveSoon(this);
    else this.arrived();
  };

  arrived(): void {
    try {
      while (this.#handlers && this.#held.length > 0 && this.#readPart());
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  /** False: nothing more can be read now. */
  #readPart(): boolean {
    if (!this.#body) return this.#readHead();
    this.#readBody(this.#body);
    if (this.#body.complete) this.#finish();
    return true;
  }

  #readHead(): boolean {
    const length = headLength(this.#held);
    if (length < 0 || length > this.#limits.head) {
      if (this.#held.length > this.#limits.head)
        throw fault('upstream_malformed', 'The response head is too large');
      if (hasBareLf(this.#held)) throw fault('upstream_malformed', 'A line that ends with a bare LF');
      return false;
    }
    const maySwitch = this.#handlers?.maySwitch === true;
    const bytes = this.#held.subarray(0, length);
    const { head, keepAlive } = parseResponseHead(bytes, this.#limits, this.#method, maySwitch);
    this.#held = length === this.#held.length ? NOTHING : this.#held.subarray(length);
    this.#keepAlive = keepAlive;
    if (head.status === 101) this.#switch(head);
    else if (head.status < 200) this.#interim(head);
    else this.#start(head);
    return true;
  }

  /** Gives the socket away; only its end is still told, so that whoever counts connections hears of it. */
  #switch(head: ResponseHead): void {
    const { socket } = this;
    const handlers = this.#handlers;
    const early = this.#held;
    socket.pause();
    socket.off('data', this.#onData);
    socket.off('drain', this.#onDrain);
    socket.off('end', this.#onEnd);
    this.#held = NOTHING;
    this.#release();
    handlers?.switched?.(head, socket, early);
  }

  #interim(head: ResponseHead): void {
    if (++this.#interims > MAX_INTERIM) throw fault('upstream_malformed', 'Too many interim answers');
    this.#handlers?.informational(head);
  }

  #start(head: ResponseHead): void {
    const body = new IncomingBody(head.length, 'upstream_malformed', this.#limits, this);
    this.#body = body;
    let broken: unknown;
    try {
      if (!body.complete && this.#held.length > 0) this.#readBody(body);
    } catch (thrown) {
      broken = thrown;
    }
    if (broken !== undefined) body.fail(asRefusal(broken));
    this.#handlers?.response(head, body);
    if (broken !== undefined) this.#fail(broken);
    else if (body.complete) this.#finish();
  }

  #readBody(body: IncomingBody): void {
    const bytes = this.#held;
    this.#held = NOTHING;
    const end = body.feed(bytes, 0);
    if (end < bytes.length) this.#held = bytes.subarray(end);
  }

  /** The answer was received to its end. */
  #finish(): void {
    const isClean = this.#held.length === 0 && this.#writer?.open === false && !this.socket.destroyed;
    this.#requests++;
    this.#release();
    if (!isClean || !this.#keepAlive) return this.destroy();
    if (this.socket.isPaused()) this.socket.resume();
    this.#events.free(this);
  }

  #release(): void {
    this.#handlers = null;
    this.#writer?.close();
    this.#writer = null;
    this.#body = null;
  }

  // ---- the socket's flow ---------------------------------------------------------------------------------------

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    if (this.socket.isPaused()) this.socket.resume();
  }

  // ---- out -----------------------------------------------------------------------------------------------------

  written(): void {}

  cut(cause: Error): void {
    this.#fail(cause);
  }

  /** Tells whoever waits for the request's answer, and breaks the connection. */
  #fail(thrown: unknown, retryable = false): void {
    const handlers = this.#handlers;
    const body = this.#body;
    this.#release();
    this.#held = NOTHING;
    this.destroy();
    if (!handlers) return;
    const refusal = asRefusal(thrown);
    if (body) body.fail(refusal);
    else handlers.failed(refusal, retryable);
  }

  readonly #onDrain = (): void => {
    this.#writer?.onDrain?.();
  };

  readonly #onEnd = (): void => {
    this.arrived();
    if (this.#body?.close() === true) this.#finish();
    else if (this.#handlers) this.#lost();
    else this.destroy();
  };

  #lost(): void {
    const when = this.#body ? 'before the answer was complete' : 'before it answered';
    const message = `The upstream closed the connection ${when}`;
    this.#fail(new Refusal('upstream_unreachable', { message, cause: this.#error }), !this.#hasAnswered);
  }

  readonly #onError = (error: Error): void => {
    this.#error = error;
  };

  readonly #onClose = (): void => {
    this.arrived();
    if (this.#handlers) this.#lost();
    this.#events.closed(this);
  };
}
