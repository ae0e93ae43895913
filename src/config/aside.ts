import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { assembleAround, ruleSpec } from './assemble.ts';
import type { Batch, Head, Source } from './aside-thread.ts';
import { compileConfig, compileSteps } from './compile.ts';
import { parseConfig } from './load.ts';
import { ConfigError } from './problems.ts';
import { inSlices } from './steps.ts';
import type { Compiled } from './types.ts';
import type { RuleSpec } from '../policy/table.ts';

/** Bytes of a file that is read at once: some hundred rules. A larger one is read aside. */
export const LARGE = 64 * 1024;

const THREAD = new URL(`./aside-thread${extname(import.meta.url)}`, import.meta.url);

/**
 * The configuration that `text` holds, as if it stood in `file`: checked in a thread of its own, and compiled here a few
 * rules at a time: 10,000 rules take seconds, in which nobody's request should wait. Throws ConfigError with every problem
 * in it; another Error if the thread fails, or `signal` ends it. Keeps no process alive.
 */
export async function loadAside(file: string, text: string, signal: AbortSignal): Promise<Compiled> {
  signal.throwIfAborted();
  const thread = new Worker(THREAD, { workerData: { file, text } satisfies Source });
  thread.unref();
  const end = (): void => void thread.terminate();
  signal.addEventListener('abort', end);
  const ended = once(thread, 'exit').then((): never => {
    throw new Error('the thread that reads the configuration ended early');
  });
  ended.catch(() => {}); // it always ends, and mostly nobody waits for it
  const next = async <T>(): Promise<T> =>
    (await Promise.race([once(thread, 'message') as Promise<[T]>, ended]))[0];
  try {
    const head = await next<Head>();
    if (head.problems) throw new ConfigError(head.problems);
    const rules: RuleSpec[] = [];
    for (;;) {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      thread.postMessage('more');
      const batch = await next<Batch>();
      if (batch.length === 0) break;
      for (const [rule, written] of batch) rules.push(ruleSpec(rule, written));
    }
    const config = { ...assembleAround(rules, head.parsed, head.root, file), warnings: head.warnings };
    return await inSlices(compileSteps(config));
  } finally {
    signal.removeEventListener('abort', end);
    end();
  }
}

/** The configuration that `text` holds, as if it stood in `file`; a large one is read aside. Rejects with ConfigError. */
export async function compileText(text: string, file: string): Promise<Compiled> {
  if (text.length <= LARGE) return compileConfig(parseConfig(text, file));
  return loadAside(file, text, new AbortController().signal);
}
