import { misused, optionsOf } from '../../bench/usage.ts';

/** One thing to fuzz, a module of this folder. */
export interface FuzzTarget {
  readonly name: string;
  /** Runs until performance.now() reaches the deadline. A finding says what was wrong, and with which input. */
  run(deadlineMs: number): Promise<{ executions: number; findings: string[] }>;
}

const MODULES = ['./h1.ts', './h2.ts', './policy.ts', './scrub.ts', './websocket.ts'];

const HELP = `Feeds what no client and no server would send to parts of the gate, and to a whole one.

npm run fuzz -- [options]
  --seconds N     for each target (10)
  --only NAME     one of ${MODULES.map(module => module.slice(2, -3)).join(', ')}
  --help

FUZZ_SEED=N begins with that input, as a finding tells it. Exit 0: nothing was found; 1: findings; 2: wrong usage.`;

const values = optionsOf(HELP, {
  seconds: { type: 'string', default: '10' },
  only: { type: 'string' },
});
const seconds = Number(values.seconds);
if (!(seconds > 0)) misused(HELP, '--seconds: a number above 0 was expected');
const targets = await Promise.all(MODULES.map(async module => (await import(module)) as FuzzTarget));
const chosen = targets.filter(target => values.only === undefined || target.name === values.only);
if (chosen.length === 0) misused(HELP, `no target "${values.only}"`);
for (const target of chosen) {
  const { executions, findings } = await target.run(performance.now() + seconds * 1000);
  console.log(`${target.name}: ${executions} executions, ${findings.length} findings`);
  for (const finding of findings) console.log(`  ${finding}`);
  if (findings.length > 0) process.exitCode = 1;
}
