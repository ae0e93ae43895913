import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { H2_WORK, measureH2 } from './h2.ts';
import { build, moveSelf, OUT } from './loadgen.ts';
import { machine, twoCores } from './machine.ts';
import { measureMemory } from './memory.ts';
import { DOMAIN, startOrigin } from './origin.ts';
import { PEER_NAMES, peers } from './peers/index.ts';
import { BUILT } from './peers/stubgate.ts';
import { cleanUpAtExit, removeAtExit } from './processes.ts';
import { ratioTable, spreadTable, targetLines, targets } from './report.ts';
import { measureCeiling, measureRounds, type Plan } from './rounds.ts';
import { Scores } from './scores.ts';
import { startPeers } from './start.ts';
import { MEMORY_WORKS, NAME_PATTERN, NEW_NAMES, WORKS } from './works.ts';

const WORK_NAMES = [...WORKS.map(work => work.name), H2_WORK, ...MEMORY_WORKS];

const HELP = `usage: npm run bench -- [options]

Measures the gate beside its peers on this machine, on loopback, one core for the proxy under test and one for the
origin and the load generator. Progress on stderr, tables on stdout; what it means: bench/README.md.

  --quick           one short round: under 90 s, for a first look
  --rounds N        rounds, default 5 (under 10 minutes)
  --only A,B        peers: ${PEER_NAMES.join(', ')}
  --work A,B        work: ${WORK_NAMES.join(', ')}
  --gate FILE       the built gate, default dist/main.js
  --workers N       and a gate of N worker processes beside it, as the peer stubgate-wN
  --out FILE        where all numbers go as JSON, default bench/out/bench.json
  --help

Exit: 0 measured, 1 a sample was invalid or something failed, 2 wrong usage.
`;

interface Choice {
  readonly plan: Plan;
  readonly gate: string;
  readonly workers: number;
  readonly out: string;
}

class UsageError extends Error {}

/** A comma-separated selection; without one, everything. */
function selection(text: string | undefined, known: readonly string[], option: string): readonly string[] {
  const chosen = text?.split(',') ?? known;
  const unknown = chosen.find(name => !known.includes(name));
  if (unknown !== undefined) throw new UsageError(`${option}: no "${unknown}"; one of ${known.join(', ')}`);
  return chosen;
}

function choose(): Choice | undefined {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string' },
      work: { type: 'string' },
      gate: { type: 'string', default: BUILT },
      workers: { type: 'string', default: '1' },
      out: { type: 'string', default: join(OUT, 'bench.json') },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 20) throw new UsageError('--rounds: 1 to 20');
  const work = selection(values.work, WORK_NAMES, '--work');
  const workers = Number(values.workers);
  if (!Number.isInteger(workers) || workers < 1 || workers > 64) throw new UsageError('--workers: 1 to 64');
  const several = workers > 1 ? [`stubgate-w${workers}`] : [];
  const only = selection(values.only, [...PEER_NAMES, ...several], '--only');
  const seconds = values.quick ? 0.6 : 2;
  return {
    plan: { rounds, seconds, work, only },
    gate: resolve(values.gate),
    workers,
    out: resolve(values.out),
  };
}

async function main({ plan, gate, workers, out }: Choice): Promise<boolean> {
  cleanUpAtExit();
  const facts = machine();
  const [loadCore, proxyCore] = twoCores();
  moveSelf(loadCore);
  build();
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-bench-'));
  removeAtExit(dir);
  chmodSync(dir, 0o711); // started by root, squid and the workers of nginx are somebody else
  const origin = await startOrigin(join(dir, 'origin'), loadCore);
  const names = Array.from({ length: plan.rounds * NEW_NAMES }, (_, i) =>
    NAME_PATTERN.replace('%d', String(i + 1)),
  );
  const setting = { dir, origin, loadCore, proxyCore, hosts: [`api.${DOMAIN}`, ...names] };

  const ceiling = await measureCeiling(setting);
  const chosen = peers({ main: gate, workers }).filter(peer => plan.only.includes(peer.name));
  const started = await startPeers(setting, chosen);
  const scores = new Scores();
  await measureRounds(setting, plan, started, scores);
  await measureH2(setting, plan, started, scores);
  for (const { proxy } of started.running) await proxy.group.stop();
  await measureMemory(setting, plan, started, scores);
  await origin.group.stop();

  const { rows } = scores;
  const invalid = [...started.failed, ...scores.invalid];
  const goals = targets(rows);
  const columns = started.running.map(({ peer }) => peer.name);
  const report = {
    machine: facts,
    versions: started.versions,
    skipped: started.skipped,
    ceiling,
    plan,
    rows,
    targets: goals,
    invalid,
  };
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify(report, undefined, 2)}\n`);

  const lines = [
    `${facts.cores} × ${facts.cpu}, ${facts.memory_gb} GB, Linux ${facts.kernel}, Node ${facts.node}, load ${facts.load} at the start`,
    Object.values(started.versions).join(', '),
    `Origin and load generator alone, 16 connections: ${Math.round(ceiling.rps).toLocaleString('en-US')} requests/s`,
    ...started.skipped.map(line => `Skipped: ${line}`),
    `\n${ratioTable(rows, columns, 'stubgate')}`,
    `\n${spreadTable(rows, columns)}`,
    `\n${targetLines(goals)}`,
    ...invalid.map(line => `INVALID: ${line}`),
  ];
  console.log(lines.join('\n'));
  return invalid.length === 0;
}

try {
  const choice = choose();
  if (!choice) console.log(HELP);
  else process.exitCode = (await main(choice)) ? 0 : 1;
} catch (error) {
  const code = (error as { code?: string }).code ?? '';
  const usage = error instanceof UsageError || code.startsWith('ERR_PARSE_ARGS');
  console.error(usage ? `${(error as Error).message}\n\n${HELP}` : error);
  process.exitCode = usage ? 2 : 1;
}
