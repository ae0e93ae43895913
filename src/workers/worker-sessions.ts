import { Refusal } from '../errors.ts';
import { MAX_SESSIONS, MemorySessions } from '../state/memory.ts';
import { openSubject } from '../state/redis/record.ts';
import type { Seal } from '../state/seal.ts';
import type { SessionOptions } from '../state/session.ts';
import type { Sessions } from '../state/sessions.ts';
import type { Session } from '../types.ts';
import type { PrimaryCalls, Told, WorkerCalls } from './calls.ts';
import type { Channel } from './channel.ts';

export type ToPrimary = Channel<PrimaryCalls, WorkerCalls>;

/** For an answer of the primary, which has little to do. */
export const ANSWER_MS = 2000;

/** The sessions of the gate, as one worker has them: all of them, in the order in which the primary tells of them. */
export class WorkerSessions implements Sessions {
  readonly healthy = true;
  readonly suspended = false;
  // The primary counts them. What has expired there may be live here for a moment.
  readonly #known = new MemorySessions({ max: 2 * MAX_SESSIONS });
  readonly #primary: ToPrimary;
  #seal: Seal | undefined;
  /** Told before the seal is there. */
  readonly #sealed: [session: Session, subject: string][] = [];

  constructor(primary: ToPrimary) {
    this.#primary = primary;
  }

  get live(): number {
    return this.#known.live;
  }

  /** The primary tells of sessions that are new, or that were there before this worker. */
  learn(sessions: readonly Told[]): void {
    for (const { session, subject } of sessions) {
      if (this.#known.byToken(session.tokenHash)) continue;
      this.#known.add(session);
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
    this.#known.revoke(id, at);
  }

  create(): never {
    throw new Error('sessions are created by the primary');
  }

  async open(tokenHash: string, options: SessionOptions): Promise<Session> {
    const known = this.#known.byToken(tokenHash);
    if (known) return known;
    const id = await this.#primary.ask(ANSWER_MS, 'open', tokenHash, options);
    const session = this.#known.get(id);
    if (!session) throw new Refusal('state_unavailable');
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
    // Here at once, whether or not the primary answers.
    this.#known.revoke(id);
    return this.#primary.ask(ANSWER_MS, 'revoke', id);
  }

  onEnd(listener: (session: Session) => void): () => void {
    return this.#known.onEnd(listener);
  }

  sweep(now: number): void {
    this.#known.sweep(now);
  }
}
