import { Refusal } from '../errors.ts';
import type { Session } from '../types.ts';
import { type NewSession, newSession, openedSession, SessionError, type SessionOptions } from './session.ts';
import type { Sessions } from './sessions.ts';

export const MAX_SESSIONS = 100_000;
/** How long an ended session is remembered, so that its client reads why it is refused. */
export const REMEMBER_MS = 3_600_000;

export interface MemorySessionsOptions {
  /** Live sessions, and as many ended ones; 100,000. */
  readonly max?: number;
  /** ms since the epoch. */
  readonly now?: () => number;
}

/** The sessions of one instance. A session ends once: revoked, or expired by the next sweep. */
export class MemorySessions implements Sessions {
  readonly healthy = true;
  readonly suspended = false;
  readonly #live = new Map<string, Session>();
  /** In the order in which they ended. */
  readonly #ended = new Map<string, Session>();
  readonly #byToken = new Map<string, Session>();
  /** What stands for a credential whose session was revoked and is forgotten → when that would have expired. */
  readonly #barred = new Map<string, number>();
  readonly #listeners = new Set<(session: Session) => void>();
  readonly #max: number;
  readonly #now: () => number;

  constructor(options: MemorySessionsOptions = {}) {
    this.#max = options.max ?? MAX_SESSIONS;
    this.#now = options.now ?? Date.now;
  }

  get live(): number {
    return this.#live.size;
  }

  /** Throws SessionError. */
  create(options: SessionOptions): NewSession {
    const created = newSession(options, this.#now());
    this.add(created.session);
    return created;
  }

  /** Throws SessionError, or Refusal `session_revoked`. */
  open(tokenHash: string, options: SessionOptions): Session {
    const known = this.#byToken.get(tokenHash);
    if (known) return known;
    if (this.#barred.has(tokenHash)) throw new Refusal('session_revoked');
    // Whoever cannot be remembered could come again.
    if (this.#barred.size >= this.#max) throw tooMany(this.#max);
    const session = openedSession(tokenHash, options, this.#now());
    this.add(session);
    return session;
  }

  /** Takes a session that was made elsewhere, live or ended. Throws SessionError. */
  add(session: Session): void {
    if (this.#live.size >= this.#max) throw tooMany(this.#max);
    this.#live.set(session.session, session);
    this.#byToken.set(session.tokenHash, session);
    if (session.revokedAt !== undefined) this.#end(session);
  }

  /** The session of a token, live or lately ended. `tokenHash`: lower-case hex SHA-256. */
  byToken(tokenHash: string): Session | undefined {
    return this.#byToken.get(tokenHash);
  }

  /** No other gate knows any. */
  lookUp(): undefined {
    return undefined;
  }

  /** Live or lately ended. */
  get(id: string): Session | undefined {
    return this.#live.get(id) ?? this.#ended.get(id);
  }

  /** All of them. */
  known(): Session[] {
    return this.list();
  }

  /** Ended ones first. */
  list(): Session[] {
    return [...this.#ended.values(), ...this.#live.values()];
  }

  /** False if there is no such session, or it has ended before. */
  revoke(id: string, at = this.#now()): boolean {
    const session = this.#live.get(id);
    if (!session) return false;
    session.revokedAt = at;
    this.#end(session);
    return true;
  }

  /** Tells of every session that ends, revoked (`revokedAt` is set) or expired; returns what stops that. */
  onEnd(listener: (session: Session) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends what has expired and forgets what ended long ago; to be called every second. */
  sweep(now: number): void {
    for (const session of this.#live.values()) if (now >= session.expiresAt) this.#end(session);
    for (const session of this.#ended.values()) {
      if (now < (session.revokedAt ?? session.expiresAt) + REMEMBER_MS) break;
      this.#forget(session);
    }
    for (const [tokenHash, until] of this.#barred) if (now >= until) this.#barred.delete(tokenHash);
  }

  #end(session: Session): void {
    this.#live.delete(session.session);
    this.#ended.set(session.session, session);
    const [oldest] = this.#ended.values();
    if (oldest && this.#ended.size > this.#max) this.#forget(oldest);
    for (const listener of this.#listeners) listener(session);
  }

  #forget(session: Session): void {
    this.#ended.delete(session.session);
    this.#byToken.delete(session.tokenHash);
    if (session.isOpened && session.revokedAt !== undefined && session.expiresAt > this.#now())
      this.#barred.set(session.tokenHash, session.expiresAt);
  }
}

export function tooMany(max: number): SessionError {
  return new SessionError('full', `${max} sessions are live; revoke some, or give them a shorter ttl`);
}
