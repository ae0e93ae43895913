import type { Buffer } from 'node:buffer';
import { Refusal } from '../errors.ts';
import type { Budget } from '../limits/budget.ts';
import type { Granted, Permits } from '../limits/shared.ts';
import { Seal } from '../state/seal.ts';
import type { Lock, SharedStore, State } from '../state/state.ts';
import { ANSWER_MS, type ToPrimary, type WorkerSessions } from './worker-sessions.ts';

/** The state that the primary keeps, as one worker has it. `key`: as that of every state. */
export function workerState(
  primary: ToPrimary,
  sessions: WorkerSessions,
  key: Buffer,
  workers: number,
): State {
  const seal = new Seal(key);
  sessions.unseal(seal);
  return {
    sessions,
    permits: permitsOf(primary, workers),
    store: new SealedStore(primary, seal),
    key,
    // The events tell the primary.
    publish: () => {},
    close: () => {},
  };
}

function permitsOf(primary: ToPrimary, gates: number): Permits {
  return {
    gates,
    take: (name: string, budget: Budget, need: number, ahead: number, lifeMs: number): Promise<Granted> =>
      primary.ask(ANSWER_MS, 'take', name, budget, need, ahead, lifeMs),
    giveBack: (name, budget, permits) => primary.ask(ANSWER_MS, 'giveBack', name, budget, permits),
    hold: (name, limit, id) => primary.ask(ANSWER_MS, 'hold', name, limit, id),
    free: (name, id) => primary.tell('free', name, id),
  };
}

/** What is kept is a secret that was captured, or rotated to: the primary has no use for it, and so does not see it. */
class SealedStore implements SharedStore {
  readonly #primary: ToPrimary;
  readonly #seal: Seal;

  constructor(primary: ToPrimary, seal: Seal) {
    this.#primary = primary;
    this.#seal = seal;
  }

  async lock(name: string, ttlMs: number): Promise<Lock | undefined> {
    const hidden = this.#seal.hidden(name);
    const fence = await this.#primary.ask(ANSWER_MS, 'lock', hidden, ttlMs);
    if (fence === undefined) return undefined;
    const release = (): Promise<void> => Promise.resolve(this.#primary.tell('unlock', hidden, fence));
    return { fence, release };
  }

  async get(name: string): Promise<string | undefined> {
    const hidden = this.#seal.hidden(name);
    const sealed = await this.#primary.ask(ANSWER_MS, 'get', hidden);
    if (sealed === undefined) return undefined;
    const text = this.#seal.open(placeOf(hidden), sealed);
    if (text === undefined) throw new Refusal('state_unavailable');
    return text;
  }

  put(name: string, text: string, ttlMs: number, fence: number): Promise<boolean> {
    const hidden = this.#seal.hidden(name);
    const sealed = this.#seal.seal(placeOf(hidden), text);
    return this.#primary.ask(ANSWER_MS, 'put', hidden, sealed, ttlMs, fence);
  }

  /** What the primary loses it loses with itself, and its workers end with it. */
  onAnew(): void {}
}

const placeOf = (hidden: string): string => `blob ${hidden}`;
