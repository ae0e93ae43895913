import { setTimeout as delay } from 'node:timers/promises';
import { fault, load, type Result, route } from './loadgen.ts';
import { PATHS } from './origin.ts';
import { takesPart } from './peers/peer.ts';
import { note, type Scores } from './scores.ts';
import type { Setting, Started } from './start.ts';
import { NEW_NAMES, type Work, WORKS } from './works.ts';

export interface Plan {
  readonly rounds: number;
  /** Length of a sample. */
  readonly seconds: number;
  /** Names of works. */
  readonly work: readonly string[];
  /** Names of peers. */
  readonly only: readonly string[];
}

/** The load generator on the origin itself: no proxy can be seen to be faster. */
export async function measureCeiling({ origin, loadCore }: Setting): Promise<Result> {
  const result = await load(loadCore, { ...route(origin, undefined), c: 16, w: 0.3, d: 1, p: PATHS.small });
  const wrong = fault(result);
  if (wrong !== undefined) throw new Error(`the origin does not work: ${wrong}`);
  return result;
}

/** Every work in every round by one peer after the other; each round another peer is first. */
export async function measureRounds(
  setting: Setting,
  plan: Plan,
  { running }: Started,
  scores: Scores,
): Promise<void> {
  const works = WORKS.filter(work => plan.work.includes(work.name));
  for (let round = 0; round < plan.rounds; round++) {
    const turn = [...running.slice(round % running.length), ...running.slice(0, round % running.length)];
    for (const work of works) {
      note(`round ${round + 1} of ${plan.rounds}: ${work.name}`);
      for (const one of turn) {
        if (!takesPart(one.peer, round) || (work.host !== undefined && !one.peer.mints)) continue;
        await takeSample(setting, plan, one, work, round, scores);
        await delay(150);
      }
    }
  }
}

async function takeSample(
  { origin, loadCore }: Setting,
  { seconds }: Plan,
  { peer, proxy }: Started['running'][number],
  work: Work,
  round: number,
  scores: Scores,
): Promise<void> {
  const options = work.options(seconds, 1 + round * NEW_NAMES);
  const result = await load(loadCore, { ...route(origin, proxy, work.host), ...options });
  const wrong = fault(result);
  if (wrong !== undefined) scores.fail(peer.name, `${work.name}, round ${round + 1}`, wrong);
  for (const metric of work.metrics)
    scores.add(metric, peer.name, wrong === undefined ? metric.value(result) : Number.NaN);
}
