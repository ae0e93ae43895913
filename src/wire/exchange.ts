import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import { fieldLines } from '../fields.ts';
import { CHUNKED, type RawHeaders, type RequestHead, type Sink, type Source, UNTIL_CLOSE } from '../types.ts';
import type { IncomingBody } from './body.ts';
import type { Answer, Carrier, Exchange, Switched } from './message.ts';
import { began, ended, leaveNow } from './turn.ts';
import { BODYLESS, MessageWriter, type WriterOwner } from './writer.ts';

/** What an exchange asks of its connection. */
export interface ExchangeOwner {
  readonly socket: Socket;
  /** Gives the socket up, paused, but for its errors and its end. Returns the bytes received behind the head. */
  release(): Buffer;
  /** No other request is wanted on this connection; bytes behind a CONNECT, meant for its tunnel, are none. */
  readonly closing: boolean;
  /** The answer is complete. */
  answered(x: Http1Exchange): void;
  /** Breaks the connection: the answer cannot be completed. */
  destroy(): void;
}

/** A request without content. */
const NOTHING = Buffer.alloc(0);
const NO_BODY: Source = { pipe: sink => sink.end([]), take: () => NOTHING };

/** One request of a connection, and its answer. */
export class Http1Exchange implements Exchange, WriterOwner {
  readonly head: RequestHead;
  readonly body: Source;
  readonly startedAt: number = performance.now();
  bytesIn: number;
  onAbort: ((cause: Error) => void) | null = null;
  /** The connection closes behind the answer. */
  closes = false;
  /** The answer is a 2xx to CONNECT: the tunnel begins behind its head (RFC 9110, section 9.3.6). */
  opensTunnel = false;
  switched: Switched | null = null;
  readonly #owner: ExchangeOwner;
  #interimBytes = 0;
  #answer: MessageWriter | null = null;
  #done = false;
  #aborted = false;
  readonly #incoming: IncomingBody | null;

  constructor(owner: ExchangeOwner, head: RequestHead, incoming: IncomingBody | null) {
    began();
    this.#owner = owner;
    this.head = head;
    this.#incoming = incoming;
    this.body = incoming ?? NO_BODY;
    this.bytesIn = head.bytes.length;
  }

  get isHttp2(): boolean {
    return false;
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

  /** Sends a 1xx answer; HTTP/1.0 knows none. */
  informational(status: number, reason: string, headers: RawHeaders): void {
    if (this.#done || this.#answer || this.head.minor === 0) return;
    const text = `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(headers)}\r\n`;
    this.#interimBytes += text.length;
    leaveNow();
    this.#owner.socket.write(text, 'latin1');
  }

  switch(headers: RawHeaders): { socket: Carrier; early: Buffer } {
    const { socket } = this.#owner;
    const early = this.#owner.release();
    const text = `HTTP/1.1 101 Switching Protocols\r\n${fieldLines(headers)}\r\n`;
    this.#interimBytes += text.length;
    this.#end();
    leaveNow();
    socket.write(text, 'latin1');
    return { socket, early };
  }

  respond(answer: Answer): Sink {
    if (this.#answer) throw new Error('a request is answered once');
    this.opensTunnel = this.head.method === 'CONNECT' && answer.status >= 200 && answer.status < 300;
    const length = this.#framedLength(answer);
    this.closes =
      answer.close === true ||
      this.#owner.closing ||
      length === UNTIL_CLOSE ||
      !this.head.keepAlive ||
      !this.received;
    const head =
      statusLine(answer.status, answer.reason) +
      fieldLines(answer.headers, answer.source) +
      this.#framing(answer, length);
    this.#answer = new MessageWriter(this.#owner.socket, this, head, length);
    if (this.#done) this.#answer.close();
    return this.#answer;
  }

  #framedLength({ status, length }: Answer): number {
    const { method, minor } = this.head;
    if (method === 'HEAD' || status === 204 || status === 304 || this.opensTunnel) return BODYLESS;
    return length ?? (minor === 1 ? CHUNKED : UNTIL_CLOSE);
  }

  /** The framing fields and the empty line. */
  #framing({ status, length }: Answer, framed: number): string {
    if (this.opensTunnel) return '\r\n';
    const connection = this.closes
      ? 'connection: close\r\n'
      : this.head.minor === 0
        ? 'connection: keep-alive\r\n'
        : '';
    if (framed === CHUNKED) return `transfer-encoding: chunked\r\n${connection}\r\n`;
    if (length === undefined || status === 204) return `${connection}\r\n`;
    return `content-length: ${length}\r\n${connection}\r\n`;
  }

  flush(): void {
    this.#answer?.flush();
  }

  /** The socket takes bytes again. */
  drained(): void {
    this.#answer?.onDrain?.();
  }

  /** The client's fault or absence. `isOver`: it can no longer be answered. */
  abort(cause: Error, isOver: boolean): void {
    if (isOver) {
      this.#end();
      this.#answer?.close();
    }
    if (this.#aborted) return;
    this.#aborted = true;
    this.onAbort?.(cause);
    this.#incoming?.fail(cause);
  }

  #end(): void {
    if (!this.#done) ended();
    this.#done = true;
  }

  written(): void {
    this.#end();
    this.#incoming?.fail(new Error('the request was answered before its body was complete'));
    this.#owner.answered(this);
  }

  cut(cause: Error): void {
    this.#end();
    this.#incoming?.fail(cause);
    this.#owner.destroy();
  }
}

let last = { status: 0, reason: '', line: '' };

/** Many answers in a row have the same one. */
function statusLine(status: number, reason: string): string {
  if (status !== last.status || reason !== last.reason)
    last = { status, reason, line: `HTTP/1.1 ${status} ${reason}\r\n` };
  return last.line;
}
