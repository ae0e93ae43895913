import { performance } from 'node:perf_hooks';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type SecureClientSessionOptions,
  type ServerSessionOptions,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { RawHeaders, Sink } from '../../types.ts';
import { type ClientHandlers, NONE } from '../client.ts';
import { type ClientLimits, LINGER_MS, WIRE_LIMITS } from '../limits.ts';
import { keepCalm } from './calm.ts';
import { headOf } from './fields.ts';
import { Request, type RequestOwner } from './request.ts';
import { Crowd, replaceTables } from './tables.ts';
import { PARTING_MS, Vigil } from './vigil.ts';

/** A request head in HTTP/2's terms (RFC 9113, section 8.3.1): holds the credentials. */
export interface Fields {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  /** Names in any case; no Host. */
  readonly headers: RawHeaders;
  /** Names, pseudo-header fields too, whose values no intermediary may index. */
  readonly sensitive: readonly string[];
}

/** What a connection tells its owner. */
export interface Http2ClientEvents {
  /** The connection has ended. */
  closed(c: Http2ClientConnection): void;
}

/** Streams under way before the peer has told how many it takes (RFC 9113, section 6.5.2). */
const FIRST_STREAMS = 100;
const MAX_STREAMS = 250;
/** ms without a byte, requests under way, until a PING is sent. */
const SILENT_MS = 30_000;
/** ms for the peer's first SETTINGS, which it sends before anything else (RFC 9113, section 3.4). */
const SETTLE_MS = 1000;
/** Bytes that an upstream may send before the client has read them: of one stream, of all. */
const WINDOW = 128 * 1024;
const CONNECTION_WINDOW = 1024 * 1024;

/** The upstream's leg in HTTP/2 (RFC 9113): many requests at a time on one connection. The socket is secured already. */
export class Http2ClientConnection implements RequestOwner {
  readonly #session: ClientHttp2Session;
  readonly #socket: Socket;
  readonly #limits: ClientLimits;
  readonly #vigil: Vigil;
  readonly #requests = new Crowd<Request>();
  #begun = 0;
  #maxStreams = FIRST_STREAMS;
  #isRetired = false;
  /** Settles when the peer has told how many streams it takes, or has had time to. */
  readonly settled: Promise<void>;
  /** performance.now() when the last request ended. */
  #idleSince = performance.now();
  /** performance.now() when a sweep found it over. */
  #overSince: number | undefined;

