import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { good, load, route } from './loadgen.ts';
import { PATHS, SMALL } from './origin.ts';
import { FETCHED } from './peers/gate-config.ts';
import { type RunningGate, stubgate } from './peers/stubgate.ts';
import type { Plan } from './rounds.ts';
import { note, type Scores } from './scores.ts';
import { type Setting, startPeer } from './start.ts';
import { NAME_PATTERN, NEW_NAMES } from './works.ts';

export const STALLS_WORK = 'stalls';
const PRELOAD = fileURLToPath(new URL('stalls.preload.ts', import.meta.url));
const RULES = 10_000;
/** Longest time that a reload may take, s. */
const RELOAD = 20;
/** What an event held up is answered meanwhile. */
const SETTLE_MS = 300;
/** The stream of requests that each stall holds up: one each 5 ms in one tunnel. */
const PACED = { c: 1, g: 5, p: PATHS.small, l: SMALL.length };

/** What the gate does beside the stream; resolves when it is done. */
type Event = (setting: Setting, seconds: number, gate: RunningGate) => Promise<unknown>;

const EVENTS: Readonly<Record<string, { readonly text: string; readonly event: Event }>> = {
  Quiet: { text: 'nothing else to do', event: (_, seconds) => delay(seconds * 1000) },
  Mint: {
    text: 'minting',
    event: ({ origin, loadCore }, seconds, gate) => {
      const names = { c: 1, k: 1, r: NEW_NAMES, d: seconds, p: PATHS.small };
      return load(loadCore, { ...route(origin, gate, NAME_PATTERN), ...names }).then(good);
    },
  },
  Fetch: {
    text: 'fetching',
    event: ({ origin, loadCore }, seconds, gate) => {
      const { fetched } = gate;
      if (fetched === undefined) throw new Error('the gate has no credential to fetch');
      const way = route(
        { ...origin, port: origin.vaultPort },
        { ...gate, authorization: fetched },
        FETCHED.host,
      );
      return load(loadCore, { ...way, c: 1, g: 5, d: Math.max(seconds, 3), p: PATHS.open }).then(good);
    },
  },
  Reload: { text: 'reloading 10,000 rules', event: (_, __, gate) => reload(gate) },
};

/** Longest stall of the gate's event loop, by what it does beside a stream of requests. */
export async function measureStalls(
  setting: Setting,
  plan: Plan,
  main: string,
  scores: Scores,
): Promise<void> {
  if (!plan.work.includes(STALLS_WORK)) return;
  const shape = { rules: RULES, fetches: true };
  const nodeOptions = ['--import', PRELOAD];
  note(STALLS_WORK);
  let gate: RunningGate | undefined;
  try {
    gate = await startPeer(setting, stubgate({ main, nodeOptions, shape }));
    await load(setting.loadCore, { ...route(setting.origin, gate), c: 16, d: 2, p: PATHS.small });
    for (const [key, { text, event }] of Object.entries(EVENTS)) {
      const { wall, cpu } = await during(setting, gate, () =>
        event(setting, plan.seconds, gate as RunningGate),
      );
      const row = { better: 'lower' } as const;
      const label = `event-loop stall, ${text}, ms`;
      scores.add({ ...row, key: `stall${key}`, label }, 'stubgate', wall);
      scores.add({ ...row, key: `stallCpu${key}`, label: `CPU in it, ${text}, ms` }, 'stubgate', cpu);
    }
  } catch (error) {
    scores.fail('stubgate', STALLS_WORK, error);
  } finally {
    await gate?.group.stop();
  }
}

interface Stall {
  /** ms. */
  readonly wall: number;
  /** Most CPU time between two ticks, ms: what is missing was waiting for the kernel, or for the core. */
  readonly cpu: number;
}

async function during(
  { origin, loadCore }: Setting,
  gate: RunningGate,
  event: () => Promise<unknown>,
): Promise<Stall> {
  await longestStall(gate); // forgets what was before
  const ended = new AbortController();
  const stream = load(loadCore, { ...route(origin, gate), ...PACED, d: RELOAD * 2 }, ended.signal);
  await delay(200);
  try {
    await event();
    await delay(SETTLE_MS);
  } finally {
    ended.abort();
  }
  good(await stream);
  return longestStall(gate);
}

/** Since it was last asked; see stalls.preload.ts. */
async function longestStall({ group, config }: RunningGate): Promise<Stall> {
  const file = join(dirname(config), 'stall');
  const read = (): string => (existsSync(file) ? readFileSync(file, 'utf8') : '');
  const before = read();
  process.kill(-group.pgid, 'SIGUSR2');
  for (const until = Date.now() + 10_000; Date.now() < until; ) {
    await delay(25);
    const text = read();
    if (text === before || !text.endsWith('\n')) continue;
    const [wall, cpu] = (text.trim().split('\n').at(-1) ?? '').split(' ').map(Number);
    return { wall: wall ?? Number.NaN, cpu: cpu ?? Number.NaN };
  }
  throw new Error('the gate told nothing of its stalls');
}

/** Another table of the same length is read, and holds. */
async function reload({ group, config, log }: RunningGate): Promise<void> {
  const reloads = (): number => readFileSync(log, 'utf8').split('configuration reloaded').length;
  const before = reloads();
  writeFileSync(config, readFileSync(config, 'utf8').replaceAll('/repos/acme/**', '/repos/other/**'));
  process.kill(-group.pgid, 'SIGHUP');
  for (const until = Date.now() + RELOAD * 1000; Date.now() < until; ) {
    await delay(50);
    if (reloads() > before) return;
  }
  throw new Error(
    `no reload within ${RELOAD} s; the end of its log: ${readFileSync(log, 'utf8').slice(-500)}`,
  );
}
