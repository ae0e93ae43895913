import { Refusal } from '../errors.ts';
import { MAX_SESSIONS, MemorySessions } from '../state/memory.ts';
import { openSubject } from '../state/redis/record.ts';
import type { Seal } from '../state/seal.ts';
import type { SessionOptions } from '../state/session.ts';
import type { Session } from '../types.ts';
import { KnownSessions } from './known-sessions.ts';
import type { PrimaryCalls, Told, WorkerCalls } from './calls.ts';
import type { Channel } from './channel.ts';

export type ToPrimary = Channel<PrimaryCalls, WorkerCalls>;

/** For an answer of the primary, which has little to do. */
export const ANSWER_MS = 2000;

/** The sessions of the gate, as one worker has them: all of them, in the order in which the primary tells of them. */
export class WorkerSessions extends KnownSessions {
  readonly #primary: ToPrimary;
  #seal: Seal | undefined;
  /** Told before the seal is there. */
  readonly #sealed: [session: Session, subject: string][] = [];

  constructor(primary: ToPrimary) {
    // The primary counts them. What has expired there may be live here for a moment.
    super(new MemorySessions({ max: 2 * MAX_SESSIONS }));
    this.#primary = primary;
  }

  /** The primary tells of sessions that are new, or that were there before this worker. */
  learn(sessions: readonly Told[]): void {
    for (const { session, subject } of sessions) {
      if (this.memory.byToken(session.tokenHash)) continue;
      this.memory.add(session);
      if (subject !== '') this.#sealed.push([session, subject]);
    }
    this.#open();
  }

  /** What is told sealed can be read from now on. */
  unseal(seal: Seal): void {
    this.#seal = seal;
    this.#open();
  }

  #open(): void {
    if (!this.#seal) return;
    for (const [session, subject] of this.#sealed.splice(0))
      session.subject = openSubject(this.#seal, session.tokenHash, subject);
  }

  /** The primary tells of a revocation. `at`: ms since the epoch. */
  revoked(id: string, at: number): void {
    this.memory.revoke(id, at);
  }

  create(): never {
    throw new Error('sessions are created by the primary');
  }

  async open(tokenHash: string, options: SessionOptions): Promise<Session> {
    const known = this.memory.byToken(tokenHash);
    if (known) return known;
    const id = await this.#primary.ask(ANSWER_MS, 'open', tokenHash, options);
    const session = this.memory.get(id);
    if (!session) throw new Refusal('state_unavailable');
    return session;
  }

  async revoke(id: string): Promise<boolean> {
    // Here at once, whether or not the primary answers.
    this.memory.revoke(id);
    return this.#primary.ask(ANSWER_MS, 'revoke', id);
  }
}
