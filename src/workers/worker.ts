import { startGate, type Gate } from '../app.ts';
import { fileOfWorker } from '../audit/files.ts';
import { compileText } from '../config/aside.ts';
import { parseConfig } from '../config/load.ts';
import type { Compiled } from '../config/types.ts';
import { Refusal } from '../errors.ts';
import type { Log } from '../types.ts';
import type { Measurement, PrimaryCalls, Start, WorkerCalls } from './calls.ts';
import { Channel } from './channel.ts';
import { type ToPrimary, WorkerSessions } from './worker-sessions.ts';
import { workerState } from './worker-state.ts';

/** One process that serves the proxy, as its parent tells it. Without its parent it ends: nobody could tell it of a revocation. */
export class WorkerProcess {
  readonly #primary: ToPrimary;
  readonly #sessions: WorkerSessions;
  readonly #logOf: (worker: number) => Log;
  readonly #gate = Promise.withResolvers<Gate>();
  #start: Start | undefined;
  #isStopped = false;
  #unwatch: (() => void) | undefined;

  /** `logOf`: the log of the worker of that number. */
  constructor(logOf: (worker: number) => Log) {
    this.#logOf = logOf;
    this.#primary = new Channel<PrimaryCalls, WorkerCalls>(
      process,
      this.#calls(),
      () => new Refusal('state_unavailable'),
    );
    this.#sessions = new WorkerSessions(this.#primary);
    // Whoever asked for the start is told.
    this.#gate.promise.catch(() => {});
  }

  /** Until the parent is gone. */
  run(): void {
    process.on('disconnect', () => process.exit(this.#isStopped ? 0 : 1));
    process.on('SIGTERM', () => this.#primary.tell('leave'));
    // A terminal sends them to the primary as well, which knows what to do.
    for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
  }

  #calls(): WorkerCalls {
    const gate = this.#gate.promise;
    return {
      sessions: sessions => this.#sessions.learn(sessions),
      revoked: (id, at) => this.#sessions.revoked(id, at),
      sync: () => {},
      start: options => this.#serve(options),
      guard: async ({ address, port }) => (await gate).guard(address, port),
      reload: async text => (await gate).use(await this.#compiledOf(text)),
      reopen: async () => reopen(await gate, this.#logOf(this.#start?.number ?? 0)),
      watch: async isWatched => this.#watch(await gate, isWatched),
      measure: async () => measure(await gate),
      stop: async settleMs => this.#stop(await gate, settleMs),
    };
  }

  async #serve(start: Start): Promise<void> {
    this.#start = start;
    const { number, file, text, fixed, listener, ticketSalt, caPem, workers } = start;
    try {
      const gate = await startGate({
        configFile: file,
        config: { ...parseConfig(text, file), ...fixed },
        log: this.#logOf(number),
        auditFile: fileOfWorker(fixed.audit.file, number),
        worker: {
          listener,
          ticketSalt,
          caPem,
          state:
            fixed.state === 'memory'
              ? key => workerState(this.#primary, this.#sessions, key, workers)
              : undefined,
        },
      });
      for (const { address, port } of start.own) gate.guard(address, port);
      if (start.isWatched) this.#watch(gate, true);
      this.#gate.resolve(gate);
    } catch (error) {
      this.#gate.reject(error);
      throw error;
    }
  }

  /** Rejects with ConfigError, though the primary has read it before. */
  async #compiledOf(text: string): Promise<Compiled> {
    const { file, fixed } = this.#start as Start;
    const compiled = await compileText(text, file);
    return { ...compiled, config: { ...compiled.config, ...fixed } };
  }

  #watch({ events }: Gate, isWatched: boolean): void {
    this.#unwatch?.();
    this.#unwatch = isWatched ? events.watch(event => this.#primary.tell('happened', event)) : undefined;
  }

  async #stop(gate: Gate, settleMs: number): Promise<Measurement> {
    await gate.stop(settleMs);
    this.#isStopped = true;
    return measure(gate);
  }
}

async function measure(gate: Gate): Promise<Measurement> {
  const { metrics, gauges } = await gate.measure();
  return { counts: metrics.counts(), gauges };
}

function reopen({ audit, config }: Gate, log: Log): void {
  audit.reopen();
  if (!audit.healthy)
    log.error('the audit cannot be written: every request is refused', { file: config.audit.file });
}
