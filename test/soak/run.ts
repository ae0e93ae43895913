import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { misused, optionsOf } from '../../bench/usage.ts';
import { type FaultCounts, harass } from './faults.ts';
import type { Descriptors, LogLine } from './gate.ts';
import { Ledger } from './ledger.ts';
import { Load } from './load.ts';
import { Memory } from './memory.ts';
import { type Scene, startScene } from './scene.ts';
import { type Fault, Findings, Windows } from './windows.ts';

const HELP = `A gate from dist/ at half load, with sessions that come and go, rotation, reloads, and faults of vault and Redis.

npm run soak -- [options]
  --minutes N     how long it runs (60; fractions are fine: 0.33 is a short form for CI)
  --rate N        requests per second (half of what a first look finds possible)
  --sandboxes N   sessions at a time (16)
  --workers N     processes that serve (1); from 2 on one of them is killed now and then, and there is no Redis
  --help

Exit 0: nothing was found; 1: findings; 2: wrong usage.`;

const TICK_MS = 10_000;
/** Descriptors of one process may differ by what is just being opened, such as a connection to Redis. */
const DESCRIPTOR_SLACK = 2;
/** What the gate gets to close what is left, such as a request to a vault that hangs. */
const QUIET_MS = 25_000;
const STOP_MS = 15_000;
const SECONDS_TO_LOOK = 4;

/** What the gate may log at a level above info while a fault holds, or at any time. */
const EXPECTED: readonly { message: RegExp; during?: Fault }[] = [
  { message: /^alarm$/ },
  { message: /^configuration not reloaded: the last good one stays$/ },
  { message: /^The credential cannot be fetched$/, during: 'vault' },
  { message: /^a credential (that|cannot) /, during: 'vault' },
  { message: /^a credential that the upstream rejected/, during: 'rotation' },
  { message: /Redis|session|published/, during: 'redis' },
  { message: /^a worker ended, and is replaced$/, during: 'worker' },
  // An upstream that cuts its answer, on purpose; a client that leaves.
  { message: /^The upstream (did not answer|cannot be reached)/ },
];

const values = optionsOf(HELP, {
  minutes: { type: 'string', default: '60' },
  rate: { type: 'string' },
  sandboxes: { type: 'string', default: '16' },
  workers: { type: 'string', default: '1' },
});
const workers = Number(values.workers);
const numbers = [values.minutes, values.sandboxes, values.rate ?? '1', workers].map(Number);
if (numbers.some(number => !(number > 0))) misused(HELP, 'a number above 0 was expected');

