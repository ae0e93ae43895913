import { performance } from 'node:perf_hooks';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { asRefusal, Refusal } from '../errors.ts';
import type { Channel } from '../flow/target.ts';
import type { Peer } from '../identity/peer.ts';
import { authenticate, SessionEnded } from '../identity/index.ts';
import { parseAuthority } from '../policy/host.ts';
import type { Session } from '../types.ts';
import { get } from '../fields.ts';
import { type Exchange, ServerConnection } from '../wire/server.ts';
import { openTunnel } from './connect.ts';
import { isOwn, serveOwn } from './own-host.ts';
import type { ProxyRooms } from './rooms.ts';
import { TlsDoor } from './tls-door.ts';
import { type Tunnel, Tunnels } from './tunnels.ts';

const SWEEP_MS = 500;
/** Connections that wait to be accepted. */
const BACKLOG = 4096;
const ESTABLISHED = { status: 200, reason: 'Connection Established', headers: [], length: undefined };

/** The listener that sandboxes use: CONNECT, and absolute-form requests for http://. */
export class ProxyListener {
  readonly #rooms: ProxyRooms;
  readonly #server: Server;
  readonly #adopted = new Set<Server>();
  readonly #tunnels = new Tunnels();
  readonly #outer = new Set<ServerConnection>();
  readonly #door: TlsDoor | undefined;
  readonly #sweeper: NodeJS.Timeout;
  #draining = false;

