import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { MAX_WORKERS, parseWorkers } from '../config/scalars.ts';
import type { Log } from '../types.ts';
import { UsageError } from './fail.ts';
import { harden } from './harden.ts';
import { tuneHeap } from './heap.ts';
import { createLog, type Level, LEVELS } from './log.ts';

/** What `start` starts several of; nobody else does. */
export function workerVerb(program: Command): void {
  program
    .command('worker <number>', { hidden: true })
    .addOption(new Option('--log-level <level>').choices(LEVELS).default('info'))
    .action(work);
}

async function work(_number: string, { logLevel }: { logLevel: Level }): Promise<void> {
  if (!process.send) throw new UsageError('a worker is started by: stubgate start --workers N');
  tuneHeap();
  harden();
  process.umask(0o077);
  const log = createLog(process.stderr, logLevel);
  process.on('uncaughtException', error => {
    log.error('a worker failed, and ends', { cause: error });
    process.exit(1);
  });
  const { WorkerProcess } = await import('../workers/worker.ts');
  new WorkerProcess(worker => withFields(log, { worker })).run();
}

/**
 * A process that becomes a worker, with `fd` as its descriptor 4. What it must know comes through its channel: everybody
 * reads command lines. Its number there is for people.
 */
export function spawnWorker(fd: number, number: number, logLevel: Level): ChildProcess {
  const args = [...process.execArgv, process.argv[1] ?? '', 'worker', `${number}`, '--log-level', logLevel];
  return spawn(process.execPath, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd],
    serialization: 'advanced',
  });
}

/** Of `--workers`. Throws UsageError. */
export function workersOption(text: string): number | 'auto' {
  const workers = parseWorkers(text);
  if (workers === undefined)
    throw new UsageError(`--workers ${text}: write a whole number from 1 to ${MAX_WORKERS}, or auto`);
  return workers;
}

export function countOf(workers: number | 'auto'): number {
  return workers === 'auto' ? Math.min(availableParallelism(), MAX_WORKERS) : workers;
}

function withFields(log: Log, more: Readonly<Record<string, unknown>>): Log {
  const at = (level: keyof Log) => (message: string, fields?: Readonly<Record<string, unknown>>) =>
    log[level](message, { ...more, ...fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
