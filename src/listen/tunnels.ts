/** One open tunnel, whatever stands at its ends. Times: performance.now(). */
export interface Tunnel {
  readonly session: string;
  /** Kept open only so that the client can read why its host is refused. */
  readonly denied: boolean;
  /** HTTP/2 streams under way in it. */
  readonly streams?: number;
  sweep(now: number): void;
  /** Finishes what is under way, then closes. */
  drain(): void;
  destroy(): void;
}

/** The open tunnels, by session. */
export class Tunnels {
  readonly #bySession = new Map<string, Set<Tunnel>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Tunnels that a session has open. */
  count(session: string): number {
    return this.#bySession.get(session)?.size ?? 0;
  }

  /** Tunnels that a session has open to hosts that it may not reach. */
  denied(session: string): number {
    let count = 0;
    for (const tunnel of this.#bySession.get(session) ?? []) if (tunnel.denied) count++;
    return count;
  }

  /** HTTP/2 streams of a session, in all of its tunnels. */
  streams(session: string): number {
    let count = 0;
    for (const tunnel of this.#bySession.get(session) ?? []) count += tunnel.streams ?? 0;
    return count;
  }

  add(tunnel: Tunnel): void {
    const open = this.#bySession.get(tunnel.session);
    if (open) open.add(tunnel);
    else this.#bySession.set(tunnel.session, new Set([tunnel]));
    this.#size++;
  }

  delete(tunnel: Tunnel): void {
    const open = this.#bySession.get(tunnel.session);
    if (!open?.delete(tunnel)) return;
    this.#size--;
    if (open.size === 0) this.#bySession.delete(tunnel.session);
  }

  endSession(session: string): void {
    for (const tunnel of this.#bySession.get(session) ?? []) tunnel.destroy();
  }

  sweep(now: number): void {
    this.#each(tunnel => tunnel.sweep(now));
  }

  drain(): void {
    this.#each(tunnel => tunnel.drain());
  }

  destroy(): void {
    this.#each(tunnel => tunnel.destroy());
  }

  // What is called may take itself out, which a Map and a Set allow while they are walked through.
  #each(step: (tunnel: Tunnel) => void): void {
    for (const open of this.#bySession.values()) for (const tunnel of open) step(tunnel);
  }
}
