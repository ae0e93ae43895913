import { performance } from 'node:perf_hooks';
import { Refusal } from '../errors.ts';
import type { Budget } from './budget.ts';
import { type Bucket, LocalBucket, waitFor } from './bucket.ts';

/** Where gates share budgets. Throws Refusal `state_unavailable`. */
export interface Permits {
  /**
   * Up to `need` permits, and if as many are there up to `ahead` more, but never more than an eighth of what is left.
   * `lifeMs`: how long it is remembered what was taken, at least.
   */
  take(name: string, budget: Budget, need: number, ahead: number, lifeMs: number): Promise<Granted>;
  giveBack(name: string, budget: Budget, permits: number, lifeMs: number): Promise<void>;
  /** Whether one more of at most `limit` slots is this gate's now. `id`: of the slot, unique. */
  hold(name: string, limit: number, id: string): Promise<boolean>;
  free(name: string, id: string): void;
  /** Gates that took something lately, this one included; 1 or more. */
  readonly gates: number;
}

export interface Granted {
  readonly permits: number;
  /** What nobody has taken. */
  readonly left: number;
}

/** Permits that were taken ahead are given back when nobody has wanted one for so long, ms. */
const IDLE_MS = 1000;
/** A budget with a time is remembered until it is whole again, at least so long, ms. */
const LEAST_LIFE_MS = 10_000;

interface Waiter {
  readonly permits: number;
  readonly resolve: (wait: number) => void;
  readonly reject: (cause: unknown) => void;
}

/**
 * A budget of all gates. This one takes permits ahead of their use, so that few requests wait for a question; all are
 * paid for before they are used. Without an answer it goes on with its share of what comes back in the course of time.
 */
export class SharedBucket implements Bucket {
  budget: Budget;
  readonly #name: string;
  readonly #permits: Permits;
  readonly #lifeMs: number;
  readonly #holders: Set<SharedBucket>;
  /** Paid for, and not used. */
  #held = 0;
  #usedAt = 0;
  #waiting: Waiter[] = [];
  #isAsking = false;
  /** This gate's share while nobody answers. */
  #alone: LocalBucket | undefined;

  /** `lifeMs`: of a budget that never fills again. `holders`: those that have permits to give back, to which it adds itself. */
  constructor(
    name: string,
    budget: Budget,
    permits: Permits,
    lifeMs: number,
    holders: Set<SharedBucket> = new Set(),
  ) {
    this.#holders = holders;
    this.#name = name;
    this.budget = budget;
    this.#permits = permits;
    this.#lifeMs = lifeMs;
  }

  take(permits: number): number | Promise<number> {
    if (permits > this.budget.capacity) return Number.POSITIVE_INFINITY;
    this.#usedAt = performance.now();
    if (this.#waiting.length === 0 && this.#held >= permits) {
      this.#held -= permits;
      if (this.#held < this.#ahead / 2) void this.#ask();
      return 0;
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ permits, resolve, reject });
      void this.#ask();
    });
  }

  lacks(permits: number): number {
    return permits > this.budget.capacity ? Number.POSITIVE_INFINITY : 0;
  }

  giveBack(permits: number): void {
    this.#held += permits;
    this.#holders.add(this);
  }

  /** Gives back what nobody has wanted for a while, or all. */
  async release(all: boolean): Promise<void> {
    if (!all && performance.now() - this.#usedAt < IDLE_MS) return;
    const permits = this.#held;
    this.#held = 0;
    this.#holders.delete(this);
    if (permits === 0) return;
    // What cannot be given back is lost, not free.
    await this.#permits.giveBack(this.#name, this.budget, permits, this.#life).catch(() => {});
  }

  /** For a tenth of a second, or a small part of the whole. */
  get #ahead(): number {
    const { capacity, perMs } = this.budget;
    return Math.floor(Math.min(capacity / 8, Math.max(perMs * 100, capacity / 64)));
  }

  get #life(): number {
    return this.budget.perMs > 0 ? LEAST_LIFE_MS : this.#lifeMs;
  }

  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      do await this.#askOnce();
      while (this.#waiting.length > 0);
    } finally {
      this.#isAsking = false;
    }
  }

  async #askOnce(): Promise<void> {
    const { budget } = this;
    const wanted = this.#waiting.reduce((sum, { permits }) => sum + permits, 0);
    const need = Math.min(Math.max(0, wanted - this.#held), budget.capacity);
    const asked = this.#waiting.length;
    try {
      const { permits, left } = await this.#permits.take(this.#name, budget, need, this.#ahead, this.#life);
      this.#alone = undefined;
      this.giveBack(permits);
      this.#serve(asked, permits < need ? left : Number.POSITIVE_INFINITY);
    } catch (cause) {
      this.#serveAlone(cause);
    }
  }

  /** Everybody in their order, as far as it goes; refuses those of the first `asked` for whom nothing is left. */
  #serve(asked: number, left: number): void {
    const waiting = this.#waiting;
    const late: Waiter[] = [];
    const later: Waiter[] = [];
    for (const [i, waiter] of waiting.entries()) {
      if (this.#held >= waiter.permits) {
        this.#held -= waiter.permits;
        waiter.resolve(0);
      } else (i < asked ? late : later).push(waiter);
    }
    // Together they wanted more than a question may ask for: they ask again.
    const isAll = left === Number.POSITIVE_INFINITY;
    this.#waiting = isAll ? [...late, ...later] : later;
    if (isAll || late.length === 0) return;
    const there = left + this.#held;
    for (const { permits, resolve } of late) resolve(Math.max(1, waitFor(permits, there, this.budget)));
    if (later.length === 0) void this.release(true);
  }

  #serveAlone(cause: unknown): void {
    const { capacity, perMs } = this.budget;
    const waiting = this.#waiting;
    this.#waiting = [];
    const { gates } = this.#permits;
    const share = { capacity: Math.max(1, capacity / gates), perMs: perMs / gates };
    // Empty at first: what was at hand has been shared already.
    if (perMs > 0) this.#alone ??= new LocalBucket(share, undefined, share.capacity);
    for (const { permits, resolve, reject } of waiting) {
      if (this.#held >= permits) {
        this.#held -= permits;
        resolve(0);
      } else if (this.#alone) resolve(this.#alone.take(permits));
      else reject(cause instanceof Refusal ? cause : new Refusal('state_unavailable', { cause }));
    }
  }
}
