import type { ClientHttp2Session } from 'node:http2';
import { openH2 } from '../support/h2.ts';
import { openTls, type Proxy } from '../support/raw-client.ts';
import type { Peer } from '../support/peer.ts';
import type { GateProcess } from './gate.ts';

/** Requests on one connection, and then it is a new one: a Peer keeps all that it received. */
const REQUESTS = 30;

interface Kept<T> {
  readonly connection: T;
  left: number;
}

/** One session, and the connections of its clients. */
export class Sandbox {
  readonly id: string;
  readonly proxy: Proxy;
  readonly ca: string;
  /** Variable → stub. */
  readonly stubs: Readonly<Record<string, string>>;
  /** When it is to be ended, performance.now(). */
  readonly endsAt: number;
  /** It was revoked, or left to expire: its requests may fail. */
  isOver = false;
  readonly #peers = new Map<string, Kept<Peer>>();
  readonly #sessions = new Map<string, Kept<ClientHttp2Session>>();

  private constructor(answer: Readonly<Record<string, unknown>>, ca: string, lifeMs: number) {
    const { port, username, password } = new URL(String(answer['proxy']));
    this.id = String(answer['id']);
    this.ca = ca;
    this.proxy = {
      port: Number(port),
      authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
    };
    this.stubs = answer['env'] as Record<string, string>;
    this.endsAt = performance.now() + lifeMs;
  }

  /** A session of the control plane's; undefined if it refused, with its status. */
  static async create(gate: GateProcess, ca: string, lifeMs: number): Promise<Sandbox | number> {
    const seconds = Math.ceil(lifeMs / 1000) + 30;
    const { status, json } = await gate.call('POST', '/v1/sessions', { ttl: `${seconds}s`, sub: 'soak' });
    return status === 201 ? new Sandbox(json, ca, lifeMs) : status;
  }

  /** A connection in HTTP/1.1 that is idle; `fresh`: a new one, which is the caller's to end. */
  async http1(host: string, fresh = false): Promise<Peer> {
    if (fresh) return openTls(this.proxy, this.ca, host);
    const kept = this.#peers.get(host);
    if (kept && kept.left-- > 0 && !kept.connection.socket.destroyed && !kept.connection.socket.readableEnded)
      return kept.connection;
    kept?.connection.cut();
    this.#peers.delete(host);
    const connection = await openTls(this.proxy, this.ca, host);
    this.#peers.set(host, { connection, left: REQUESTS });
    return connection;
  }

  /** After an answer that may be incomplete. */
  forget(peer: Peer): void {
    peer.cut();
    for (const [host, { connection }] of this.#peers) if (connection === peer) this.#peers.delete(host);
  }

  async http2(host: string): Promise<ClientHttp2Session> {
    const kept = this.#sessions.get(host);
    if (kept && kept.left-- > 0 && !kept.connection.closed && !kept.connection.destroyed)
      return kept.connection;
    kept?.connection.destroy();
    this.#sessions.delete(host);
    const connection = await openH2(this.proxy, this.ca, host);
    this.#sessions.set(host, { connection, left: REQUESTS });
    return connection;
  }

  close(): void {
    for (const { connection } of this.#peers.values()) connection.cut();
    for (const { connection } of this.#sessions.values()) connection.destroy();
    this.#peers.clear();
    this.#sessions.clear();
  }
}