  constructor(socket: Socket, limits: ClientLimits, events: Http2ClientEvents) {
    this.#socket = socket;
    this.#limits = limits;
    const session = connect('https://upstream.invalid', optionsOf(limits, socket));
    this.#session = session;
    replaceTables(session);
    this.#vigil = new Vigil(session, socket);
    keepCalm(session, socket, WIRE_LIMITS.http2);
    session.once('connect', () => {
      if (!session.destroyed) session.setLocalWindowSize(CONNECTION_WINDOW);
    });
    session.on('error', () => {});
    this.settled = new Promise(resolve => {
      const timer = setTimeout(resolve, SETTLE_MS);
      const settle = (): void => {
        clearTimeout(timer);
        resolve();
      };
      session.once('remoteSettings', settle);
      session.once('close', settle);
    });
    session.on('remoteSettings', ({ maxConcurrentStreams = MAX_STREAMS }) => {
      this.#maxStreams = Math.min(maxConcurrentStreams, MAX_STREAMS);
    });
    session.on('goaway', () => (this.#isRetired = true));
    session.on('close', () => events.closed(this));
  }

  /** Requests that were begun on this connection; > 0: it is a reused one. */
  get requests(): number {
    return this.#begun;
  }

  /** It takes another request now. */
  get isOpen(): boolean {
    if (this.#isRetired || this.#session.closed || this.#session.destroyed) return false;
    return this.#requests.size < this.#maxStreams;
  }

  /** It takes a WebSocket, too (RFC 8441, section 3); known once `settled`. */
  get carriesWebSocket(): boolean {
    return this.isOpen && this.#session.remoteSettings?.enableConnectProtocol === true;
  }

  /** ms without a request; 0 as long as there is one. `now`: performance.now(). */
  idleFor(now: number): number {
    return this.#requests.size > 0 ? 0 : now - this.#idleSince;
  }

  /**
   * Begins a request. `length`: body bytes, CHUNKED (not known), or NONE. `isHandshake`: a GET for a WebSocket, which
   * is sent as the extended CONNECT that says the same (RFC 8441, section 4).
   */
  send(fields: Fields, length: number, handlers: ClientHandlers, isHandshake = false): Sink {
    const { authority, path, headers, sensitive } = fields;
    const method = isHandshake ? 'CONNECT' : fields.method;
    const protocol = isHandshake ? [':protocol', 'websocket'] : [];
    const pseudo = [
      ':method',
      method,
      ...protocol,
      ':scheme',
      'https',
      ':authority',
      authority,
      ':path',
      path,
    ];
    const framed = length >= 0 ? [...headers, 'content-length', `${length}`] : headers;
    const head = headOf(pseudo, framed, sensitive);
    const endStream = length === NONE && !isHandshake;
    const stream: ClientHttp2Stream = this.#session.request(head.list, { endStream });
    const request = new Request(stream, method, length, this.#limits, handlers, this);
    this.#begun++;
    this.#requests.add(request);
    return request;
  }

  /** The request's call: its stream is closed. */
  over(request: Request): void {
    this.#requests.delete(request);
    this.#idleSince = performance.now();
    if (this.#isRetired) this.close();
  }

  /** Nothing is held: node:http2 sends at the end of the event loop's turn. */
  flush(): void {}

  /** Gives up the request that `sink` was returned for; nothing if it is over. */
  cancel(sink: Sink): void {
    if (sink instanceof Request) sink.cancel();
  }

  /** Enforces the time limits; called about twice a second. `now`: performance.now(). */
  sweep(now: number): void {
    if (this.#lingers(now)) {
      this.#socket.destroy();
      return;
    }
    // node:http2 does not read while a write is under way: silence proves less then.
    const isSending = [...this.#requests].some(request => request.isSending);
    const silentMs = this.#session.closed && !isSending ? PARTING_MS : SILENT_MS;
    if (this.#vigil.isVain(now, this.#requests.size > 0, silentMs))
      this.#session.destroy(new Error('the upstream gives no sign of life'));
    for (const request of this.#requests) request.sweep(now);
  }

  /** It is over, but the peer takes nothing, or never closes its side: node:http2 would wait for that for ever. */
  #lingers(now: number): boolean {
    const isOver = this.#session.closed && this.#requests.size === 0;
    if (!isOver && !this.#session.destroyed) return false;
    this.#overSince ??= now;
    return now - this.#overSince > (this.#socket.writableFinished ? LINGER_MS : this.#limits.bodyIdleMs);
  }

  /**
   * Lets requests under way finish; takes no other. The GOAWAY comes behind them: it would overtake a request that was
   * begun a moment ago, and a peer that says goodbye in turn, as node:http2 does, refuses that one.
   */
  close(): void {
    this.#isRetired = true;
    if (this.#requests.size === 0) this.#session.close();
  }
}

type Options = SecureClientSessionOptions & Pick<ServerSessionOptions, 'strictSingleValueFields'>;

function optionsOf(limits: ClientLimits, socket: Socket): Options {
  return {
    createConnection: () => socket,
    settings: {
      enablePush: false,
      initialWindowSize: WINDOW,
      maxHeaderListSize: 2 * limits.head,
    },
    maxHeaderListPairs: limits.headers + 8,
    maxReservedRemoteStreams: 0,
    strictSingleValueFields: false,
  };
}
