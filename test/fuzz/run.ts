import { parseArgs } from 'node:util';

/** One thing to fuzz, a module of this folder. */
export interface FuzzTarget {
  readonly name: string;
  /** Runs until performance.now() reaches the deadline. A finding says what was wrong, and with which input. */
  run(deadlineMs: number): Promise<{ executions: number; findings: string[] }>;
}

const MODULES = ['./h1.ts', './h2.ts', './policy.ts', './scrub.ts', './websocket.ts'];

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '10' }, only: { type: 'string' } },
});
const targets = await Promise.all(MODULES.map(async module => (await import(module)) as FuzzTarget));
const chosen = targets.filter(target => values.only === undefined || target.name === values.only);
if (chosen.length === 0) {
  console.error(`no target "${values.only}"; one of ${targets.map(target => target.name).join(', ')}`);
  process.exit(2);
}
for (const target of chosen) {
  const { executions, findings } = await target.run(performance.now() + Number(values.seconds) * 1000);
  console.log(`${target.name}: ${executions} executions, ${findings.length} findings`);
  for (const finding of findings) console.log(`  ${finding}`);
  if (findings.length > 0) process.exitCode = 1;
}
