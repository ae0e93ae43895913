import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { load, type Result, route } from './loadgen.ts';
import { IDLE_TUNNELS, idleMemory, stalledReader } from './memory.ts';
import { type Origin, PATHS } from './origin.ts';
import type { Peer, Running } from './peers/peer.ts';
import type { Row } from './report.ts';
import { NEW_NAMES, type Work, WORKS } from './works.ts';

export interface Setting {
  readonly dir: string;
  readonly origin: Origin;
  readonly loadCore: number;
  readonly proxyCore: number;
  readonly hosts: readonly string[];
}

export interface Plan {
  readonly rounds: number;
  /** Length of a sample. */
  readonly seconds: number;
  /** Names of works. */
  readonly work: readonly string[];
  /** Names of peers. */
  readonly only: readonly string[];
}

export interface Started {
  readonly running: readonly { readonly peer: Peer; readonly proxy: Running }[];
  readonly versions: Readonly<Record<string, string>>;
  readonly skipped: readonly string[];
  readonly failed: readonly string[];
}

export interface Measured {
  readonly rows: readonly Row[];
  readonly invalid: readonly string[];
}

const MB = 1e6;
/** Requests and seconds, whichever ends first: until a compiler at run time has seen enough. */
const WARM_UP = { n: 20_000, d: 5 };
const note = (text: string): void => void process.stderr.write(`${text}\n`);
const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What is wrong with a sample, if anything is. */
function fault(result: Result): string | undefined {
  if (result.bad > 0) return `${result.bad} bad answers, the last ${result.last_status}`;
  if (result.errors > 0) return `${result.errors} errors, the last: ${result.last_error}`;
  return result.ok > 0 ? undefined : 'no answers';
}

/** The load generator on the origin itself: no proxy can be seen to be faster. */
export async function measureCeiling({ origin, loadCore }: Setting): Promise<Result> {
  const result = await load(loadCore, { ...route(origin, undefined), c: 16, w: 0.3, d: 1, p: PATHS.small });
  const wrong = fault(result);
  if (wrong !== undefined) throw new Error(`the origin does not work: ${wrong}`);
  return result;
}

let folders = 0;

async function start({ dir, origin, proxyCore, hosts }: Setting, peer: Peer): Promise<Running> {
  const own = join(dir, `${peer.name}-${++folders}`);
  mkdirSync(own, { mode: 0o711 });
  return peer.start({ dir: own, core: proxyCore, origin, hosts });
}

/** What the proxy negotiates, once it has shown that it works. */
async function check({ origin, loadCore }: Setting, proxy: Running): Promise<string> {
  const options = { ...route(origin, proxy), V: proxy.caFile, n: 20, c: 2, d: 5, p: PATHS.small };
  const result = await load(loadCore, options);
  const wrong = fault(result);
  if (wrong !== undefined) throw new Error(wrong);
  await proxy.prove?.();
  await load(loadCore, { ...route(origin, proxy), c: 16, ...WARM_UP, p: PATHS.small });
  return result.cipher;
}

/** Starts each peer and sees that it does the work, with verified certificates. */
export async function startPeers(setting: Setting, peers: readonly Peer[]): Promise<Started> {
  const running: { peer: Peer; proxy: Running }[] = [];
  const versions: Record<string, string> = {};
  const skipped: string[] = [];
  const failed: string[] = [];
  for (const peer of peers) {
    const missing = peer.missing();
    if (missing !== undefined) {
      skipped.push(`${peer.name}: ${missing}`);
      note(`skipped ${peer.name}: ${missing}`);
      continue;
    }
    try {
      const proxy = await start(setting, peer);
      const cipher = await check(setting, proxy).catch(async (error: unknown) => {
        await proxy.group.stop();
        throw error;
      });
      running.push({ peer, proxy });
      versions[peer.name] = `${peer.version()} (${cipher})`;
      note(`started ${peer.name}`);
    } catch (error) {
      failed.push(`${peer.name}: ${reason(error)}`);
      note(`failed ${peer.name}: ${reason(error)}`);
    }
  }
  return { running, versions, skipped, failed };
}

