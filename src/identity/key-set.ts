import type { JSONWebKeySet, JWTVerifyGetKey } from 'jose';
import { Refusal } from '../errors.ts';

/** After which keys are fetched again although every token's key is known: one may have been withdrawn. */
const REFRESH_MS = 10 * 60_000;
/** Fetches at once, such as after a rotation, … */
const BURST = 5;
/** … and one more in each such time, whatever tokens come. */
const PAUSE_MS = 30_000;

export interface KeySetOptions {
  /** Rejects with an Error that is safe to log. */
  readonly fetch: () => Promise<JSONWebKeySet>;
  readonly staleForMs: number;
  /** Takes why a fetch failed. */
  readonly warn: (cause: unknown) => void;
  /** ms; performance.now(). */
  readonly now?: () => number;
}

/** An issuer's keys: fetched when first needed, kept, and fetched again when they are old or a token names another one. */
export class KeySet {
  readonly #options: KeySetOptions;
  readonly #now: () => number;
  #keys: JWTVerifyGetKey | undefined;
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;
  #budget = BURST;
  #refilledAt: number;

  constructor(options: KeySetOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#refilledAt = this.#now();
  }

  /** Rejects with Refusal `state_unavailable` if there are no keys to look at, and with jose's own error if none fits. */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    const { errors } = await import('jose');
    const before = this.#fetchedAt;
    const keys = await this.#current();
    try {
      return await keys(header, token);
    } catch (error) {
      const isUnknown = error instanceof errors.JWKSNoMatchingKey;
      // What was fetched meanwhile is looked at first.
      const fetching = isUnknown && this.#fetchedAt === before ? this.#refresh() : undefined;
      if (!isUnknown || (!fetching && this.#fetchedAt === before)) throw error;
      await fetching;
      return await (await this.#current())(header, token);
    }
  };

  /** Waits for a fetch only where nothing else is left. */
  async #current(): Promise<JWTVerifyGetKey> {
    const isDue = this.#age > REFRESH_MS;
    const fetching = isDue ? this.#refresh() : undefined;
    if (this.#usable) return this.#usable;
    await fetching;
    if (this.#usable) return this.#usable;
    throw new Refusal('state_unavailable', { cause: new Error('the keys of the issuer are not known') });
  }

  get #age(): number {
    return this.#now() - this.#fetchedAt;
  }

  get #usable(): JWTVerifyGetKey | undefined {
    return this.#age <= REFRESH_MS + this.#options.staleForMs ? this.#keys : undefined;
  }

  /** The fetch under way, or a new one; undefined if there were too many lately. Never rejects. */
  #refresh(): Promise<void> | undefined {
    if (!this.#fetching && this.#mayFetch()) {
      this.#fetching = this.#fetch().finally(() => {
        this.#fetching = undefined;
      });
    }
    return this.#fetching;
  }

  #mayFetch(): boolean {
    const refills = Math.floor((this.#now() - this.#refilledAt) / PAUSE_MS);
    this.#budget = Math.min(BURST, this.#budget + refills);
    this.#refilledAt += refills * PAUSE_MS;
    if (this.#budget === 0) return false;
    this.#budget--;
    return true;
  }

  async #fetch(): Promise<void> {
    try {
      const published = await this.#options.fetch();
      const { createLocalJWKSet } = await import('jose');
      this.#keys = createLocalJWKSet(published);
      this.#fetchedAt = this.#now();
    } catch (cause) {
      this.#options.warn(cause);
    }
  }
}
