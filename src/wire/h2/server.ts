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
import { LINGER_MS, type WireLimits } from '../limits.ts';
import type { Connection, ServerHandlers } from '../message.ts';
import { Progress } from '../progress.ts';
import { keepCalm } from './calm.ts';
import { type ExchangeOwner, Http2Exchange } from './exchange.ts';
import { requestHead, unreadableBytes } from './head.ts';
import { Crowd, replaceTables } from './tables.ts';
import { UnseenStreams } from './unseen.ts';
import { PARTING_MS, Vigil } from './vigil.ts';

const MIB = 1024 * 1024;

/** The client's leg in HTTP/2 (RFC 9113): each stream is one exchange. */
export class Http2ServerConnection implements Connection, ExchangeOwner {
  readonly #session: ServerHttp2Session;
  readonly #socket: Socket;
  readonly #limits: WireLimits;
  readonly #handlers: ServerHandlers;
  readonly #unseen: UnseenStreams;
  readonly #exchanges = new Crowd<Http2Exchange>();
  /** performance.now() when the last stream ended. */
  #idleSince = performance.now();
  readonly #progress = new Progress();
  readonly #vigil: Vigil;
  /** performance.now() when the session was first found over. */
  #overSince: number | undefined;

  /** `socket`: TLS, with `h2` agreed on. */
  constructor(socket: Socket, limits: WireLimits, handlers: ServerHandlers) {
    this.#socket = socket;
    this.#limits = limits;
    this.#handlers = handlers;
    const session = performServerHandshake(socket, optionsOf(limits));
    this.#session = session;
    replaceTables(session);
    this.#vigil = new Vigil(session, socket);
    // WebSocket (RFC 8441, section 3). In a second frame: a client that looks only at the first one before it opens a
    // WebSocket goes on in HTTP/1.1. Node's own does, and in HTTP/2 its process ends though the WebSocket is open.
    if (!session.destroyed) session.settings({ enableConnectProtocol: true });
    this.#unseen = new UnseenStreams(session, handlers, limits.http2.invalidFrames);
    keepCalm(session, socket, limits.http2);
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
    const x = new Http2Exchange(stream, head, raw, isEnd, this.#limits, this);
    this.#exchanges.add(x);
    if (refusal) this.#handlers.malformed(x, refusal);
    else this.#handlers.request(x);
  }

  /** The exchange's call: its stream is closed. */
  over(x: Http2Exchange): void {
    this.#exchanges.delete(x);
    this.#idleSince = performance.now();
  }

  /** Streams under way. */
  get streams(): number {
    return this.#exchanges.size;
  }

  sweep(now: number): void {
    this.#unseen.look();
    if (this.#isStuck(now)) {
      this.#socket.destroy();
      return;
    }
    for (const x of this.#exchanges) {
      if (x.switched) x.switched.sweep(now, this.#limits);
      if (x.switched || x.stalledFor(now) <= this.#limits.bodyIdleMs) continue;
      if (x.responded) x.reset(constants.NGHTTP2_CANCEL);
      else x.abort(new Refusal('request_timeout'), false);
    }
    if (this.#exchanges.size === 0 && now - this.#idleSince > this.#limits.idleMs) this.#session.close();
  }

  /**
   * The client takes nothing, or keeps a connection that has ended. Its end is not heard as long as a write is under
   * way: node:http2 does not read then, and not even a reset leaves.
   */
  #isStuck(now: number): boolean {
    const { bodyIdleMs } = this.#limits;
    if (this.#session.destroyed) {
      this.#overSince ??= now;
      return now - this.#overSince > (this.#socket.writableFinished ? LINGER_MS : bodyIdleMs);
    }
    const isParting = this.#session.closed && this.#exchanges.size > 0;
    const isSending = [...this.#exchanges].some(x => x.isSending);
    if (this.#vigil.isVain(now, isParting, isSending ? bodyIdleMs : PARTING_MS)) return true;
    const isWaiting = (this.#session.state.outboundQueueSize ?? 0) > 0;
    const isDue = isWaiting || [...this.#exchanges].some(x => x.isReset);
    return this.#progress.stalledFor(this.#socket, isDue, now) > bodyIdleMs;
  }

  drain(): void {
    this.#session.close();
    for (const x of this.#exchanges) x.switched?.drain();
  }

  destroy(): void {
    for (const x of this.#exchanges) x.switched?.destroy();
    this.#session.destroy();
  }
}

function optionsOf(limits: WireLimits): ServerOptions {
  const { streams, windowBytes, memoryBytes, resets, resetsPerSecond, invalidFrames } = limits.http2;
  return {
    settings: {
      maxConcurrentStreams: streams,
      initialWindowSize: windowBytes,
      // Twice, so that a head that is a little too large can be answered.
      maxHeaderListSize: 2 * limits.head,
    },
    maxHeaderListPairs: 2 * limits.headers + 8,
    streamResetBurst: resets,
    streamResetRate: resetsPerSecond,
    maxSessionInvalidFrames: invalidFrames,
    maxSessionMemory: Math.max(1, Math.floor(memoryBytes / MIB)),
    strictSingleValueFields: false,
  };
}
