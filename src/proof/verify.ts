import type { Compiled } from '../config/types.ts';
import { tryOthers } from './others.ts';
import { Proof } from './proof.ts';
import type { Report } from './report.ts';
import { tasksOf, trialsOf } from './trial.ts';

/** Probes under way at a time. */
const CONCURRENCY = 6;

export interface VerifyOptions {
  readonly compiled: Compiled;
  /** Only this profile. */
  readonly profile?: string | undefined;
  /** Told of how many of how many probes are done. */
  readonly progress?: (done: number, total: number) => void;
}

/** Tries on every rule every way to give a secret back, and looks for it in whatever reached the sandbox. */
export async function verify({ compiled, profile, progress }: VerifyOptions): Promise<Report> {
  const startedAt = performance.now();
  const proof = new Proof(compiled);
  try {
    await proof.open();
    const trials = trialsOf(compiled, profile);
    const tasks = trials.flatMap(tasksOf);
    let done = 0;
    await pooled(tasks, CONCURRENCY, async task => {
      await proof.attempt(task);
      progress?.(++done, tasks.length);
    });
    for (const trial of trials) await tryOthers(trial, proof);
    const elsewhere = proof.searchElsewhere();
    const seconds = (performance.now() - startedAt) / 1000;
    return { rules: trials.map(({ report }) => report), elsewhere, matrix: proof.matrix, seconds };
  } finally {
    await proof.close();
  }
}

async function pooled<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item);
  };
  await Promise.all(Array.from({ length: limit }, worker));
}
