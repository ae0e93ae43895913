import { performance } from 'node:perf_hooks';
import type { Budget } from '../limits/budget.ts';
import type { Granted } from '../limits/shared.ts';
import type { StateCalls } from './calls.ts';
import { type Audience, SharedSessions } from './shared-sessions.ts';

interface Spent {
  taken: number;
  /** When that was counted, and when it may be forgotten; ms. */
  at: number;
  until: number;
}

interface Lock {
  readonly fence: number;
  readonly holder: object;
  readonly until: number;
}

interface Value {
  readonly fence: number;
  readonly text: string;
  readonly until: number;
}

/** Of rounding, in permits. */
const EPSILON = 1e-6;

/** The one place that knows all sessions, budgets and kept values of a gate with workers. */
export class SharedState {
  readonly sessions: SharedSessions;
  readonly #budgets = new Map<string, Spent>();
  /** Name → slot → who holds it. */
  readonly #slots = new Map<string, Map<string, object>>();
  readonly #locks = new Map<string, Lock>();
  readonly #values = new Map<string, Value>();
  /** Holders that are gone: what they had asked for is read later, perhaps. */
  readonly #gone = new WeakSet<object>();
  readonly #now: () => number;
  #fence = 0;

  /** `now`: monotone, ms. */
  constructor(audience: Audience, now = () => performance.now()) {
    this.#now = now;
    this.sessions = new SharedSessions(audience);
  }

  /** For one worker, which `holder` stands for. */
  callsOf(holder: object): StateCalls {
    return {
      open: (tokenHash, options) => this.sessions.open(tokenHash, options).session,
      revoke: id => this.sessions.revoke(id),
      take: (name, budget, need, ahead, lifeMs) => this.#take(name, budget, need, ahead, lifeMs),
      giveBack: (name, budget, permits) => {
        const spent = this.#spent(name, budget);
        spent.taken = Math.max(0, spent.taken - permits);
      },
      hold: (name, limit, id) => this.#hold(name, limit, id, holder),
      free: (name, id) => this.#free(name, id),
      lock: (name, ttlMs) => this.#lock(name, ttlMs, holder),
      unlock: (name, fence) => {
        if (this.#locks.get(name)?.fence === fence) this.#locks.delete(name);
      },
      get: name => this.#value(name)?.text,
      put: (name, text, ttlMs, fence) => {
        if ((this.#value(name)?.fence ?? 0) > fence) return false;
        this.#values.set(name, { fence, text, until: this.#now() + ttlMs });
        return true;
      },
    };
  }

  /** A worker is gone, and what it held with it. */
  release(holder: object): void {
    this.#gone.add(holder);
    for (const [name, slots] of this.#slots)
      for (const [id, by] of slots) if (by === holder) this.#free(name, id);
    for (const [name, lock] of this.#locks) if (lock.holder === holder) this.#locks.delete(name);
  }

  /** Forgets what is over; to be called every second. */
  sweep(): void {
    const now = this.#now();
    for (const kept of [this.#budgets, this.#locks, this.#values])
      for (const [name, { until }] of kept) if (now >= until) kept.delete(name);
  }

  /** As the script of a Redis does it (state/redis/scripts.ts, PERMITS). */
  #take(name: string, budget: Budget, need: number, ahead: number, lifeMs: number): Granted {
    const spent = this.#spent(name, budget);
    const room = Math.max(0, budget.capacity - spent.taken);
    let permits = Math.min(need, Math.floor(room + EPSILON));
    if (permits === need) permits += Math.min(ahead, Math.floor((room - permits) / 8));
    spent.taken += permits;
    const wholeMs = budget.perMs > 0 ? spent.taken / budget.perMs : 0;
    spent.until = spent.at + Math.max(lifeMs, wholeMs);
    return { permits, left: Math.max(0, room - permits) };
  }

  #spent(name: string, { perMs }: Budget): Spent {
    const now = this.#now();
    let spent = this.#budgets.get(name);
    if (!spent) this.#budgets.set(name, (spent = { taken: 0, at: now, until: now }));
    spent.taken = Math.max(0, spent.taken - (now - spent.at) * perMs);
    spent.at = now;
    return spent;
  }

  #hold(name: string, limit: number, id: string, holder: object): boolean {
    if (this.#gone.has(holder)) return false;
    const slots = this.#slots.get(name) ?? new Map<string, object>();
    if (slots.size >= limit) return false;
    this.#slots.set(name, slots.set(id, holder));
    return true;
  }

  #free(name: string, id: string): void {
    const slots = this.#slots.get(name);
    slots?.delete(id);
    if (slots?.size === 0) this.#slots.delete(name);
  }

  #lock(name: string, ttlMs: number, holder: object): number | undefined {
    if (this.#gone.has(holder)) return undefined;
    const now = this.#now();
    if ((this.#locks.get(name)?.until ?? 0) > now) return undefined;
    const fence = ++this.#fence;
    this.#locks.set(name, { fence, holder, until: now + ttlMs });
    return fence;
  }

  #value(name: string): Value | undefined {
    const value = this.#values.get(name);
    return value && value.until > this.#now() ? value : undefined;
  }
}
