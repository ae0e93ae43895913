import type { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import type { Log, SecretRef, Vault } from '../types.ts';

/** How long a replaced value is still removed from responses. */
const PREVIOUS_MS = 3_600_000;
/** Between two fetches that answers of 401 cause; twice as long after each, as a sandbox may cause such answers. */
const REFETCH_MS = 5_000;
const MAX_DOUBLINGS = 6;
/** The same for answers of 403, most of which are about permissions, not about the value. */
const FORBIDDEN_MS = 60_000;
/** How long before its end a value is read anew; a short-lived one a fifth of its life before. */
const MARGIN_MS = 30_000;

export interface CredentialSource {
  readonly name: string;
  readonly ref: SecretRef;
  /** How long a fetched value is used. */
  readonly ttlMs: number;
  /** How much longer it is used while its vault cannot be reached; 0 by default. */
  readonly staleForMs?: number;
}

export interface SecretSources {
  readonly credentials: ReadonlyMap<string, CredentialSource>;
  readonly vaults: ReadonlyMap<string, Vault>;
}

export interface SecretCacheOptions extends SecretSources {
  readonly now?: () => number;
  readonly log?: Log;
  /** Told of every read: the vault, and whether it gave a secret. */
  readonly onRead?: (vault: string, done: boolean) => void;
  /** Of one read; 10 s. */
  readonly timeoutMs?: number;
}

/** What several refs may share. */
export const idOf = ({ ref: { vault, id } }: CredentialSource): string => `${vault}:${id}`;

/** A credential's values and what is known about fetching it. Times: ms since the epoch. */
export class Entry {
  /** Undefined once the configuration no longer has it: its values are only removed from responses. */
  source: CredentialSource | undefined;
  vault: Vault | undefined;
  current: Secret | undefined;
  freshUntil = 0;
  /** Until when `current` may be used if the vault cannot be reached. */
  staleUntil = 0;
  /** Used beyond its time, and the operator was told. */
  isStale = false;
  failure: Refusal | undefined;
  failedUntil = 0;
  inFlight: Promise<Secret> | undefined;
  /** Since the last read. */
  used = false;
  #timer: NodeJS.Timeout | undefined;
  #previous: { readonly secret: Secret; readonly until: number }[] = [];
  #refetchAfter = 0;
  #forbiddenAfter = 0;
  #refetches = 0;

  /** What may be used although its time is over; undefined if the vault did not fail. */
  stale(now: number): Secret | undefined {
    return this.failure && now >= this.freshUntil && now < this.staleUntil ? this.current : undefined;
  }

  /** The value is good no longer. */
  expire(): void {
    this.freshUntil = this.staleUntil = 0;
  }

  /** Whether an upstream's refusal may cause a read now; the next one may only later. */
  mayRefetch(status: 401 | 403, now: number): boolean {
    if (now < (status === 401 ? this.#refetchAfter : this.#forbiddenAfter)) return false;
    if (status === 403) this.#forbiddenAfter = now + FORBIDDEN_MS;
    else this.#refetchAfter = now + REFETCH_MS * 2 ** Math.min(this.#refetches++, MAX_DOUBLINGS);
    return true;
  }

  /** A read is due by itself. */
  calm(): void {
    this.#refetches = 0;
  }

  /** Takes a value that was read. */
  accept(secret: Secret, now: number): void {
    const { ttlMs, staleForMs = 0 } = this.source ?? { ttlMs: 0 };
    this.failure = undefined;
    this.isStale = false;
    this.freshUntil = now + ttlMs;
    this.staleUntil = this.freshUntil + staleForMs;
    this.current = secret;
  }

  /** Keeps a value that is no longer handed out, for responses that may still hold it. */
  retire(secret: Secret, now: number): void {
    this.#previous = this.#previous.filter(
      ({ secret: other, until }) => now < until && !other.equals(secret),
    );
    this.#previous.push({ secret, until: now + PREVIOUS_MS });
  }

  /** Forgets what belongs to another source. */
  reset(): void {
    this.stop();
    this.expire();
    this.inFlight = undefined;
    this.current = undefined;
    this.isStale = false;
    this.#refetchAfter = this.#forbiddenAfter = this.#refetches = 0;
  }

  /** Every value that a response may still hold. */
  values(now: number): Secret[] {
    const previous = this.#previous.filter(({ until }) => now < until).map(({ secret }) => secret);
    return this.current ? [this.current, ...previous] : previous;
  }

  /** Calls `refresh` shortly before the value's end, if it was used until then; a bit earlier or later, so that not all are read at once. */
  schedule(refresh: () => void, now: number): void {
    const { ttlMs } = this.source ?? { ttlMs: 0 };
    const margin = Math.min(MARGIN_MS, ttlMs / 5) * (1 + Math.random() / 2);
    this.used = false;
    this.#in(this.freshUntil - margin - now, () => {
      if (this.used) refresh();
    });
  }

  /** Calls `refresh` when a failed read may be tried again, unless the value has ended by then. */
  retry(refresh: () => void, now: number): void {
    if (this.failedUntil < this.freshUntil) this.#in(this.failedUntil - now, refresh);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #in(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, Math.max(0, ms)).unref();
  }
}
