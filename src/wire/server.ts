import type { Socket } from 'node:net';
import { asRefusal, Refusal } from '../errors.ts';
import type { RequestHead } from '../types.ts';
import { IncomingBody, type Valve } from './body.ts';
import { CR, LF } from './chars.ts';
import { type ExchangeOwner, Http1Exchange } from './exchange.ts';
import { fault } from './fault.ts';
import { checkPartialHead, headLength, parseRequestHead, unreadableHead } from './head.ts';
import { LINGER_BYTES, LINGER_MS, type WireLimits } from './limits.ts';
import type { Connection, ServerHandlers } from './message.ts';
import { Progress } from './progress.ts';
import { type Arriving, arriveSoon, leaveNow } from './turn.ts';

export type { Exchange, ServerHandlers } from './message.ts';
export { WIRE_LIMITS, type WireLimits } from './limits.ts';

const NOTHING: Buffer = Buffer.alloc(0);

/** The client's leg: requests of one connection (RFC 9112), in order. Its socket has `allowHalfOpen: false`. */
export class ServerConnection implements Connection, ExchangeOwner, Arriving, Valve {
  readonly socket: Socket;
  readonly #limits: WireLimits;
  readonly #handlers: ServerHandlers;
  readonly #isProxy: boolean;
  readonly #progress = new Progress();
  #exchange: Http1Exchange | null = null;
  #body: IncomingBody | null = null;
  /** Bytes received and not yet read. */
  #held: Buffer = NOTHING;
  /** performance.now() at the start of what `sweep` may time out: idleness, a head, lingering. */
  #since = performance.now();
  #reading = false;
  /** A part of the next head is here. */
  #hasBegun = false;
  #hasSkippedLine = false;
  #draining = false;
  /** The socket belongs to a tunnel: nothing here touches it any more. */
  #isDetached = false;
  /** What is still received is dropped: the answer under way, if any, is the last one. */
  #deaf = false;
  #dropped = 0;
  #error: Error | null = null;

  /** `isProxy`: the proxy's own connection, where CONNECT and absolute-form stand. */
  constructor(socket: Socket, limits: WireLimits, handlers: ServerHandlers, isProxy = false) {
    this.socket = socket;
    this.#limits = limits;
    this.#handlers = handlers;
    this.#isProxy = isProxy;
    socket.setNoDelay(true);
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    if (socket.isPaused()) socket.resume();
  }

  get closing(): boolean {
    const isEarly = this.#held.length > 0 && this.#exchange?.head.method === 'CONNECT';
    return isEarly || this.#draining || this.#deaf;
  }

