import { performance } from 'node:perf_hooks';
import type { Budget } from './budget.ts';

/** What is taken of a budget. */
export interface Bucket {
  /** Another one at a reload: what was taken stays taken. */
  budget: Budget;
  /**
   * 0: taken, all or nothing; else ms until as many are there, Infinity if that is never. A promise only if other gates
   * share it; it rejects with Refusal `state_unavailable` if nothing is known.
   */
  take(permits: number): number | Promise<number>;
  /** As `take`, but takes nothing, and says 0 where it does not know. */
  lacks(permits: number): number;
  /** What was taken, and is not used. */
  giveBack(permits: number): void;
}

/** Of rounding, in permits. */
const EPSILON = 1e-6;

/** A token bucket of one gate: the permits that are taken, and when they were counted. */
export class LocalBucket implements Bucket {
  budget: Budget;
  #taken: number;
  #at: number;
  readonly #now: () => number;

  /** `now`: monotone, ms. `taken`: at the start. */
  constructor(budget: Budget, now: () => number = () => performance.now(), taken = 0) {
    this.budget = budget;
    this.#now = now;
    this.#taken = taken;
    this.#at = now();
  }

  take(permits: number): number {
    const wait = this.lacks(permits);
    if (wait === 0) this.#taken += permits;
    return wait;
  }

  lacks(permits: number): number {
    const { capacity, perMs } = this.budget;
    const now = this.#now();
    this.#taken = Math.max(0, this.#taken - (now - this.#at) * perMs);
    this.#at = now;
    return waitFor(permits, capacity - this.#taken, this.budget);
  }

  giveBack(permits: number): void {
    this.#taken = Math.max(0, this.#taken - permits);
  }
}

/** ms until there are as many permits, if `left` are there now. */
export function waitFor(permits: number, left: number, { capacity, perMs }: Budget): number {
  const lack = permits - left;
  if (lack <= EPSILON) return 0;
  return permits > capacity || perMs === 0 ? Number.POSITIVE_INFINITY : lack / perMs;
}
