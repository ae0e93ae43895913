import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import { Refusal } from '../errors.ts';
import type { Channel } from '../flow/target.ts';
import { interceptTls } from '../intercept/tunnel.ts';
import { Http2ServerConnection } from '../wire/h2/server.ts';
import type { Connection, Exchange } from '../wire/message.ts';
import { ServerConnection } from '../wire/server.ts';
import type { ProxyRooms } from './rooms.ts';
import type { Tunnel, Tunnels } from './tunnels.ts';

/** First byte of a TLS record that holds a handshake (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 0x16;

const TOO_MANY_STREAMS = new Refusal('rate_limited', {
  message: 'The session has too many requests under way',
});

/** A tunnel whose requests are read: TLS that ends here, or plain HTTP if that is what the client speaks. */
export class InterceptedTunnel implements Tunnel {
  readonly session: string;
  readonly denied: boolean;
  readonly #rooms: ProxyRooms;
  readonly #tunnels: Tunnels;
  readonly #socket: Socket;
  readonly #channel: Channel;
  readonly #openedAt = performance.now();
  #connection: Connection | null = null;
  /** The same, if that is what the client speaks. */
  #http2: Http2ServerConnection | null = null;

  constructor(rooms: ProxyRooms, tunnels: Tunnels, socket: Socket, channel: Channel, denied: boolean) {
    this.#rooms = rooms;
    this.#tunnels = tunnels;
    this.#socket = socket;
    this.#channel = channel;
    this.session = channel.session.session;
    this.denied = denied;
    socket.once('close', () => tunnels.delete(this));
    socket.once('data', (first: Buffer) => this.#begin(first));
    socket.resume();
  }

  #begin(first: Buffer): void {
    const socket = this.#socket;
    socket.pause();
    socket.unshift(first);
    if (first[0] !== TLS_HANDSHAKE) return this.#serve(socket, { ...this.#channel, scheme: 'http' });
    const { contexts, limits } = this.#rooms;
    interceptTls(socket, contexts.get(this.#channel.host), { handshakeMs: limits.handshakeMs }).then(
      tls => {
        const channel = tls.servername ? { ...this.#channel, sni: tls.servername } : this.#channel;
        this.#serve(tls, channel, tls.alpnProtocol === 'h2');
      },
      () => socket.destroy(),
    );
  }

  #serve(socket: Socket, channel: Channel, isHttp2 = false): void {
    const { flow, limits } = this.#rooms;
    const refuse = (x: Exchange, refusal: Refusal): void => flow.refuse(x, flow.entry(x, channel), refusal);
    const handle = (x: Exchange): void => void flow.handle(x, channel, x.head.target);
    const closed = (): void => void this.#socket.destroy();
    if (!isHttp2) {
      this.#connection = new ServerConnection(socket, limits, { request: handle, malformed: refuse, closed });
      return;
    }
    const request = (x: Exchange): void => {
      if (this.#tunnels.streams(this.session) > limits.sessionStreams) refuse(x, TOO_MANY_STREAMS);
      else handle(x);
    };
    this.#http2 = new Http2ServerConnection(socket, limits, { request, malformed: refuse, closed });
    this.#connection = this.#http2;
  }

  get streams(): number {
    return this.#http2?.streams ?? 0;
  }

  sweep(now: number): void {
    if (this.#connection) this.#connection.sweep(now);
    else if (now - this.#openedAt > this.#rooms.limits.handshakeMs) this.#socket.destroy();
  }

  drain(): void {
    if (this.#connection) this.#connection.drain();
    else this.#socket.destroy();
  }

  destroy(): void {
    this.#tunnels.delete(this);
    this.#connection?.destroy();
    this.#socket.destroy();
  }
}