/** Every work in every round for one peer after the other; each round another peer is first. */
export async function measureRounds(setting: Setting, plan: Plan, { running }: Started): Promise<Measured> {
  const { origin, loadCore } = setting;
  const works = WORKS.filter(work => plan.work.includes(work.name));
  const values = new Map<string, Record<string, number[]>>();
  const invalid: string[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    const turn = running
      .map((_, i) => running[(i + round) % running.length])
      .filter(one => one !== undefined);
    for (const work of works) {
      for (const { peer, proxy } of turn) {
        if (work.host !== undefined && !peer.mints) continue;
        const options = {
          ...route(origin, proxy, work.host),
          ...work.options(plan.seconds, 1 + round * NEW_NAMES),
        };
        const result = await load(loadCore, options);
        const wrong = fault(result);
        if (wrong !== undefined) invalid.push(`${peer.name}, ${work.name}, round ${round + 1}: ${wrong}`);
        for (const metric of work.metrics) {
          const row = values.get(metric.key) ?? {};
          (row[peer.name] ??= []).push(wrong === undefined ? metric.value(result) : Number.NaN);
          values.set(metric.key, row);
        }
        const { label, value } = first(work);
        note(
          `round ${round + 1}  ${work.name.padEnd(11)} ${peer.name.padEnd(16)} ${Math.round(value(result))} ${label}${wrong === undefined ? '' : `  INVALID: ${wrong}`}`,
        );
        await delay(150);
      }
    }
  }
  for (const { proxy } of running) await proxy.group.stop();
  const rows = works.flatMap(work =>
    work.metrics.map(({ key, label, better }) => ({ key, label, better, values: values.get(key) ?? {} })),
  );
  return { rows, invalid };
}

function first({ name, metrics }: Work) {
  const [metric] = metrics;
  if (!metric) throw new Error(`${name} measures nothing`);
  return metric;
}

/** Memory is measured on fresh processes: what a loaded one has freed it would use again, unseen. */
export async function measureMemory(setting: Setting, plan: Plan, { running }: Started): Promise<Measured> {
  const { origin, loadCore } = setting;
  const invalid: string[] = [];
  const values: Record<'idle' | 'perTunnel' | 'stalled', Record<string, number[]>> = {
    idle: {},
    perTunnel: {},
    stalled: {},
  };
  const fresh = async (
    peer: Peer,
    what: string,
    measure: (proxy: Running) => Promise<void>,
  ): Promise<void> => {
    if (!plan.work.includes(what)) return;
    const proxy = await start(setting, peer);
    try {
      await measure(proxy);
    } catch (error) {
      invalid.push(`${peer.name}, ${what}: ${reason(error)}`);
      note(`${what} ${peer.name} INVALID: ${reason(error)}`);
    } finally {
      await proxy.group.stop();
    }
  };
  for (const { peer } of running) {
    await fresh(peer, 'idle', async proxy => {
      const { before, after } = await idleMemory(loadCore, origin, proxy, plan.seconds);
      values.idle[peer.name] = [after / MB];
      values.perTunnel[peer.name] = [(after - before) / IDLE_TUNNELS / 1e3];
      note(`idle        ${peer.name.padEnd(16)} ${Math.round(before / MB)} → ${Math.round(after / MB)} MB`);
    });
    await fresh(peer, 'stalled', async proxy => {
      const growth = await stalledReader(loadCore, origin, proxy, plan.seconds * 2);
      values.stalled[peer.name] = [growth / MB];
      note(`stalled     ${peer.name.padEnd(16)} + ${(growth / MB).toFixed(1)} MB`);
    });
  }
  const row = (key: keyof typeof values, label: string): Row => ({
    key,
    label,
    better: 'lower',
    values: values[key],
  });
  const rows = [
    row('idle', 'memory with 1,000 idle tunnels, MB'),
    row('perTunnel', 'memory per idle tunnel, KB'),
    row('stalled', 'growth while a client does not read 1 GB, MB'),
  ];
  return { rows: rows.filter(({ values: found }) => Object.keys(found).length > 0), invalid };
}
