import { performance } from 'node:perf_hooks';
import { randomBase62 } from '../../inject/base62.ts';
import type { Log } from '../../types.ts';
import type { Alarm, Lock, SharedStore } from '../state.ts';
import type { Seal } from '../seal.ts';
import type { Link } from './link.ts';
import { LOCK, PUT, UNLOCK } from './scripts.ts';

/** What gates keep for each other; every value is sealed before it leaves the process, and so are names. */
export class RedisStore implements SharedStore {
  readonly #link: Link;
  readonly #seal: Seal;
  readonly #listeners = new Set<() => void>();

  constructor(link: Link, seal: Seal) {
    this.#link = link;
    this.#seal = seal;
  }

  async lock(name: string, ttlMs: number): Promise<Lock | undefined> {
    const hidden = this.#seal.hidden(name);
    const token = randomBase62(22);
    const lock = this.#link.key('lock', hidden);
    // What cannot be given back ends by itself.
    const release = (): Promise<void> => this.#link.run(UNLOCK, [lock], [token], true).then(ignored, ignored);
    const keys = [lock, this.#link.key('fence', hidden)];
    const fence = await this.#link.run(LOCK, keys, [token, ttlMs]).catch((error: unknown) => {
      // It may have been taken all the same, after we gave up.
      void release();
      throw error;
    });
    return typeof fence === 'string' ? { fence: Number(fence), release } : undefined;
  }

  async get(name: string): Promise<string | undefined> {
    const hidden = this.#seal.hidden(name);
    const sealed = await this.#link.ask(client => client.hget(this.#link.key('blob', hidden), 'value'));
    return sealed === null ? undefined : this.#seal.open(`blob ${hidden}`, sealed);
  }

  async put(name: string, text: string, ttlMs: number, fence: number): Promise<boolean> {
    const hidden = this.#seal.hidden(name);
    const sealed = this.#seal.seal(`blob ${hidden}`, text);
    return (await this.#link.run(PUT, [this.#link.key('blob', hidden)], [fence, sealed, ttlMs])) === 1;
  }

  onAnew(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Redis may have lost what was put there. */
  anew(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** In a second; each gate has all of its own in its log and its audit. */
const MAX_ALARMS = 20;

/** The alarms of all gates; sealed, so that only gates can raise one. */
export class RedisAlarms {
  /** This gate, as the others see it. */
  readonly #gate = randomBase62(12);
  readonly #link: Link;
  readonly #seal: Seal;
  readonly #log: Log;
  #second = 0;
  #published = 0;

  constructor(link: Link, seal: Seal, log: Log) {
    this.#link = link;
    this.#seal = seal;
    this.#log = log;
  }

  get channel(): string {
    return this.#link.key('alarms');
  }

  publish(alarm: Alarm): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) this.#published = 0;
    this.#second = second;
    if (++this.#published > MAX_ALARMS) return;
    const sealed = this.#seal.seal('alarm', JSON.stringify({ ...alarm, gate: this.#gate }));
    this.#link
      .ask(client => client.publish(this.channel, sealed))
      .catch((cause: unknown) => this.#log.warn('an alarm could not be published', { cause }));
  }

  /** Of another gate; undefined for one that no gate raised, or this one. */
  open(message: string): (Alarm & { readonly gate: string }) | undefined {
    const text = this.#seal.open('alarm', message);
    const alarm = text === undefined ? undefined : (JSON.parse(text) as Alarm & { gate: string });
    return alarm?.gate === this.#gate ? undefined : alarm;
  }
}

const ignored = (): void => {};
