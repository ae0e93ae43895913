import { MemorySessions } from '../state/memory.ts';
import type { NewSession, SessionOptions } from '../state/session.ts';
import type { Sessions } from '../state/sessions.ts';
import { sealSubject } from '../state/redis/record.ts';
import type { Seal } from '../state/seal.ts';
import type { Session } from '../types.ts';
import type { Told } from './calls.ts';

/** The processes that work with the sessions. */
export interface Audience {
  sessions(sessions: readonly Session[]): void;
  revoked(id: string, at: number): void;
  /** Settles when all that live have taken in what they were told. */
  sync(): Promise<void>;
}

/** All sessions of a gate with workers. What is answered here is known to each of them. */
export class SharedSessions implements Sessions {
  readonly healthy = true;
  readonly suspended = false;
  readonly #known = new MemorySessions();
  readonly #audience: Audience;

  constructor(audience: Audience) {
    this.#audience = audience;
    this.#known.onEnd(({ session, revokedAt }) => {
      // What expires does so by each worker's own clock.
      if (revokedAt !== undefined) audience.revoked(session, revokedAt);
    });
  }

  get live(): number {
    return this.#known.live;
  }

  async create(options: SessionOptions): Promise<NewSession> {
    const created = this.#known.create(options);
    this.#audience.sessions([created.session]);
    await this.#audience.sync();
    return created;
  }

  open(tokenHash: string, options: SessionOptions): Session {
    const known = this.#known.byToken(tokenHash);
    if (known) return known;
    const session = this.#known.open(tokenHash, options);
    this.#audience.sessions([session]);
    return session;
  }

  known(): readonly Session[] {
    return this.#known.known();
  }

  list(): readonly Session[] {
    return this.#known.list();
  }

  byToken(tokenHash: string): Session | undefined {
    return this.#known.byToken(tokenHash);
  }

  lookUp(): undefined {
    return undefined;
  }

  get(id: string): Session | undefined {
    return this.#known.get(id);
  }

  async revoke(id: string): Promise<boolean> {
    const isFirst = this.#known.revoke(id);
    await this.#audience.sync();
    return isFirst;
  }

  onEnd(listener: (session: Session) => void): () => void {
    return this.#known.onEnd(listener);
  }

  sweep(now: number): void {
    this.#known.sweep(now);
  }
}

/** A session as workers are told of it: no secret crosses in plain. */
export function toldOf(seal: Seal, all: Session): Told {
  const { captured: _, subject: __, ...session } = all;
  return { session, subject: sealSubject(seal, all) };
}
