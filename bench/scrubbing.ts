import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { pinned } from './processes.ts';
import type { Plan } from './rounds.ts';
import { note, type Scores } from './scores.ts';
import type { Setting } from './start.ts';

export const SCRUB_WORK = 'scrub';
const SCRIPT = fileURLToPath(new URL('scrub.ts', import.meta.url));
/** What a download is, and what an API answers: of the texts that scrub.ts knows, the two that are most common. */
const CORPORA = { '': 'random binary', Json: 'plain JSON' } as const;

/** The scrubber alone, without a socket, on the core of the proxies: GB/s by the number of secrets. */
export function measureScrub({ proxyCore }: Setting, plan: Plan, scores: Scores): void {
  if (!plan.work.includes(SCRUB_WORK)) return;
  note(SCRUB_WORK);
  try {
    const options = Object.values(CORPORA).flatMap(name => ['--corpus', name]);
    const [command, args] = pinned(proxyCore, process.execPath, [SCRIPT, '--json', ...options]);
    const speeds = JSON.parse(execFileSync(command, args, { encoding: 'utf8' })) as Record<string, number[]>;
    for (const [suffix, name] of Object.entries(CORPORA))
      for (const [i, count] of (speeds['secrets'] ?? []).entries()) {
        const label = `scrub, ${name}, ${count} secret${count === 1 ? '' : 's'}, GB/s`;
        const row = { key: `scrub${count}${suffix}`, label, better: 'higher' } as const;
        scores.add(row, 'stubgate', (speeds[name]?.[i] ?? Number.NaN) / 1e3);
      }
  } catch (error) {
    scores.fail('stubgate', SCRUB_WORK, error);
  }
}
