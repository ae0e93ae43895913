import { MemorySessions } from '../state/memory.ts';
import type { NewSession, SessionOptions } from '../state/session.ts';
import { sealSubject } from '../state/redis/record.ts';
import type { Seal } from '../state/seal.ts';
import type { Session } from '../types.ts';
import { KnownSessions } from './known-sessions.ts';
import type { Told } from './calls.ts';

/** The processes that work with the sessions. */
export interface Audience {
  sessions(sessions: readonly Session[]): void;
  revoked(id: string, at: number): void;
  /** Settles when all that live have taken in what they were told. */
  sync(): Promise<void>;
}

/** All sessions of a gate with workers. What is answered here is known to each of them. */
export class SharedSessions extends KnownSessions {
  readonly #audience: Audience;

  constructor(audience: Audience) {
    super(new MemorySessions());
    this.#audience = audience;
    this.memory.onEnd(({ session, revokedAt }) => {
      // What expires does so by each worker's own clock.
      if (revokedAt !== undefined) audience.revoked(session, revokedAt);
    });
  }

  async create(options: SessionOptions): Promise<NewSession> {
    const created = this.memory.create(options);
    this.#audience.sessions([created.session]);
    await this.#audience.sync();
    return created;
  }

  open(tokenHash: string, options: SessionOptions): Session {
    const known = this.memory.byToken(tokenHash);
    if (known) return known;
    const session = this.memory.open(tokenHash, options);
    this.#audience.sessions([session]);
    return session;
  }

  async revoke(id: string): Promise<boolean> {
    const isFirst = this.memory.revoke(id);
    await this.#audience.sync();
    return isFirst;
  }
}

/** A session as workers are told of it: no secret crosses in plain. */
export function toldOf(seal: Seal, all: Session): Told {
  const { captured: _, subject: __, ...session } = all;
  return { session, subject: sealSubject(seal, all) };
}
