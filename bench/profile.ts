// Where the gate's time goes: `node bench/profile.ts [--work keepalive16] [--seconds 8] [--gate dist/main.js]`.
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build, load, moveSelf, OUT, route } from './loadgen.ts';
import { twoCores } from './machine.ts';
import { DOMAIN, PATHS, startOrigin } from './origin.ts';
import { BUILT, stubgate } from './peers/stubgate.ts';
import { cleanUpAtExit, removeAtExit } from './processes.ts';
import { layOut } from './report.ts';
import { NAME_PATTERN, NEW_NAMES, WORKS } from './works.ts';

/** What V8 writes (Profiler.Profile of the inspector protocol). Times in µs. */
interface CpuProfile {
  readonly nodes: readonly {
    id: number;
    callFrame: { functionName: string; url: string; lineNumber: number };
  }[];
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const SHOWN = 40;

const { values } = parseArgs({
  options: {
    work: { type: 'string', default: 'keepalive16' },
    seconds: { type: 'string', default: '8' },
    gate: { type: 'string', default: BUILT },
  },
});
const work = WORKS.find(({ name }) => name === values.work);
if (!work) throw new Error(`--work: one of ${WORKS.map(({ name }) => name).join(', ')}`);

/** Self time of each function from `begin` on, longest first, µs; without the time in which nothing ran. */
function selfTimes(
  { nodes, startTime, samples, timeDeltas }: CpuProfile,
  begin: number,
): [name: string, us: number][] {
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      url === ''
        ? functionName
        : `${functionName || '(anonymous)'} ${url.replace(/^.*?\/(dist|node_modules)\//, '')}:${lineNumber + 1}`,
    ]),
  );
  const times = new Map<string, number>();
  let time = startTime;
  samples.forEach((id, i) => {
    time += timeDeltas[i] ?? 0;
    if (time < begin) return;
    const name = names.get(id) ?? '?';
    if (name !== '(idle)') times.set(name, (times.get(name) ?? 0) + (timeDeltas[i] ?? 0));
  });
  return [...times].toSorted(([, a], [, b]) => b - a);
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
const total = times.reduce((sum, [, us]) => sum + us, 0);
const share = (us: number): string => `${((us / total) * 100).toFixed(1)} %`;
console.log(
  `${work.name}: ${Math.round(result.rps)}/s, ${((result.proxy_cpu / result.ok) * 1e6).toFixed(1)} µs CPU each (with the profiler on)`,
);
console.log(`bench/out/${basename(profiles)}/${file} opens in the profiler of a browser's developer tools\n`);
console.log(layOut(times.slice(0, SHOWN).map(([name, us]) => [name, share(us)])));
