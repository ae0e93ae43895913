import { isIP, type Socket } from 'node:net';
import type { Target } from '../types.ts';
import { openTunnel, type ParentProxy } from './parent.ts';
import type { Resolver } from './resolve.ts';
import { connectFirst } from './tcp.ts';
import type { Alpn, TlsClient } from './tls.ts';

export type Origin = Pick<Target, 'scheme' | 'host' | 'port'>;

/** Opens connections to what was judged, and to nothing else. */
export class Dialer {
  readonly #resolver: Resolver;
  readonly #tls: TlsClient;
  readonly #parent: ParentProxy | undefined;
  readonly #connectMs: number;

  constructor(resolver: Resolver, tls: TlsClient, parent: ParentProxy | undefined, connectMs: number) {
    this.#resolver = resolver;
    this.#tls = tls;
    this.#parent = parent;
    this.#connectMs = connectMs;
  }

  /** Ready for the first request: connected, and for https proved to be the host. Rejects with a Refusal. */
  async dial(origin: Origin, alpn?: Alpn): Promise<Socket> {
    const socket = await this.dialRaw(origin);
    return origin.scheme === 'https' ? this.#tls.secure(socket, origin.host, origin.port, alpn) : socket;
  }

  /** TCP only. */
  async dialRaw({ host, port }: Origin): Promise<Socket> {
    if (this.#parent) return this.#throughParent(this.#parent, host, port);
    return connectFirst(await this.#resolver.resolve(host, port), this.#connectMs);
  }

  /** The parent resolves names, so only addresses can be judged here. */
  async #throughParent(parent: ParentProxy, host: string, port: number): Promise<Socket> {
    const override = this.#resolver.override(host, port);
    if (!override && isIP(host) !== 0) this.#resolver.requireDialable(host, { address: host, port });
    const target = override ?? { address: host, port };
    const endpoints = await this.#resolver.resolveParent(parent.host, parent.port);
    const tcp = await connectFirst(endpoints, this.#connectMs);
    const socket = parent.scheme === 'https' ? await this.#tls.secure(tcp, parent.host, parent.port) : tcp;
    await openTunnel(socket, target.address, target.port, parent, this.#connectMs);
    return socket;
  }
}