async function soak(): Promise<number> {
  const findings = new Findings();
  const windows = new Windows();
  const log = (line: LogLine | string): void => judgeLog(line, windows, findings);
  const scene = await startScene(findings, log, workers);
  process.once('exit', () => {
    scene.gate.kill();
    scene.redis?.signal('SIGKILL');
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  if (!scene.redis && workers === 1)
    console.log('redis-server or redis-sentinel is not installed: the state is in memory, nothing stops it');
  try {
    const lines = await run(scene, windows, findings);
    console.log(`\n${lines.join('\n')}`);
  } catch (error) {
    // A gate that is gone cannot be looked into; what was found tells of it.
    if (scene.gate.isRunning || findings.size === 0) throw error;
  } finally {
    scene.gate.kill();
    await scene.close();
  }
  const found = findings.lines();
  console.log(found.length === 0 ? '\nnothing was found' : `\n${found.length} found:\n${found.join('\n')}`);
  return found.length === 0 ? 0 : 1;
}

async function run(scene: Scene, windows: Windows, findings: Findings): Promise<string[]> {
  const { gate } = scene;
  const ledger = new Ledger(scene.dir, findings);
  const load = new Load(scene, ledger, windows, findings);
  const memory = new Memory();
  const ended = new AbortController();
  const running = Array.from({ length: Number(values.sandboxes) }, () => load.run(ended.signal));
  load.rate = await paceOf(load);
  const base = await quiet(scene, load);
  const calm = new AbortController();
  const ms = Number(values.minutes) * 60_000;
  const faults = harass({ ...scene, windows }, Math.min(5000, ms / 12), calm.signal);
  await watch(scene, load, ledger, memory, findings, ms);
  calm.abort();
  const counts = await faults;
  const slack = DESCRIPTOR_SLACK * workers;
  const left = await quiet(scene, load, base.all + slack);
  if (left.all - base.all > slack)
    findings.add(
      'descriptors are left open',
      `${describe(base)} before, ${describe(left)} after: ${left.to}`,
    );
  ended.abort();
  await Promise.all(running);
  const stopped = await gate.stop(STOP_MS);
  if (stopped?.code !== 0)
    findings.add('SIGTERM', stopped ? `exit code ${stopped.code}` : `no end within ${STOP_MS} ms`);
  await ledger.end();
  return [
    ...report(load, ledger, windows, counts),
    `descriptors without load: ${describe(base)} before, ${describe(left)} after`,
    `heap without load: ${megabytes(base)} MB before, ${megabytes(left)} MB after`,
    ...memory.judge(findings, load.counts.sessions, counts.rotations * 2),
    `ended ${stopped?.took.toFixed(0)} ms after SIGTERM`,
  ];
}

/** Half of what is possible now, requests per second. */
async function paceOf(load: Load): Promise<number> {
  if (values.rate !== undefined) {
    load.rate = Number(values.rate);
    await delay(SECONDS_TO_LOOK * 1000);
    return load.rate;
  }
  // The first second compiles.
  await delay(1000);
  const before = load.counts.done;
  await delay(SECONDS_TO_LOOK * 1000);
  return Math.max(1, (load.counts.done - before) / SECONDS_TO_LOOK / 2);
}

interface Quiet extends Descriptors {
  /** Bytes, after a garbage collection. */
  readonly heap: number;
}

/** A gate that nobody uses; its descriptors are at most `wanted` if it gets there in time; the load goes on behind it. */
async function quiet({ gate, upstreams }: Scene, load: Load, wanted = 0): Promise<Quiet> {
  await load.pause();
  upstreams.cut();
  const until = performance.now() + (wanted === 0 ? 2000 : QUIET_MS);
  let now = gate.descriptors();
  while (performance.now() < until && now.all > wanted) {
    await delay(250);
    now = gate.descriptors();
  }
  const { heap } = await gate.inside();
  load.isPaused = false;
  return { ...now, heap };
}

function megabytes({ heap }: Quiet): string {
  return (heap / 1e6).toFixed(1);
}

function describe({ all, sockets }: Descriptors): string {
  return `${all} (${sockets} sockets)`;
}

async function watch(
  scene: Scene,
  load: Load,
  ledger: Ledger,
  memory: Memory,
  findings: Findings,
  ms: number,
): Promise<void> {
  const { gate } = scene;
  const began = performance.now();
  for (let due = TICK_MS; gate.isRunning; due += TICK_MS) {
    const until = Math.min(due, ms) - (performance.now() - began);
    await delay(Math.max(0, until));
    if (!gate.isRunning) break;
    ledger.read();
    await ledger.rotate(() => gate.reload());
    const { heap, stall } = await gate.inside();
    const at = (performance.now() - began) / 60_000;
    memory.add({ at, heap, rss: gate.rss() }, stall);
    const { done, right, sessions, excused } = load.counts;
    const told = [...excused].map(([why, count]) => `${why} ${count}`).join(', ');
    console.log(
      `${(at * 60).toFixed(0).padStart(5)} s: ${done} requests (${load.rate.toFixed(0)}/s), ${right} right, excused: ${told || 'none'}; ${sessions} sessions, ${ledger.lines} audit lines; heap ${(heap / 1e6).toFixed(1)} MB, resident ${(gate.rss() / 1e6).toFixed(0)} MB, ${gate.descriptors().all} descriptors, stall ${stall.toFixed(0)} ms, load ${loadavg()[0]?.toFixed(1)}; ${findings.size} findings`,
    );
    if (at * 60_000 >= ms) return;
  }
  findings.add('the gate ended', 'before it was told to');
}

function report(load: Load, ledger: Ledger, windows: Windows, faults: FaultCounts): string[] {
  const { done, right, left, sessions, excused, works } = load.counts;
  const told = [...excused].map(([why, count]) => `${why} ${count}`).join(', ');
  return [
    `${done} requests at ${load.rate.toFixed(0)}/s: ${right} right, ${left} left by their client, excused: ${told || 'none'}`,
    [...works].map(([name, count]) => `${name} ${count}`).join(', '),
    `${sessions} sessions; faults: ${windows.counts}; ${faults.rotations} rotations, ${faults.reloads} reloads, ${faults.badReloads} bad ones`,
    `${ledger.lines} audit lines, the chain verifies; ${ledger.refused} CONNECTs refused: ${ledger.reasons}`,
  ];
}

function judgeLog(line: LogLine | string, windows: Windows, findings: Findings): void {
  if (typeof line === 'string') return findings.add('not a line of the log', line);
  if (line.level === 'info' || line.level === 'debug') return;
  const isExpected = EXPECTED.some(
    ({ message, during }) => message.test(line.message) && (during === undefined || windows.has(during)),
  );
  if (!isExpected) findings.add(`logged: ${line.message}`, JSON.stringify(line));
}

// A load whose gate is gone would go on.
process.exit(await soak());
