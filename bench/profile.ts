import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { build, load, moveSelf, OUT, route } from './loadgen.ts';
import { twoCores } from './machine.ts';
import { DOMAIN, PATHS, startOrigin } from './origin.ts';
import { BUILT, stubgate } from './peers/stubgate.ts';
import { cleanUpAtExit, removeAtExit } from './processes.ts';
import { layOut } from './report.ts';
import { misused, optionsOf } from './usage.ts';
import { NAME_PATTERN, NEW_NAMES, WORKS } from './works.ts';

const HELP = `Where the gate's time goes, by room and by function.

npx node bench/profile.ts [options]
  --work NAME     ${WORKS.map(({ name }) => name).join(', ')} (keepalive16)
  --seconds N     how long it is watched (8)
  --gate FILE     the built gate (dist/main.js)
  --help`;

/** What V8 writes (Profiler.Profile of the inspector protocol). Times in µs. */
interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}

const SHOWN = 40;

const values = optionsOf(HELP, {
  work: { type: 'string', default: 'keepalive16' },
  seconds: { type: 'string', default: '8' },
  gate: { type: 'string', default: BUILT },
});
const work = WORKS.find(({ name }) => name === values.work) ?? misused(HELP, `no work ${values.work}`);

const isOwn = ({ callFrame }: ProfileNode): boolean => callFrame.url.includes('/dist/');

function place({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const file = url === '' ? '' : ` ${url.replace(/^.*?\/(dist|node_modules)\//, '')}:${lineNumber + 1}`;
  return `${functionName || '(anonymous)'}${file}`;
}

interface Times {
  /** Function → µs; what is not the gate's own, native code included, is shown with the function that called it. */
  readonly functions: Map<string, number>;
  /** Function of the gate's own → µs, with all that it called. */
  readonly inclusive: Map<string, number>;
  /** Folder in src/ → µs, with what was called from there and is not the gate's own. */
  readonly rooms: Map<string, number>;
  total: number;
}

/** Self times from `begin` on, without the time in which nothing ran. */
function selfTimes({ nodes, startTime, samples, timeDeltas }: CpuProfile, begin: number): Times {
  const byId = new Map(nodes.map(node => [node.id, node]));
  const callers = new Map(nodes.flatMap(node => (node.children ?? []).map(child => [child, node] as const)));
  const times: Times = { functions: new Map(), inclusive: new Map(), rooms: new Map(), total: 0 };
  let time = startTime;
  samples.forEach((id, i) => {
    const us = timeDeltas[i] ?? 0;
    time += us;
    const node = byId.get(id);
    if (time < begin || !node || node.callFrame.functionName === '(idle)') return;
    let own: ProfileNode | undefined = node;
    while (own && !isOwn(own)) own = callers.get(own.id);
    const name = own && own !== node ? `${place(node)} ← ${place(own)}` : place(node);
    const room = own ? (own.callFrame.url.split('/dist/')[1] ?? '').replace(/\/.*/, '/') : 'Node and V8';
    times.functions.set(name, (times.functions.get(name) ?? 0) + us);
    times.rooms.set(room, (times.rooms.get(room) ?? 0) + us);
    times.total += us;
    const passed = new Set<string>();
    for (let up: ProfileNode | undefined = node; up; up = callers.get(up.id))
      if (isOwn(up)) passed.add(place(up));
    for (const one of passed) times.inclusive.set(one, (times.inclusive.get(one) ?? 0) + us);
  });
  return times;
}

cleanUpAtExit();
const [loadCore, core] = twoCores();
moveSelf(loadCore);
build();
const dir = mkdtempSync(join(tmpdir(), 'stubgate-bench-'));
removeAtExit(dir);
chmodSync(dir, 0o711);
const gateDir = join(dir, 'gate');
const profiles = mkdtempSync(join(OUT, 'profile-'));
mkdirSync(gateDir);
const origin = await startOrigin(join(dir, 'origin'), loadCore);
const hosts = [
  `api.${DOMAIN}`,
  ...Array.from({ length: NEW_NAMES }, (_, i) => NAME_PATTERN.replace('%d', String(i + 1))),
];
const gate = stubgate({
  main: resolve(values.gate),
  nodeOptions: ['--cpu-prof', `--cpu-prof-dir=${profiles}`],
});
const running = await gate.start({ dir: gateDir, core, origin, hosts });
await load(loadCore, { ...route(origin, running), c: 16, n: 20_000, d: 60, p: PATHS.small });
const begin = Number(process.hrtime.bigint() / 1000n); // the clock of V8's samples, too
const result = await load(loadCore, {
  ...route(origin, running, work.host),
  ...work.options(Number(values.seconds), 1),
});
await running.group.stop();
await origin.group.stop();

const [file] = readdirSync(profiles);
if (file === undefined) throw new Error('the gate wrote no profile: it did not end in good order');
const times = selfTimes(JSON.parse(readFileSync(join(profiles, file), 'utf8')) as CpuProfile, begin);
const shares = (of: Map<string, number>): string =>
  layOut(
    [...of]
      .toSorted(([, a], [, b]) => b - a)
      .slice(0, SHOWN)
      .map(([name, us]) => [name, `${((us / times.total) * 100).toFixed(1)} %`]),
  );
console.log(
  `${work.name}: ${Math.round(result.rps)}/s, ${((result.proxy_cpu / result.ok) * 1e6).toFixed(1)} µs CPU each (with the profiler on)`,
);
console.log(`bench/out/${basename(profiles)}/${file} opens in the profiler of a browser's developer tools\n`);
console.log(`By room\n\n${shares(times.rooms)}\n`);
console.log(`By function, itself\n\n${shares(times.functions)}\n`);
console.log(`By function of the gate, with all that it calls\n\n${shares(times.inclusive)}`);