  /** Gives the socket up, paused, for a tunnel. Returns the bytes received behind the CONNECT's head. */
  detach(): Buffer {
    this.socket.off('error', this.#onError);
    this.socket.off('close', this.#onClose);
    this.#isDetached = true;
    return this.release();
  }

  release(): Buffer {
    const { socket } = this;
    socket.pause();
    socket.off('data', this.#onData);
    socket.off('drain', this.#onDrain);
    socket.off('end', this.#onEnd);
    return this.#held;
  }

  /** Ends the connection behind the exchange under way; at once if there is none. */
  drain(): void {
    this.arrived();
    this.#draining = true;
    this.#exchange?.switched?.drain();
    if (!this.#exchange && !this.#isDetached) this.#close();
  }

  destroy(): void {
    this.#exchange?.switched?.destroy();
    if (!this.#isDetached) this.socket.destroy();
  }

  /** Enforces the time limits; called about twice a second. `now`: performance.now(). */
  sweep(now: number): void {
    if (this.#isDetached) return;
    const waited = now - this.#since;
    const x = this.#exchange;
    if (x?.switched) return x.switched.sweep(now, this.#limits);
    if (this.#deaf) this.#sweepClosing(now, waited);
    else if (x) this.#sweepExchange(x, now);
    else if (this.#held.length === 0 && waited > this.#limits.idleMs) this.#close();
    else if (this.#held.length > 0 && waited > this.#limits.headMs)
      this.#fail(new Refusal('request_timeout'));
  }

  #sweepExchange(x: Http1Exchange, now: number): void {
    const isDue = (!x.received && !this.socket.isPaused()) || this.socket.writableLength > 0;
    const stalled = this.#progress.stalledFor(this.socket, isDue, now);
    if (stalled > this.#limits.bodyIdleMs) this.#fail(new Refusal('request_timeout'));
  }

  #sweepClosing(now: number, waited: number): void {
    const isDue = this.socket.writableLength > 0;
    const stalled = this.#progress.stalledFor(this.socket, isDue, now);
    const isAnswering = this.#exchange?.responded === true && !this.#exchange.done;
    if (stalled > this.#limits.bodyIdleMs || (!isDue && !isAnswering && waited > LINGER_MS)) this.destroy();
  }

  // ---- in ------------------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Buffer): void => {
    if (this.#deaf) {
      this.#dropped += chunk.length;
      if (this.#dropped > LINGER_BYTES) this.socket.pause();
      return;
    }
    const isFirst = this.#held.length === 0 && !this.#exchange;
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (isFirst) arriveSoon(this);
    else this.#read();
  };

  arrived(): void {
    if (!this.socket.destroyed) this.#read();
  }

  /** Reads what is held, message by message; a loop, so that pipelined requests do not nest. */
  #read(): void {
    if (this.#reading) return;
    this.#reading = true;
    try {
      while (this.#held.length > 0 && !this.#deaf && this.#readPart());
    } catch (thrown) {
      this.#fail(thrown);
    } finally {
      this.#reading = false;
    }
  }

  /** False: nothing more can be read now. */
  #readPart(): boolean {
    if (!this.#exchange) return this.#readHead();
    if (!this.#body || this.#body.complete) {
      this.socket.pause();
      return false;
    }
    this.#readBody(this.#exchange, this.#body);
    return true;
  }

  #readHead(): boolean {
    if (this.#held[0] === CR && !this.#hasSkippedLine) return this.#skipLine();
    const length = headLength(this.#held);
    if (length < 0 || length > this.#limits.head) return this.#awaitHead();
    const bytes = length === this.#held.length ? this.#held : this.#held.subarray(0, length);
    const head = parseRequestHead(bytes, this.#limits, this.#isProxy);
    this.#held = length === this.#held.length ? NOTHING : this.#held.subarray(length);
    this.#start(head);
    return true;
  }

  #start(head: RequestHead): void {
    const { length } = head;
    const body = length === 0 ? null : new IncomingBody(length, 'malformed_request', this.#limits, this);
    const x = new Http1Exchange(this, head, body);
    this.#exchange = x;
    this.#body = body;
    this.#hasBegun = false;
    this.#hasSkippedLine = false;
    this.#progress.reset();
    this.#unpause();
    try {
      if (body && this.#held.length > 0) this.#readBody(x, body);
    } finally {
      // Also for a body that is broken from the start: what is thrown then aborts the request.
      this.#handlers.request(x);
    }
  }

  /** One empty line before a request is let pass (RFC 9112, section 2.2). */
  #skipLine(): boolean {
    if (this.#held.length < 2) return this.#awaitHead();
    if (this.#held[1] !== LF) throw fault('malformed_request', 'A bare CR before the request line');
    this.#held = this.#held.subarray(2);
    this.#hasSkippedLine = true;
    return true;
  }

  #awaitHead(): false {
    checkPartialHead(this.#held, this.#limits);
    if (!this.#hasBegun) this.#since = performance.now();
    this.#hasBegun = true;
    this.#unpause();
    return false;
  }

  #readBody(x: Http1Exchange, body: IncomingBody): void {
    const bytes = this.#held;
    this.#held = NOTHING;
    const end = body.feed(bytes, 0);
    x.bytesIn += end;
    if (end < bytes.length) this.#held = bytes.subarray(end);
    // Only a socket that is read tells that the client went away.
    else if (body.complete) this.#unpause();
  }

  // ---- the socket's flow ---------------------------------------------------------------------------------------

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    if (this.#held.length === 0) this.#unpause();
  }

  #unpause(): void {
    if (this.socket.isPaused()) this.socket.resume();
  }

  // ---- out -----------------------------------------------------------------------------------------------------

  answered(x: Http1Exchange): void {
    if (x.opensTunnel) return;
    if (x.closes || this.closing) return this.#close();
    this.#exchange = null;
    this.#body = null;
    this.#since = performance.now();
    if (this.#held.length > 0) this.#read();
    else this.#unpause();
  }

  /** Ends our side and goes on reading for a while, so that the client can read the answer. */
  #close(): void {
    this.#stopReading();
    leaveNow();
    this.socket.end();
  }

  #stopReading(): void {
    this.#deaf = true;
    this.#held = NOTHING;
    this.#since = performance.now();
    this.#unpause();
  }

  /** The client's fault, or ours: what can still be answered is, and nothing more is read. */
  #fail(thrown: unknown): void {
    const refusal = asRefusal(thrown);
    const x = this.#exchange;
    const unread = this.#held;
    this.#stopReading();
    if (!x) {
      const unreadable = new Http1Exchange(this, unreadableHead(unread), null);
      this.#exchange = unreadable;
      this.#handlers.malformed(unreadable, refusal);
    } else if (x.responded) {
      x.abort(refusal, true);
      this.destroy();
    } else {
      x.abort(refusal, false);
    }
  }

  readonly #onDrain = (): void => {
    this.#exchange?.drained();
  };

  readonly #onEnd = (): void => {
    this.arrived();
    if (!this.#exchange || this.#exchange.done) return;
    this.#leave();
    this.destroy();
  };

  readonly #onError = (error: Error): void => {
    this.#error = error;
  };

  readonly #onClose = (): void => {
    this.#leave();
    this.#handlers.closed();
  };

  #leave(): void {
    if (!this.#exchange || this.#exchange.done) return;
    this.#exchange.abort(this.#error ?? new Error('the client closed the connection'), true);
  }
}
