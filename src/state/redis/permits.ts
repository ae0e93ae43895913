import { randomBase62 } from '../../inject/base62.ts';
import type { Budget } from '../../limits/budget.ts';
import type { Granted, Permits } from '../../limits/shared.ts';
import type { Seal } from '../seal.ts';
import type { Link } from './link.ts';
import { FREE, HOLD, PERMITS } from './scripts.ts';

/** A gate that takes nothing for so long counts no more, ms. */
const GATE_MS = 60_000;
/** A slot of a gate that is gone, ms; and how often a gate says that it holds one. */
const SLOT_MS = 10_000;
const HOLD_MS = 3000;
/** Slots in one question. */
const BATCH = 500;

/** Budgets and slots of all gates that share a Redis, under hidden names. */
export class RedisPermits implements Permits {
  gates = 1;
  readonly #gate = randomBase62(12);
  readonly #link: Link;
  readonly #seal: Seal;
  /** Hidden name → ids of the slots that this gate holds. */
  readonly #held = new Map<string, Set<string>>();
  readonly #timer: NodeJS.Timeout;

  constructor(link: Link, seal: Seal) {
    this.#link = link;
    this.#seal = seal;
    this.#timer = setInterval(() => this.#holdAll(), HOLD_MS).unref();
  }

  async take(name: string, budget: Budget, need: number, ahead: number, lifeMs: number): Promise<Granted> {
    const [permits, left, gates] = await this.#run(name, budget, need, ahead, lifeMs);
    this.gates = Math.max(1, gates);
    return { permits, left };
  }

  async giveBack(name: string, budget: Budget, permits: number, lifeMs: number): Promise<void> {
    await this.#run(name, budget, -permits, 0, lifeMs);
  }

  async #run(
    name: string,
    { capacity, perMs }: Budget,
    wanted: number,
    ahead: number,
    lifeMs: number,
  ): Promise<[number, number, number]> {
    const keys = [this.#link.key('budget', this.#seal.hidden(name)), this.#link.key('gates')];
    const args = [capacity, perMs, wanted, ahead, Math.ceil(lifeMs), this.#gate, GATE_MS];
    const answer = (await this.#link.run(PERMITS, keys, args)) as [number, string, number];
    return [answer[0], Number(answer[1]), answer[2]];
  }

  async hold(name: string, limit: number, id: string): Promise<boolean> {
    const hidden = this.#seal.hidden(name);
    const held = this.#held.get(hidden);
    if (held) held.add(id);
    else this.#held.set(hidden, new Set([id]));
    // Without an answer it may have been held all the same: the caller frees it, or goes on holding it.
    const isHeld = (await this.#link.run(HOLD, [this.#slots(hidden)], [limit, SLOT_MS, id])) === 1;
    if (!isHeld) this.#forget(hidden, id);
    return isHeld;
  }

  free(name: string, id: string): void {
    const hidden = this.#seal.hidden(name);
    if (!this.#forget(hidden, id)) return;
    // What cannot be freed ends by itself.
    this.#link.run(FREE, [this.#slots(hidden)], [id]).catch(() => {});
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #slots(hidden: string): string {
    return this.#link.key('slots', hidden);
  }

  #forget(hidden: string, id: string): boolean {
    const held = this.#held.get(hidden);
    if (!held?.delete(id)) return false;
    if (held.size === 0) this.#held.delete(hidden);
    return true;
  }

  #holdAll(): void {
    for (const [hidden, held] of this.#held) {
      const ids = [...held];
      for (let i = 0; i < ids.length; i += BATCH)
        this.#link.run(HOLD, [this.#slots(hidden)], [0, SLOT_MS, ...ids.slice(i, i + BATCH)]).catch(() => {});
    }
  }
}
