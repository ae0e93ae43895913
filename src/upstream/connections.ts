import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Refusal } from '../errors.ts';
import { ClientConnection } from '../wire/client.ts';
import { Http2ClientConnection } from '../wire/h2/client.ts';
import type { ClientLimits } from '../wire/limits.ts';

export interface PoolLimits extends ClientLimits {
  /** For which a connection waits for its next request, ms. */
  readonly idleMs: number;
  readonly maxIdlePerOrigin: number;
  readonly maxPerOrigin: number;
}

export type UpstreamConnection = ClientConnection | Http2ClientConnection;

interface Idle {
  readonly connection: ClientConnection;
  /** performance.now() */
  readonly since: number;
}

/** The connections to one origin. */
export class Pool {
  readonly #limits: PoolLimits;
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

  constructor(limits: PoolLimits) {
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

  /** Keeps nothing from now on; what waits now is closed by `closeIdle`. */
  close(): void {
    this.#closed = true;
    for (const shared of this.#shared) shared.close();
  }

  /** Closes one connection that waits; false: none does. */
  closeIdle(): boolean {
    const idle = this.#idle.pop();
    idle?.connection.destroy();
    return idle !== undefined;
  }
}
