import type { GateEvent } from '../app/events.ts';
import type { Counts, Gauges } from '../audit/metrics.ts';
import type { Config } from '../config/types.ts';
import type { Budget } from '../limits/budget.ts';
import type { Granted } from '../limits/shared.ts';
import type { SessionOptions } from '../state/session.ts';
import type { Session } from '../types.ts';
import type { Endpoint } from '../upstream/own.ts';

/** What of a configuration a worker keeps for its life, whatever the file says later; nothing in it is secret. */
export type Fixed = Pick<Config, 'listen' | 'ca' | 'state' | 'audit' | 'limits'>;

export interface Start {
  /** From 1; no two that live have the same. */
  readonly number: number;
  /** The last good configuration: its path, and what was read there. */
  readonly file: string;
  readonly text: string;
  readonly fixed: Fixed;
  readonly listener: { readonly fd: number; readonly host: string; readonly port: number };
  /** Never dialled. */
  readonly own: readonly Endpoint[];
  readonly ticketSalt: string;
  readonly caPem: string;
  /** How many share what a limit allows. */
  readonly workers: number;
  /** Somebody watches what happens. */
  readonly isWatched: boolean;
}

/** A session on its way to a worker. `subject`: the token that may be exchanged, sealed; empty: none was given. */
export interface Told {
  readonly session: Omit<Session, 'subject' | 'captured'>;
  readonly subject: string;
}

export interface Measurement {
  readonly counts: Counts;
  readonly gauges: Gauges;
}

/** What a worker may be asked; calls without a result are told. */
export interface WorkerCalls {
  /** Sessions that are new to it. */
  sessions(sessions: readonly Told[]): void;
  /** `at`: ms since the epoch. */
  revoked(id: string, at: number): void;
  /** Answered as soon as all that was told before is in force. */
  sync(): void;
  /** Answered when it serves. Throws what the gate's start throws. */
  start(options: Start): Promise<void>;
  guard(endpoint: Endpoint): Promise<void>;
  /** False: not taken. */
  reload(text: string): Promise<boolean>;
  /** Opens its audit file anew. */
  reopen(): Promise<void>;
  watch(isWatched: boolean): Promise<void>;
  measure(): Promise<Measurement>;
  /** Answered when nothing is under way any more. `settleMs`: as `Gate.stop` has it. */
  stop(settleMs: number): Promise<Measurement>;
}

/** What the primary keeps for the workers, where the configuration names no Redis. Sealed: `name` and `text` of the store. */
export interface StateCalls {
  /** Answered once the session was told. Gives its id. */
  open(tokenHash: string, options: SessionOptions): string;
  revoke(id: string): Promise<boolean>;
  take(name: string, budget: Budget, need: number, ahead: number, lifeMs: number): Granted;
  giveBack(name: string, budget: Budget, permits: number): void;
  hold(name: string, limit: number, id: string): boolean;
  free(name: string, id: string): void;
  /** A fence, larger than all before; undefined if somebody else holds the lock. */
  lock(name: string, ttlMs: number): number | undefined;
  unlock(name: string, fence: number): void;
  get(name: string): string | undefined;
  put(name: string, text: string, ttlMs: number, fence: number): boolean;
}

/** What the primary may be asked. */
export interface PrimaryCalls extends StateCalls {
  happened(event: GateEvent): void;
  /** It was told to end, and wants to be replaced first. */
  leave(): void;
}
