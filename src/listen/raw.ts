import { performance } from 'node:perf_hooks';
import type { Socket } from 'node:net';
import type { Transform } from 'node:stream';
import { asRefusal } from '../errors.ts';
import type { Entry } from '../flow/entry.ts';
import type { Meter } from '../limits/limiter.ts';
import { meteredStream } from '../limits/metered.ts';
import type { Tunnel, Tunnels } from './tunnels.ts';

/** A tunnel that a rule lets pass unread: bytes both ways, audited by size and time when it ends. */
export class RawTunnel implements Tunnel {
  readonly session: string;
  readonly denied = false;
  readonly #tunnels: Tunnels;
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #idleMs: number;
  #seenBytes = 0;
  #seenAt = performance.now();

  constructor(
    tunnels: Tunnels,
    client: Socket,
    upstream: Socket,
    entry: Entry,
    idleMs: number,
    meter?: Meter,
  ) {
    this.session = entry.event.session ?? '';
    this.#tunnels = tunnels;
    this.#client = client;
    this.#upstream = upstream;
    this.#idleMs = idleMs;
    const before = { read: client.bytesRead, written: client.bytesWritten };
    client.once('close', () => {
      this.destroy();
      try {
        entry.write(client.bytesRead - before.read, client.bytesWritten - before.written);
      } catch {
        // The audit is unwritable: it has told the log, and refuses what comes next.
      }
    });
    upstream.once('close', () => client.destroySoon());
    upstream.on('error', () => client.destroy());
    if (meter) this.#pass(client, meteredStream(meter), upstream, entry);
    else client.pipe(upstream);
    upstream.pipe(client);
  }

  /** Past a limit on what is sent the tunnel is cut. */
  #pass(client: Socket, metered: Transform, upstream: Socket, entry: Entry): void {
    metered.on('error', thrown => {
      entry.event.reason = asRefusal(thrown).code;
      this.destroy();
    });
    client.pipe(metered).pipe(upstream);
  }

  sweep(now: number): void {
    const bytes = this.#client.bytesRead + this.#client.bytesWritten;
    if (bytes !== this.#seenBytes) {
      this.#seenBytes = bytes;
      this.#seenAt = now;
    } else if (now - this.#seenAt > this.#idleMs) {
      this.destroy();
    }
  }

  /** Nobody can tell where a message ends in bytes that are not read: it goes on until the grace is over. */
  drain(): void {}

  destroy(): void {
    this.#tunnels.delete(this);
    this.#client.destroy();
    this.#upstream.destroy();
  }
}
