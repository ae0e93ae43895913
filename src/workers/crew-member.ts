import type { ChildProcess } from 'node:child_process';

import type { Measurement, PrimaryCalls, Start, WorkerCalls } from './calls.ts';
import { Channel } from './channel.ts';

/** To start, to take in another configuration, and for anything else. A worker that takes longer is not trusted any more. */
const START_MS = 60_000;
const RELOAD_MS = 30_000;
const ANSWER_MS = 5000;
/** For what ends beside the requests under way, and for the process's own end. */
const STOP_MS = 15_000;
const EXIT_MS = 2000;

/** A worker, as the primary sees it. */
export class CrewMember {
  /** From 1; of those that live no two have the same. */
  readonly number: number;
  /** Which of the sockets it accepts on. */
  readonly slot: number;
  readonly channel: Channel<WorkerCalls, PrimaryCalls>;
  /** Settles when the process is gone, with what became of it. */
  readonly gone: Promise<string>;
  /** What it counted, as far as that is known. */
  last: Measurement | undefined;
  /** performance.now(); undefined before it serves. */
  servesSince: number | undefined;
  /** Somebody else serves in its place, or nobody is to. */
  isLeaving = false;
  readonly #child: ChildProcess;

  constructor(number: number, slot: number, child: ChildProcess, calls: (of: CrewMember) => PrimaryCalls) {
    this.number = number;
    this.slot = slot;
    this.#child = child;
    this.channel = new Channel(child, calls(this), () => new Error(`worker ${number} does not answer`));
    this.gone = new Promise(resolve => {
      child.on('error', error => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    void this.gone.then(how => this.channel.close(new Error(`worker ${number} ended: ${how}`)));
  }

  /** Settles when it serves. Rejects, when it is gone, with the reason why it does not. */
  async start(start: Start): Promise<void> {
    try {
      await this.channel.ask(START_MS, 'start', start);
      this.servesSince = performance.now();
    } catch (error) {
      this.kill();
      await this.gone;
      throw error;
    }
  }

  /** Settles when it has taken in what it was told. One that does not is ended: nobody knows what it would go on to serve. */
  async sync(): Promise<void> {
    const ms = this.servesSince === undefined ? START_MS : ANSWER_MS;
    await this.channel.ask(ms, 'sync').catch(() => this.kill());
  }

  /** Whether it serves by that configuration now. */
  async reload(text: string): Promise<boolean> {
    try {
      return await this.channel.ask(RELOAD_MS, 'reload', text);
    } catch {
      this.kill();
      // The next one starts with it.
      return true;
    }
  }

  /** Undefined if it does not tell; one that could and does not is ended, as by `sync`. */
  async measure(): Promise<Measurement | undefined> {
    if (this.servesSince === undefined) return undefined;
    try {
      return (this.last = await this.channel.ask(ANSWER_MS, 'measure'));
    } catch {
      this.kill();
      return undefined;
    }
  }

  /** Settles when it is gone. `settleMs`: as `Gate.stop` has it. `drainMs`: what requests under way get. */
  async stop(drainMs: number, settleMs: number): Promise<void> {
    this.isLeaving = true;
    try {
      this.last = await this.channel.ask(drainMs + settleMs + STOP_MS, 'stop', settleMs);
      if (this.#child.connected) this.#child.disconnect();
    } catch {
      this.kill();
    }
    const timer = setTimeout(() => this.kill(), EXIT_MS);
    await this.gone;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
