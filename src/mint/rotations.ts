import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Secret } from '../secret.ts';
import { type Log, VaultError } from '../types.ts';

/** What gates keep for each other: sealed, so that the store cannot read it. */
export interface RotationStore {
  /** Undefined if another gate holds it. `fence`: larger than that of every holder before. */
  lock(name: string, ttlMs: number): Promise<{ fence: number; release(): Promise<void> } | undefined>;
  get(name: string): Promise<string | undefined>;
  /** False if it was written under a later fence. */
  put(name: string, text: string, ttlMs: number, fence: number): Promise<boolean>;
  /** Calls when values may have been lost. */
  onAnew(listener: () => void): void;
}

export interface RotationsOptions {
  readonly store: RotationStore;
  readonly log: Log;
  /** For how long somebody else's turn is waited for; 15 s. */
  readonly waitMs?: number;
  /** How long gates get to put back what a store has lost, before a turn goes on without; 1.5 s. */
  readonly settleMs?: number;
}

/** A turn of one gate: nobody else uses the secret meanwhile. */
export interface Turn {
  /** What the issuer put in place of the vault's secret last, at whichever gate. */
  readonly latest: Secret | undefined;
  /** Must be awaited before the turn ends; never rejects. */
  readonly save: (next: Secret) => Promise<void>;
}

/** Issuers expire what is not used for half a year at the latest. */
const KEPT_MS = 180 * 24 * 3_600_000;
/** Longer than a mint and all that stands around it may take. */
const TURN_MS = 25_000;
const RETRY_MS = 50;

/** What is known here of a secret's rotation, so that it can be put back. */
interface Known {
  /** Undefined: its issuer has not replaced what the vault holds. */
  readonly next: Secret | undefined;
  readonly fence: number;
}

/** Stands in the store for what the vault holds. */
const UNCHANGED = '';

/**
 * Secrets that issuers replace at each use, such as refresh tokens (RFC 6749, section 6), for gates that share a store:
 * one gate uses one at a time, and the next one uses what the last one was given.
 */
export class Rotations {
  readonly #store: RotationStore;
  readonly #log: Log;
  readonly #waitMs: number;
  readonly #settleMs: number;
  readonly #known = new Map<string, Known>();

  constructor({ store, log, waitMs = 15_000, settleMs = 1500 }: RotationsOptions) {
    this.#store = store;
    this.#log = log;
    this.#waitMs = waitMs;
    this.#settleMs = settleMs;
    store.onAnew(() => {
      for (const [name, known] of this.#known) void this.#put(name, known);
    });
  }

  /** `vaulted`: what the vault holds, from which all rotations began. Throws VaultError if no turn can be had. */
  async inTurn<T>(credential: string, vaulted: Secret, use: (turn: Turn) => Promise<T>): Promise<T> {
    const name = `rotation ${credential} ${hash('sha256', vaulted.reveal())}`;
    const lock = await this.#lock(name, credential);
    const keep = (next: Secret | undefined): Promise<void> => this.#keep(name, { next, fence: lock.fence });
    try {
      const stored = await this.#stored(name).catch(() => {
        throw new VaultError(
          'unavailable',
          `credential "${credential}": what it was rotated to cannot be read`,
        );
      });
      const isChanged = stored !== undefined && stored !== UNCHANGED;
      let isKept = stored !== undefined;
      const used = await use({
        latest: isChanged ? new Secret(credential, stored) : undefined,
        save: next => {
          isKept = true;
          return keep(next);
        },
      });
      // So that the next one need not wait for what nobody knows.
      if (!isKept) await keep(undefined);
      return used;
    } finally {
      await lock.release();
    }
  }

  async #lock(name: string, credential: string) {
    const until = Date.now() + this.#waitMs;
    for (;;) {
      const lock = await this.#store.lock(name, TURN_MS).catch(() => {
        throw new VaultError(
          'unavailable',
          `credential "${credential}": the shared state does not answer, so that no other gate can be kept from using it`,
        );
      });
      if (lock) return lock;
      if (Date.now() >= until)
        throw new VaultError('unavailable', `credential "${credential}": another gate uses it for too long`);
      await delay(RETRY_MS * (1 + Math.random()));
    }
  }

  /** An empty store is a new one, or has lost what it held: whoever knows something puts it back. */
  async #stored(name: string): Promise<string | undefined> {
    const stored = await this.#store.get(name);
    if (stored !== undefined) return stored;
    const known = this.#known.get(name);
    if (known) await this.#put(name, known);
    await delay(this.#settleMs);
    return this.#store.get(name);
  }

  #keep(name: string, known: Known): Promise<void> {
    this.#known.set(name, known);
    return this.#put(name, known);
  }

  /** What cannot be written now is written once the store is back; a later one that is there stays. */
  async #put(name: string, { next, fence }: Known): Promise<void> {
    try {
      await this.#store.put(name, next?.reveal() ?? UNCHANGED, KEPT_MS, fence);
    } catch {
      this.#log.error('what a credential was rotated to could not be shared; it is tried again', {
        credential: next?.name,
      });
    }
  }
}