  /** Throws an Error for the operator if a file of `rooms.tls` cannot be used. */
  constructor(rooms: ProxyRooms) {
    this.#rooms = rooms;
    this.#door = rooms.tls && new TlsDoor(rooms.tls, (socket, peer) => this.#accept(socket, peer));
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, socket => {
      if (this.#door) this.#door.enter(socket);
      else this.#accept(socket);
    });
    rooms.sessions.onEnd(session => this.#tunnels.endSession(session.session));
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** Settles when connections are accepted; rejects with the system's error. */
  listen(where: { port: number; host: string; fd?: number }): Promise<AddressInfo> {
    // A socket that listens already is named by its descriptor alone.
    const { fd } = where;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ ...(fd === undefined ? where : { fd }), backlog: BACKLOG }, () => {
        this.#server.off('error', reject);
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  /** Takes the connections of a listener that another process opened, such as one in a sandbox's network namespace. */
  adopt(listener: Server): void {
    this.#adopted.add(listener);
    listener.on('connection', (socket: Socket) => {
      socket.setNoDelay(true);
      this.#accept(socket);
    });
  }

  get openTunnels(): number {
    return this.#tunnels.size;
  }

  /** No new connection, and after `settleMs` no new request; those under way are finished, for at most `graceMs`. */
  async drain(graceMs: number, settleMs = 0): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()));
    // Who has connected just now has sent nothing yet, and could not tell the end of it from a refusal.
    if (settleMs > 0) await delay(settleMs);
    this.#draining = true;
    this.#door?.close();
    for (const listener of this.#adopted) listener.close();
    for (const connection of this.#outer) connection.drain();
    this.#tunnels.drain();
    const deadline = setTimeout(() => {
      for (const connection of this.#outer) connection.destroy();
      this.#tunnels.destroy();
    }, graceMs);
    await closed;
    clearTimeout(deadline);
    clearInterval(this.#sweeper);
  }

  /** `peer`: who it is, if the client has proved that already. */
  #accept(socket: Socket, peer?: Peer): void {
    // Errors of a client's socket are that client's own; 'close' follows each.
    socket.on('error', () => {});
    const connection: ServerConnection = new ServerConnection(
      socket,
      this.#rooms.limits,
      {
        request: x => this.#request(connection, x, peer),
        malformed: (x, refusal) => this.#refuse(x, undefined, refusal),
        closed: () => this.#outer.delete(connection),
      },
      true,
    );
    this.#outer.add(connection);
  }

  #request(connection: ServerConnection, x: Exchange, peer?: Peer): void {
    try {
      if (this.#draining) throw new Refusal('shutting_down');
      const { sessions, identities } = this.#rooms;
      const credential = get(x.head.headers, 'proxy-authorization');
      // A credential that is sent counts: a wrong one must not fall back on the connection's own.
      const who =
        credential === undefined && peer
          ? peer.session(sessions)
          : authenticate(credential, sessions, Date.now(), identities);
      if (who instanceof Promise) void this.#lookedUp(connection, x, who);
      else this.#serve(connection, x, who);
    } catch (thrown) {
      this.#refuse(x, endedOf(thrown), asRefusal(thrown));
    }
  }

  async #lookedUp(connection: ServerConnection, x: Exchange, looking: Promise<Session>): Promise<void> {
    try {
      const session = await looking;
      if (this.#draining) throw new Refusal('shutting_down');
      // Whoever left meanwhile is only written down.
      if (x.done) return this.#refuse(x, session, new Refusal('request_timeout'));
      this.#serve(connection, x, session);
    } catch (thrown) {
      this.#refuse(x, endedOf(thrown), asRefusal(thrown));
    }
  }

  #serve(connection: ServerConnection, x: Exchange, session: Session): void {
    try {
      if (x.head.method === 'CONNECT') this.#connect(connection, x, session);
      else this.#absolute(connection, x, session);
    } catch (thrown) {
      this.#refuse(x, session, asRefusal(thrown));
    }
  }

  #connect(connection: ServerConnection, x: Exchange, session: Session): void {
    const establish = (): Socket => {
      if (this.#draining) throw new Refusal('shutting_down');
      if (connection.closing)
        throw new Refusal('malformed_request', { message: 'Bytes before the answer to CONNECT' });
      this.#outer.delete(connection);
      connection.detach();
      x.respond(ESTABLISHED).end([]);
      x.flush();
      return connection.socket;
    };
    openTunnel(this.#rooms, this.#tunnels, { x, session, establish });
  }

  #absolute(connection: ServerConnection, x: Exchange, session: Session): void {
    const found = /^http:\/\/([^/?]*)(.*)$/s.exec(x.head.target);
    const authority = parseAuthority(found?.[1] ?? '', 80);
    if (!authority)
      throw new Refusal('malformed_request', {
        message: 'A proxy needs CONNECT, or a full http:// URL with a valid host',
      });
    this.#rooms.flow.requireNone(found?.[1] ?? '', session);
    const rest = found?.[2] ?? '';
    const originForm = rest.startsWith('/') ? rest : `/${rest}`;
    const channel: Channel = { session, scheme: 'http', ...authority };
    if (isOwn(channel)) return void serveOwn(this.#rooms, x, channel, originForm);
    // As long as it is under way it ends with its session, as a tunnel does.
    const request: Tunnel = {
      session: session.session,
      denied: false,
      sweep: () => {},
      drain: () => {},
      destroy: () => connection.destroy(),
    };
    this.#tunnels.add(request);
    void this.#rooms.flow.handle(x, channel, originForm).then(() => this.#tunnels.delete(request));
  }

  #refuse(x: Exchange, session: Session | undefined, refusal: Refusal): void {
    const { flow } = this.#rooms;
    const entry = flow.entry(x, session ? { session } : {});
    flow.refuse(x, entry, refusal);
  }

  #sweep(): void {
    const now = performance.now();
    for (const connection of this.#outer) connection.sweep(now);
    this.#tunnels.sweep(now);
    this.#rooms.sessions.sweep(Date.now());
    // What cannot be checked any more cannot go on either.
    if (this.#rooms.sessions.suspended) this.#tunnels.destroy();
  }
}

/** The session that a refusal is of, though it is over. */
const endedOf = (thrown: unknown): Session | undefined =>
  thrown instanceof SessionEnded ? thrown.session : undefined;
