import type { Buffer } from 'node:buffer';
import type { Reason } from '../errors.ts';
import type { Permits } from '../limits/shared.ts';
import type { Sessions } from './sessions.ts';

/** What outlives a connection, and what gates share. */
export interface State {
  readonly sessions: Sessions;
  /** Budgets of all gates; undefined where a gate has nobody to share with. */
  readonly permits: Permits | undefined;
  /** Undefined where a gate has nobody to share with. */
  readonly store: SharedStore | undefined;
  /** What the key of the stubs is derived from. */
  readonly key: Buffer;
  /** Tells the other gates. Never waits, never throws. */
  publish(alarm: Alarm): void;
  close(): void;
}

/** Values that gates keep for each other, which nobody but them can read. Throws Refusal `state_unavailable`. */
export interface SharedStore {
  /** Undefined if somebody else holds it. It ends by itself after `ttlMs`. */
  lock(name: string, ttlMs: number): Promise<Lock | undefined>;
  get(name: string): Promise<string | undefined>;
  /** False if it was written under a later fence. */
  put(name: string, text: string, ttlMs: number, fence: number): Promise<boolean>;
  /** Calls when values may have been lost. */
  onAnew(listener: () => void): void;
}

export interface Lock {
  /** Larger than that of every holder before. */
  readonly fence: number;
  release(): Promise<void>;
}

/** Somebody tries to carry a secret out, or believes to. Holds nothing that a sandbox chose. */
export interface Alarm {
  readonly code: Reason;
  readonly session: string | null;
  readonly request_id: string;
  /** RFC 3339 */
  readonly time: string;
}
