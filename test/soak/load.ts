import { setTimeout as delay } from 'node:timers/promises';
import { Sandbox } from './sandbox.ts';
import type { Scene } from './scene.ts';
import type { Ledger } from './ledger.ts';
import type { Findings, Windows } from './windows.ts';
import { type Outcome, WORKS } from './work.ts';

/** Of a session, ms. */
const LIFE_MS = [5_000, 30_000] as const;

export interface LoadCounts {
  done: number;
  right: number;
  left: number;
  sessions: number;
  /** Errors that a fault explains, by fault. */
  readonly excused: Map<string, number>;
  readonly works: Map<string, number>;
}

/** Requests at a pace, in sessions that come and go. */
export class Load {
  readonly counts: LoadCounts = {
    done: 0,
    right: 0,
    left: 0,
    sessions: 0,
    excused: new Map(),
    works: new Map(),
  };
  /** Requests per second; 0: as fast as the answers come. */
  rate = 0;
  isPaused = false;
  readonly #scene: Scene;
  readonly #ledger: Ledger;
  readonly #windows: Windows;
  readonly #findings: Findings;
  #nextSlot = 0;
  #active = 0;

  constructor(scene: Scene, ledger: Ledger, windows: Windows, findings: Findings) {
    this.#scene = scene;
    this.#ledger = ledger;
    this.#windows = windows;
    this.#findings = findings;
  }

  /** One sandbox after the other, until the end. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const from = Date.now();
      const lifeMs = LIFE_MS[0] + Math.random() * (LIFE_MS[1] - LIFE_MS[0]);
      const sandbox = await Sandbox.create(this.#scene.gate, this.#scene.ca, lifeMs);
      if (typeof sandbox === 'number') {
        const error = sandbox === 503 ? 'state_unavailable' : `status ${sandbox}`;
        this.#settle('create', from, { kind: 'error', error, detail: `POST /v1/sessions: ${sandbox}` });
        await delay(200);
        continue;
      }
      this.counts.sessions++;
      await this.#live(sandbox, signal);
    }
  }

  async #live(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && performance.now() < sandbox.endsAt) {
      await this.#slot();
      if (this.isPaused) {
        sandbox.close();
        await delay(50);
        continue;
      }
      await this.#one(sandbox);
    }
    // Most are revoked, some of them with a request under way; some are left to expire.
    const how = Math.random();
    const last = how < 0.3 ? this.#one(sandbox) : undefined;
    sandbox.isOver = true;
    if (how < 0.8) await this.#revoke(sandbox);
    await last;
    sandbox.close();
  }

  async #revoke({ id }: Sandbox): Promise<void> {
    const from = Date.now();
    const { status } = await this.#scene.gate.call('DELETE', `/v1/sessions/${id}`);
    if (status === 200) return;
    const error = status === 503 || status === 404 ? 'state_unavailable' : `status ${status}`;
    this.#settle('revoke', from, { kind: 'error', error, detail: `DELETE: ${status}` });
  }

  /** Settles when the next request is due. */
  async #slot(): Promise<void> {
    if (this.rate === 0) return;
    const now = performance.now();
    // What could not be sent in time is not sent later all at once.
    this.#nextSlot = Math.max(this.#nextSlot + 1000 / this.rate, now - 500);
    if (this.#nextSlot > now) await delay(this.#nextSlot - now);
  }

  async #one(sandbox: Sandbox): Promise<void> {
    const work = pick();
    const from = Date.now();
    this.#active++;
    const { secrets } = this.#scene;
    const place = { sandbox, secrets, ledger: this.#ledger };
    const outcome = await work.run(place).catch(
      (error: unknown): Outcome => ({
        kind: 'wrong',
        detail: `the soak itself: ${(error as Error).stack}`,
      }),
    );
    this.#active--;
    this.counts.works.set(work.name, (this.counts.works.get(work.name) ?? 0) + 1);
    this.#settle(work.name, from, outcome, sandbox.isOver);
  }

  #settle(name: string, from: number, outcome: Outcome, isOver = false): void {
    const { counts } = this;
    counts.done++;
    switch (outcome.kind) {
      case 'right':
        counts.right++;
        return;
      case 'left':
        counts.left++;
        return;
      case 'wrong':
        this.#findings.add(`wrong: ${name}`, outcome.detail);
        return;
      case 'error': {
        const why =
          isOver && outcome.error !== 'internal_error'
            ? 'session ended'
            : this.#windows.explains(outcome.error, from);
        if (why === undefined) this.#findings.add(`${outcome.error}: ${name}`, outcome.detail);
        else counts.excused.set(why, (counts.excused.get(why) ?? 0) + 1);
      }
    }
  }

  /** Settles when nothing is under way. */
  async pause(): Promise<void> {
    this.isPaused = true;
    for (let tries = 0; this.#active > 0 && tries < 400; tries++) await delay(50);
    // Connections are closed by whoever sees the pause.
    await delay(500);
  }
}

const TOTAL = WORKS.reduce((all, { weight }) => all + weight, 0);

function pick(): (typeof WORKS)[number] {
  let at = Math.random() * TOTAL;
  for (const work of WORKS) {
    at -= work.weight;
    if (at < 0) return work;
  }
  return WORKS[0] as (typeof WORKS)[number];
}
