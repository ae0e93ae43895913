import { good, load, route } from './loadgen.ts';
import { PATHS, SMALL } from './origin.ts';
import { type RunningGate, stubgate } from './peers/stubgate.ts';
import type { Plan } from './rounds.ts';
import { note, type Scores } from './scores.ts';
import { type Setting, startPeer } from './start.ts';

export const RULES_WORK = 'rules';
const [FEW, MANY] = [10, 10_000];
const ROW = {
  key: 'cpuRules',
  label: 'CPU per request, 10,000 rules ÷ 10 rules',
  better: 'lower',
} as const;

/** Two gates that differ in the length of their table alone, one after the other in each round; the matching row is the last. */
export async function measureRules(
  setting: Setting,
  plan: Plan,
  main: string,
  scores: Scores,
): Promise<void> {
  if (!plan.work.includes(RULES_WORK)) return;
  note(RULES_WORK);
  const gates: RunningGate[] = [];
  try {
    for (const rules of [FEW, MANY])
      gates.push(await startPeer(setting, stubgate({ main, shape: { rules } })));
    const [few, many] = gates as [RunningGate, RunningGate];
    for (let round = 0; round < plan.rounds; round++) {
      const first = await cpuPerRequest(setting, plan, few);
      scores.add(ROW, 'stubgate', (await cpuPerRequest(setting, plan, many)) / first);
    }
  } catch (error) {
    scores.fail('stubgate', RULES_WORK, error);
  } finally {
    for (const gate of gates) await gate.group.stop();
  }
}

/** s. */
async function cpuPerRequest(
  { origin, loadCore }: Setting,
  { seconds }: Plan,
  gate: RunningGate,
): Promise<number> {
  const work = { c: 16, w: 0.3, d: seconds, p: PATHS.small, l: SMALL.length };
  const result = good(await load(loadCore, { ...route(origin, gate), ...work }));
  return result.proxy_cpu / result.ok;
}
