import type { Counters } from './state.ts';

/** Windows that are kept; the oldest go first. */
const MAX_WINDOWS = 100_000;

/** The counters of one gate. */
export class MemoryCounters implements Counters {
  readonly #windows = new Map<string, { count: number; readonly endsAt: number }>();
  readonly #now: () => number;

  /** `now`: ms. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async increment(key: string, windowMs: number, by = 1): Promise<number> {
    const now = this.#now();
    const name = `${windowMs} ${key}`;
    let window = this.#windows.get(name);
    if (!window || window.endsAt <= now) {
      this.#windows.delete(name);
      this.#windows.set(name, (window = { count: 0, endsAt: now + windowMs }));
      const [oldest] = this.#windows.keys();
      if (this.#windows.size > MAX_WINDOWS) this.#windows.delete(oldest as string);
    }
    window.count += by;
    return window.count;
  }
}
