import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Refusal } from '../errors.ts';
import type { Cidr } from '../policy/address.ts';
import { ClientConnection } from '../wire/client.ts';
import { Http2ClientConnection } from '../wire/h2/client.ts';
import type { ClientLimits } from '../wire/limits.ts';
import { Dialer, type Origin } from './dial.ts';
import type { Endpoint } from './own.ts';
import { parentProxy } from './parent.ts';
import { type Lookup, type Override, Resolver } from './resolve.ts';
import { TlsClient } from './tls.ts';

export interface UpstreamLimits extends ClientLimits {
  /** For each of: name lookup, TCP, the parent's answer, TLS handshake; ms. */
  readonly connectMs: number;
  /** For which a connection waits for its next request, ms. */
  readonly idleMs: number;
  readonly maxIdlePerOrigin: number;
  readonly maxPerOrigin: number;
}

export interface UpstreamOptions {
  readonly resolve: ReadonlyMap<string, Override>;
  readonly allowPrivate: readonly Cidr[];
  /** Where this gate listens: never dialled, whatever else is permitted. */
  readonly own: () => readonly Endpoint[];
  readonly limits: UpstreamLimits;
  /** Paths of PEM files with roots to trust besides the system's. */
  readonly caFiles?: readonly string[];
  readonly proxy?: URL | undefined;
  readonly lookup?: Lookup;
}

const SWEEP_MS = 500;
/**
 * Protocols to offer to the origin of a client of HTTP/2, so that both legs are the same where that can be. A client of
 * HTTP/1.1 gets HTTP/1.1, which costs half, though the origin may prefer HTTP/2; and `websocket` is for one that no
 * connection in HTTP/2 takes.
 */
const ALPN = { http1: ['http/1.1'], http2: ['h2', 'http/1.1'], websocket: ['http/1.1'] } as const;
export type Wanted = keyof typeof ALPN;

export type UpstreamConnection = ClientConnection | Http2ClientConnection;

/** The connections to every upstream: dialled as judged, used again while they live. */
export class Upstream {
  readonly #limits: UpstreamLimits;
  readonly #dialer: Dialer;
  readonly #pools = new Map<string, Pool>();
  #sweeper: NodeJS.Timeout | undefined;
  #closed = false;

  /** Throws an Error for the operator if a CA file or `proxy` cannot be used. */
  constructor(options: UpstreamOptions) {
    const { limits, caFiles = [], proxy, lookup, resolve, allowPrivate, own } = options;
    const resolver = new Resolver({
      overrides: resolve,
      allowPrivate,
      own,
      lookup,
      lookupMs: limits.connectMs,
    });
    const tls = new TlsClient(caFiles, limits.connectMs);
    this.#limits = limits;
    this.#dialer = new Dialer(resolver, tls, proxy && parentProxy(proxy), limits.connectMs);
  }

  /**
   * The connection that was used last, or a new one. Rejects, or throws, with the Refusal that the sandbox is told.
   * A connection serves one `session` only: an upstream that answers one request twice cannot put the second answer
   * before another sandbox. `wanted`: what the client speaks.
   */
  acquire(
    origin: Origin,
    session = '',
    wanted: Wanted = 'http1',
  ): UpstreamConnection | Promise<UpstreamConnection> {
    const kind = wanted === 'http1' ? origin.scheme : wanted;
    const key = keyOf(kind, origin, session);
    const pool = this.#pools.get(key) ?? this.#addPool(key);
    return pool.take() ?? this.#open(pool, origin, wanted);
  }

