import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import { Refusal } from '../errors.ts';
import type { Cidr } from '../policy/address.ts';
import { ClientConnection } from '../wire/client.ts';
import { Pool, type PoolLimits, type UpstreamConnection } from './connections.ts';
import { Dialer, type Origin } from './dial.ts';
import type { Endpoint } from './own.ts';
import { parentProxy } from './parent.ts';
import { type Lookup, type Override, Resolver } from './resolve.ts';
import { TlsClient } from './tls.ts';

export interface UpstreamLimits extends PoolLimits {
  /** For each of: name lookup, TCP, the parent's answer, TLS handshake; ms. */
  readonly connectMs: number;
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
/** Connections that are closed in one turn of the event loop: each costs a quarter of a millisecond. */
const CLOSED_AT_A_TIME = 4;
/**
 * Protocols to offer to the origin of a client of HTTP/2, so that both legs are the same where that can be. A client of
 * HTTP/1.1 gets HTTP/1.1, which costs half, though the origin may prefer HTTP/2; and `websocket` is for one that no
 * connection in HTTP/2 takes.
 */
const ALPN = { http1: ['http/1.1'], http2: ['h2', 'http/1.1'], websocket: ['http/1.1'] } as const;
export type Wanted = keyof typeof ALPN;

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

  /** Lets requests under way finish; nothing is kept for later ones, though what is kept now may take some turns to close. */
  close(): void {
    this.#closed = true;
    for (const pool of this.#pools.values()) pool.close();
    this.#closeIdle();
  }

  #closeIdle(): void {
    let left = CLOSED_AT_A_TIME;
    for (const pool of this.#pools.values()) while (left > 0 && pool.closeIdle()) left--;
    if (left === 0) setImmediate(() => this.#closeIdle());
    else this.sweep(performance.now());
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
