import { fileURLToPath } from 'node:url';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { H2_WORK } from './h2.ts';
import { OUT } from './loadgen.ts';
import { PEER_NAMES, REFERENCES } from './peers/index.ts';
import { BUILT } from './peers/stubgate.ts';
import type { Plan } from './rounds.ts';
import { RULES_WORK } from './rules.ts';
import { SCRUB_WORK } from './scrubbing.ts';
import { STALLS_WORK } from './stalls.ts';
import { MEMORY_WORKS, WORKS } from './works.ts';

const WORK_NAMES = [
  ...WORKS.map(work => work.name),
  H2_WORK,
  ...MEMORY_WORKS,
  RULES_WORK,
  STALLS_WORK,
  SCRUB_WORK,
];
/** What a first look leaves out, for it takes long or needs quiet. */
const NOT_QUICK = ['keepalive64', 'idle10k', 'load', 'stalled', RULES_WORK, STALLS_WORK, SCRUB_WORK];

/** The ratios of the last full run, and the picture of it. */
export const LAST = fileURLToPath(new URL('last.json', import.meta.url));
export const PICTURE = fileURLToPath(new URL('../docs/bench.svg', import.meta.url));

export const HELP = `usage: npm run bench -- [options]

Measures the gate beside its peers on this machine, on loopback, one core for the proxy under test and one for the
origin and the load generator. Progress on stderr, tables on stdout; what it means: bench/README.md.

  --quick           one short round of ${REFERENCES.join(', ')}: under 60 s, for a first look;
                    warns where a ratio is worse than in bench/last.json
  --commit          keeps the result: writes bench/last.json and docs/bench.svg
  --from FILE       measures nothing: the tables of an earlier run's JSON
  --rounds N        rounds, default 5 (all works and peers: about 12 minutes)
  --only A,B        peers: ${PEER_NAMES.join(', ')}
  --work A,B        work: ${WORK_NAMES.join(', ')}
  --gate FILE       the built gate, default dist/main.js
  --workers N       and a gate of N worker processes beside it, as the peer stubgate-wN
  --out FILE        where all numbers go as JSON, default bench/out/bench.json
  --help

Exit: 0 measured, 1 a sample was invalid or something failed, 2 wrong usage. No number makes it fail.
`;

export interface Choice {
  readonly plan: Plan;
  readonly gate: string;
  readonly workers: number;
  readonly out: string;
  /** JSON of an earlier run, instead of a run. */
  readonly from: string | undefined;
  readonly isQuick: boolean;
  readonly commits: boolean;
}

export class UsageError extends Error {}

/** A comma-separated selection. */
function selection(
  text: string | undefined,
  known: readonly string[],
  byDefault: readonly string[],
  option: string,
): readonly string[] {
  const chosen = text?.split(',') ?? byDefault;
  const unknown = chosen.find(name => !known.includes(name));
  if (unknown !== undefined) throw new UsageError(`${option}: no "${unknown}"; one of ${known.join(', ')}`);
  return chosen;
}

/** Undefined for --help. Throws UsageError, or what parseArgs throws. */
export function choose(args: readonly string[]): Choice | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      commit: { type: 'boolean', default: false },
      from: { type: 'string' },
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
  if (values.quick && values.commit)
    throw new UsageError('--commit keeps a full run; a quick one is too short, so leave out --quick');
  const works = values.quick ? WORK_NAMES.filter(name => !NOT_QUICK.includes(name)) : WORK_NAMES;
  const work = selection(values.work, WORK_NAMES, works, '--work');
  const workers = Number(values.workers);
  if (!Number.isInteger(workers) || workers < 1 || workers > 64) throw new UsageError('--workers: 1 to 64');
  const several = workers > 1 ? [`stubgate-w${workers}`] : [];
  const byDefault = [...(values.quick ? REFERENCES : PEER_NAMES), ...several];
  const only = selection(values.only, [...PEER_NAMES, ...several], byDefault, '--only');
  return {
    plan: { rounds, seconds: values.quick ? 0.8 : 1.5, work, only },
    gate: resolve(values.gate),
    workers,
    out: resolve(values.out),
    from: values.from && resolve(values.from),
    isQuick: values.quick,
    commits: values.commit,
  };
}