  /**
   * A connection for a WebSocket: in HTTP/2 (RFC 8441) where one is open that takes it, or where the client speaks that,
   * or the origin nothing else; otherwise in HTTP/1.1. Rejects as `acquire`.
   */
  async acquireWebSocket(
    origin: Origin,
    session: string,
    wanted: 'http1' | 'http2',
  ): Promise<UpstreamConnection> {
    const open = ['http2', origin.scheme].map(kind => this.#pools.get(keyOf(kind, origin, session)));
    const known = open.map(pool => pool?.takeForWebSocket()).find(one => one !== undefined);
    const taken = known ?? (wanted === 'http2' ? await this.#ready(origin, session) : undefined);
    if (taken) return taken;
    try {
      return await this.acquire(origin, session, 'websocket');
    } catch (thrown) {
      const other = speaksOther(thrown) ? await this.#ready(origin, session) : undefined;
      if (other) return other;
      throw thrown;
    }
  }

  /** A connection in whatever version the origin prefers, if it takes a WebSocket. */
  async #ready(origin: Origin, session: string): Promise<UpstreamConnection | undefined> {
    const connection = await this.acquire(origin, session, 'http2');
    if (connection instanceof ClientConnection) return connection;
    await connection.settled;
    return connection.carriesWebSocket ? connection : undefined;
  }

  /** A connection for bytes that pass unread. */
  connectRaw(origin: Origin): Promise<Socket> {
    return this.#dialer.dialRaw(origin);
  }

  /** A connection for a request of the gate's own, which uses it once. */
  connect(origin: Origin): Promise<Socket> {
    return this.#dialer.dial(origin);
  }

  /** Ends what has waited too long; a timer of its own calls it. `now`: performance.now(). */
  sweep(now: number): void {
    for (const [key, pool] of this.#pools) {
      pool.sweep(now);
      if (pool.isEmpty) this.#pools.delete(key);
    }
    if (this.#pools.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  /** Lets requests under way finish; nothing is kept for later ones. */
  close(): void {
    this.#closed = true;
    for (const pool of this.#pools.values()) pool.close();
    this.sweep(performance.now());
  }

  #addPool(key: string): Pool {
    const pool = new Pool(this.#limits);
    if (this.#closed) pool.close();
    this.#pools.set(key, pool);
    this.#sweeper ??= setInterval(() => this.sweep(performance.now()), SWEEP_MS).unref();
    return pool;
  }

  async #open(pool: Pool, origin: Origin, wanted: Wanted): Promise<UpstreamConnection> {
    // Many requests share one connection, once it is there; so they wait for one that may turn out so.
    while (pool.opening) {
      await pool.opening; // oxlint-disable-line no-await-in-loop -- one after the other
      const shared = pool.take();
      if (shared) return shared;
    }
    pool.reserve();
    const dialled = this.#dial(pool, origin, wanted).then(
      socket => pool.add(socket),
      (thrown: unknown) => {
        pool.giveBack();
        throw thrown;
      },
    );
    if ((pool.isShared ?? wanted === 'http2') && !pool.opening) pool.await(dialled);
    return dialled;
  }

  /** An origin that speaks nothing but HTTP/2 gets it from a client of HTTP/1.1, too, and is asked for it at once then. */
  async #dial(pool: Pool, origin: Origin, wanted: Wanted): Promise<Socket> {
    const first = wanted === 'http1' && pool.isShared ? 'http2' : wanted;
    try {
      return await this.#dialer.dial(origin, ALPN[first]);
    } catch (thrown) {
      if (first !== 'http1' || !speaksOther(thrown)) throw thrown;
      return await this.#dialer.dial(origin, ALPN.http2);
    }
  }
}

function keyOf(kind: string, { host, port }: Origin, session: string): string {
  return `${kind}|${host}|${port}|${session}`;
}

/** Whether a server knows none of the protocols that it was offered (RFC 7301, section 3.2). */
function speaksOther(thrown: unknown): boolean {
  const cause = thrown instanceof Refusal ? (thrown.cause as NodeJS.ErrnoException | undefined) : undefined;
  return cause?.code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL';
}

interface Idle {
  readonly connection: ClientConnection;
  /** performance.now() */
  readonly since: number;
}

/** The connections to one origin. */
class Pool {
  readonly #limits: UpstreamLimits;
  readonly #idle: Idle[] = [];
  readonly #connections = new Set<UpstreamConnection>();
  /** Of the connections, those that take several requests at a time. */
  readonly #shared: Http2ClientConnection[] = [];
  /** Whether the origin was last found to speak HTTP/2; undefined: not asked yet. */
  isShared: boolean | undefined;
  /** Settles when the connection that others wait for is there; rejects like it. */
  opening: Promise<void> | null = null;
  #dialling = 0;
  #closed = false;

  constructor(limits: UpstreamLimits) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#dialling === 0;
  }

  /** Last in, first out: the connection least likely to have been closed by the other side. */
  take(): UpstreamConnection | undefined {
    for (let i = this.#shared.length - 1; i >= 0; i--) if (this.#shared[i]?.isOpen) return this.#shared[i];
    for (;;) {
      const connection = this.#idle.pop()?.connection;
      // Whether it ended a moment ago, and has not said so yet.
      if (!connection || (connection.socket.readable && connection.socket.writable)) return connection;
    }
  }

  /** An open connection that takes a WebSocket among its streams. */
  takeForWebSocket(): Http2ClientConnection | undefined {
    return this.#shared.find(one => one.carriesWebSocket);
  }

  /** Makes others wait for a connection, and for what it says of itself. */
  await(dialled: Promise<UpstreamConnection>): void {
    const opening = dialled.then(one => (one instanceof Http2ClientConnection ? one.settled : undefined));
    this.opening = opening;
    const over = (): void => void (this.opening = null);
    opening.then(over, over);
  }

  reserve(): void {
    if (this.#connections.size + this.#dialling >= this.#limits.maxPerOrigin) {
      throw new Refusal('rate_limited', { message: 'Too many connections to this host' });
    }
    this.#dialling++;
  }

  giveBack(): void {
    this.#dialling--;
  }

  /** In the place that was reserved. */
  add(socket: Socket): UpstreamConnection {
    this.#dialling--;
    if (socket.destroyed) throw new Refusal('upstream_unreachable');
    this.isShared = socket instanceof TLSSocket && socket.alpnProtocol === 'h2';
    const connection = this.isShared ? this.#share(socket) : new ClientConnection(socket, this.#limits, this);
    this.#connections.add(connection);
    return connection;
  }

  #share(socket: Socket): Http2ClientConnection {
    const connection = new Http2ClientConnection(socket, this.#limits, this);
    this.#shared.push(connection);
    return connection;
  }

  /** The connection's call: it can take another request. */
  free(connection: ClientConnection): void {
    if (this.#closed || this.#idle.length >= this.#limits.maxIdlePerOrigin) connection.destroy();
    else this.#idle.push({ connection, since: performance.now() });
  }

  /** The connection's call: it has ended. */
  closed(connection: UpstreamConnection): void {
    this.#connections.delete(connection);
    const shared = this.#shared.findIndex(one => one === connection);
    if (shared >= 0) this.#shared.splice(shared, 1);
    const at = this.#idle.findIndex(idle => idle.connection === connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  sweep(now: number): void {
    for (const connection of this.#connections) connection.sweep(now);
    // The oldest stand first.
    while (this.#idle[0] && now - this.#idle[0].since > this.#limits.idleMs)
      this.#idle.shift()?.connection.destroy();
    for (const shared of this.#shared) if (shared.idleFor(now) > this.#limits.idleMs) shared.close();
  }

  close(): void {
    this.#closed = true;
    for (const { connection } of this.#idle.splice(0)) connection.destroy();
    for (const shared of this.#shared) shared.close();
  }
}
