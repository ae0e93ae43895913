import type { Session } from '../types.ts';
import type { NewSession, SessionOptions } from './session.ts';

type Awaitable<T> = T | Promise<T>;

/** The sessions, as a gate sees them: its own, or those of all gates that share a Redis. */
export interface Sessions {
  /** Live ones that this gate knows. */
  readonly live: number;
  /** What is known can be checked: Redis answers, where there is one. */
  readonly healthy: boolean;
  /** Nothing could be checked for so long that nobody is trusted: no request is served, no tunnel stays open. */
  readonly suspended: boolean;
  /** Those that this gate knows, live or lately ended. */
  known(): readonly Session[];
  /** Throws SessionError, or Refusal `state_unavailable`. */
  create(options: SessionOptions): Awaitable<NewSession>;
  /**
   * The session of a credential that somebody else issued: the one that it opened before, on whichever gate, live or
   * ended; otherwise a new one. `tokenHash`: 64 hex digits that stand for the credential, and that no token hashes to.
   * Throws as `create`, and Refusal `session_revoked` where that is all that is known.
   */
  open(tokenHash: string, options: SessionOptions): Awaitable<Session>;
  /** A session that this gate knows, live or lately ended. `tokenHash`: lower-case hex SHA-256. */
  byToken(tokenHash: string): Session | undefined;
  /** A session that another gate knows; undefined if none can. Rejects with Refusal `state_unavailable`. */
  lookUp(token: string): Promise<Session | undefined> | undefined;
  /** Live or lately ended, on whichever gate. Rejects as `lookUp` does. */
  get(id: string): Awaitable<Session | undefined>;
  list(): Awaitable<readonly Session[]>;
  /**
   * False if there is no such session, or it has ended before. Rejects if the other gates could not be told yet; it has
   * ended here then, if this gate knows it, and they will be.
   */
  revoke(id: string): Awaitable<boolean>;
  /** Tells of every session that ends, revoked (`revokedAt` is set) or expired; returns what stops that. */
  onEnd(listener: (session: Session) => void): () => void;
  /** Ends what has expired and forgets what ended long ago; to be called every second. */
  sweep(now: number): void;
}
