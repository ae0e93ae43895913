import { performance } from 'node:perf_hooks';
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { Socket } from 'node:net';
import { asRefusal, Refusal } from '../../errors.ts';
import type { RawHeaders, RequestHead } from '../../types.ts';
import { unreadableHead } from '../head.ts';
import type { WireLimits } from '../limits.ts';
import type { Connection, ServerHandlers } from '../message.ts';
import { keepCalm } from './calm.ts';
import { Http2Exchange } from './exchange.ts';
import { requestHead, unreadableBytes } from './head.ts';
import { UnseenStreams } from './unseen.ts';

/** Streams under way on one connection. */
const MAX_STREAMS = 100;
/** Streams that a client may reset at once, and per second (CVE-2023-44487). */
const RESET_BURST = 200;
const RESET_RATE = 50;
/** Frames that are wrong, streams with a head that HTTP/2 forbids among them. */
const MAX_INVALID = 100;
/** MB of heads, and of what waits to be sent, on one connection. */
const MAX_MEMORY_MB = 10;
/** Bytes that a client may send on one stream before somebody reads them. */
const WINDOW = 65_536;

/** The client's leg in HTTP/2 (RFC 9113): each stream is one exchange. */
export class Http2ServerConnection implements Connection {
  readonly #session: ServerHttp2Session;
  readonly #limits: WireLimits;
  readonly #handlers: ServerHandlers;
  readonly #unseen: UnseenStreams;
  readonly #exchanges = new Set<Http2Exchange>();
  /** performance.now() when the last stream ended. */
  #idleSince = performance.now();

  /** `socket`: TLS, with `h2` agreed on. */
  constructor(socket: Socket, limits: WireLimits, handlers: ServerHandlers) {
    this.#limits = limits;
    this.#handlers = handlers;
    const session = performServerHandshake(socket, optionsOf(limits));
    this.#session = session;
    this.#unseen = new UnseenStreams(session, handlers, MAX_INVALID);
    keepCalm(session, socket);
    // Before the session hears of it, and ends.
    socket.prependListener('close', () => this.#unseen.look(true));
    session.on('stream', (stream, _headers, flags, raw) => this.#begin(stream, flags, raw));
    // Faults of a client are its own; 'close' follows each.
    session.on('error', () => {});
    session.on('close', () => handlers.closed());
  }

  #begin(stream: ServerHttp2Stream, flags: number, raw: RawHeaders): void {
    this.#unseen.seen(stream.id ?? 0);
    stream.on('error', () => {});
    const isEnd = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    let head: RequestHead;
    let refusal: Refusal | null = null;
    try {
      head = requestHead(raw, isEnd, this.#limits);
    } catch (thrown) {
      refusal = asRefusal(thrown);
      head = unreadableHead(unreadableBytes(raw));
    }
    const x = new Http2Exchange(stream, head, raw, isEnd, this.#limits);
    this.#exchanges.add(x);
    stream.on('close', () => {
      this.#exchanges.delete(x);
      this.#idleSince = performance.now();
    });
    if (refusal) this.#handlers.malformed(x, refusal);
    else this.#handlers.request(x);
  }

  /** Streams under way. */
  get streams(): number {
    return this.#exchanges.size;
  }

  sweep(now: number): void {
    this.#unseen.look();
    for (const x of this.#exchanges) {
      if (x.stalledFor(now) <= this.#limits.bodyIdleMs) continue;
      if (x.responded) x.reset(constants.NGHTTP2_CANCEL);
      else x.abort(new Refusal('request_timeout'), false);
    }
    if (this.#exchanges.size === 0 && now - this.#idleSince > this.#limits.idleMs) this.#session.close();
  }

  drain(): void {
    this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }
}

function optionsOf(limits: WireLimits): ServerOptions {
  return {
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      initialWindowSize: WINDOW,
      // Twice, so that a head that is a little too large can be answered.
      maxHeaderListSize: 2 * limits.head,
      enableConnectProtocol: false,
    },
    maxHeaderListPairs: 2 * limits.headers + 8,
    streamResetBurst: RESET_BURST,
    streamResetRate: RESET_RATE,
    maxSessionInvalidFrames: MAX_INVALID,
    maxSessionMemory: MAX_MEMORY_MB,
    strictSingleValueFields: false,
  };
}
