import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../types.ts';
import type { PrimaryCalls, Start } from './calls.ts';
import { CrewMember } from './crew-member.ts';

/** One that served for so long was not made to end by its start. */
const SOUND_MS = 10_000;
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 2000;
/** Starts of one worker that fail one after the other. */
const MAX_FAILURES = 5;
/** What connects just before its worker is replaced gets to begin. */
const SETTLE_MS = 1000;
/** Whoever ends a whole service tells all of its processes at once: the primary may hear of it last. */
const HEAR_MS = 200;

export interface CrewOptions {
  readonly count: number;
  readonly log: Log;
  /** A process that knows nothing yet. */
  readonly spawn: (slot: number, number: number) => ChildProcess;
  readonly callsOf: (member: CrewMember) => PrimaryCalls;
  /** Tells what it must know before it serves. */
  readonly introduce: (member: CrewMember) => void;
  readonly startOf: (member: CrewMember) => Start;
  readonly drainMs: () => number;
  readonly onGone: (member: CrewMember) => void;
  /** There is no more than trying could do. */
  readonly onFailed: (cause: Error) => void;
}

/** The workers: one for each slot, and while it is being replaced two. */
export class Crew {
  readonly #options: CrewOptions;
  readonly #living = new Set<CrewMember>();
  /** By slot. */
  readonly #serving: (CrewMember | undefined)[];
  /** By slot: what is being done there, one after the other. */
  readonly #turns: Promise<void>[];
  /** By slot: how often in a row one ended soon, or did not even start. */
  readonly #failures: number[];
  #rolling = Promise.resolve();
  #isStopping = false;

  constructor(options: CrewOptions) {
    this.#options = options;
    const each = { length: options.count };
    this.#serving = Array.from(each, () => undefined);
    this.#turns = Array.from(each, () => Promise.resolve());
    this.#failures = Array.from(each, () => 0);
  }

  /** All of them, also those that do not serve yet, or are about to leave. */
  get living(): ReadonlySet<CrewMember> {
    return this.#living;
  }

  /** Each slot has one that serves. */
  get isComplete(): boolean {
    return this.#serving.every(member => member !== undefined && this.#living.has(member));
  }

  /** Settles when all serve. Rejects with the reason why one does not. */
  async launch(): Promise<void> {
    await Promise.all(this.#serving.map((_, slot) => this.#hire(slot)));
  }

  /** Settles when all have taken in what they were told. */
  async sync(): Promise<void> {
    await Promise.all([...this.#living].map(member => member.sync()));
  }

  /** Replaces one after the other: the next one serves before it is told to leave. Rejects when one could not be replaced. */
  roll(): Promise<void> {
    const rolled = this.#rolling.then(async () => {
      for (const slot of this.#serving.keys()) await this.#replace(slot);
    });
    this.#rolling = rolled.catch(() => {});
    return rolled;
  }

  /** One asks to be replaced. */
  leave(member: CrewMember): void {
    if (this.#serving[member.slot] !== member || this.#isStopping) return;
    const left = this.#rolling.then(() => delay(HEAR_MS)).then(() => this.#replace(member.slot, member));
    this.#rolling = left.catch((cause: unknown) =>
      this.#options.log.error('a worker stays: it could not be replaced', { worker: member.number, cause }),
    );
  }

  /** Settles when all are gone. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const { drainMs } = this.#options;
    await Promise.all([...this.#living].map(member => member.stop(drainMs(), 0)));
  }

  /** `only`: unless somebody else serves there by then. */
  #replace(slot: number, only?: CrewMember): Promise<void> {
    return this.#inTurn(slot, async () => {
      const before = this.#serving[slot];
      if (this.#isStopping || (only && before !== only)) return;
      await this.#hire(slot);
      await before?.stop(this.#options.drainMs(), SETTLE_MS);
    });
  }

  #inTurn(slot: number, step: () => Promise<void>): Promise<void> {
    const done = (this.#turns[slot] as Promise<void>).then(step);
    this.#turns[slot] = done.catch(() => {});
    return done;
  }

  async #hire(slot: number): Promise<void> {
    const { spawn, callsOf, introduce, startOf } = this.#options;
    const number = this.#freeNumber();
    const member = new CrewMember(number, slot, spawn(slot, number), callsOf);
    this.#living.add(member);
    void member.gone.then(how => this.#gone(member, how));
    // In one step with becoming one of the living: who is told later is not told again.
    introduce(member);
    await member.start(startOf(member));
    this.#serving[slot] = member;
  }

  #freeNumber(): number {
    const taken = new Set([...this.#living].map(member => member.number));
    let number = 1;
    while (taken.has(number)) number++;
    return number;
  }

  #gone(member: CrewMember, how: string): void {
    this.#living.delete(member);
    this.#options.onGone(member);
    const { slot, number, servesSince } = member;
    if (this.#isStopping || member.isLeaving || this.#serving[slot] !== member) return;
    const isSound = performance.now() - (servesSince ?? 0) > SOUND_MS;
    this.#failures[slot] = isSound ? 0 : (this.#failures[slot] as number) + 1;
    this.#options.log.error('a worker ended, and is replaced', { worker: number, how });
    void this.#inTurn(slot, () => this.#mend(slot));
  }

  /** Sees to it that somebody serves there. */
  async #mend(slot: number): Promise<void> {
    for (let starts = 1; !this.#isStopping; starts++) {
      const serving = this.#serving[slot];
      if (serving && this.#living.has(serving)) return;
      const failures = this.#failures[slot] as number;
      if (failures > 0) await delay(Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS));
      if (this.#isStopping) return;
      try {
        return await this.#hire(slot);
      } catch (cause) {
        this.#failures[slot] = failures + 1;
        this.#options.log.error('a worker does not start', { cause });
        if (starts >= MAX_FAILURES && !this.#isStopping) return this.#options.onFailed(cause as Error);
      }
    }
  }
}
