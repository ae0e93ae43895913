import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Committed, ratiosOf, warnings } from './compare.ts';
import { measureH2 } from './h2.ts';
import { build, moveSelf, type Result } from './loadgen.ts';
import { type Machine, machine, twoCores } from './machine.ts';
import { measureMemory } from './memory.ts';
import { type Choice, choose, HELP, LAST, PICTURE, UsageError } from './options.ts';
import { DOMAIN, startOrigin } from './origin.ts';
import { peers, REVERSE } from './peers/index.ts';
import { nodeHttp2 } from './peers/node-http2.ts';
import { picture } from './picture.ts';
import { cleanUpAtExit, removeAtExit } from './processes.ts';
import { ratioTable, type Row, spreadTable } from './report.ts';
import { measureCeiling, measureRounds, type Plan } from './rounds.ts';
import { measureRules } from './rules.ts';
import { Scores } from './scores.ts';
import { measureScrub } from './scrubbing.ts';
import { measureStalls } from './stalls.ts';
import { startPeers } from './start.ts';
import { type Target, targetLines, targets } from './targets.ts';
import { NAME_PATTERN, NEW_NAMES } from './works.ts';

/** bench.json; bench/README.md describes it. */
interface Report {
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly skipped: readonly string[];
  readonly ceiling: Result;
  readonly plan: Plan;
  readonly rows: readonly Row[];
  readonly targets: readonly Target[];
  readonly invalid: readonly string[];
}

async function measure({ plan, gate, workers }: Choice): Promise<Report> {
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
  for (const { proxy } of started.running) await proxy.group.stop();
  await measureH2(setting, plan, chosen, scores);
  await measureMemory(setting, plan, started, scores);
  if (started.running.some(({ peer }) => peer.name === 'stubgate')) {
    await measureRules(setting, plan, gate, scores);
    await measureStalls(setting, plan, gate, scores);
    measureScrub(setting, plan, scores);
  }
  await origin.group.stop();
  return {
    machine: facts,
    versions: started.versions,
    skipped: started.skipped,
    ceiling,
    plan,
    rows: scores.rows,
    targets: targets(scores.rows),
    invalid: [...started.failed, ...scores.invalid],
  };
}

/** JSON has no NaN: an invalid value stands there as null. */
function read(file: string): Report {
  const report = JSON.parse(readFileSync(file, 'utf8'), (_, value: unknown) =>
    value === null ? Number.NaN : value,
  ) as Report;
  return { ...report, targets: targets(report.rows) };
}

function print({ machine: facts, versions, ceiling, skipped, rows, targets: goals, invalid }: Report): void {
  const hasBare = rows.some(({ values }) => values[nodeHttp2.name]);
  const columns = [...Object.keys(versions), ...(hasBare ? [nodeHttp2.name] : [])];
  const lines = [
    `${facts.cores} × ${facts.cpu}, ${facts.memory_gb} GB, Linux ${facts.kernel}, Node ${facts.node}, load ${facts.load} at the start`,
    Object.values(versions).join(', '),
    `Origin and load generator alone, 16 connections: ${Math.round(ceiling.rps).toLocaleString('en-US')} requests/s`,
    ...skipped.map(line => `Skipped: ${line}`),
    `\n${ratioTable(rows, columns, 'stubgate')}`,
    `\n${spreadTable(rows, columns)}`,
    `\n${targetLines(goals)}`,
    ...invalid.map(line => `INVALID: ${line}`),
  ];
  console.log(lines.join('\n'));
}

/** Keeps the ratios, and draws the picture. */
function commit({ machine: facts, versions, plan, rows }: Report): void {
  const committed: Committed = { machine: facts, versions, ratios: ratiosOf(rows) };
  if (Object.keys(committed.ratios).length === 0)
    throw new Error('nothing to keep: the gate and a peer must both be measured');
  writeFileSync(LAST, `${JSON.stringify(committed, undefined, 2)}\n`);
  const caption = `${facts.cores} × ${facts.cpu}, Node ${facts.node}, one core for each proxy; ${plan.rounds === 1 ? 'one round' : `medians of up to ${plan.rounds} rounds`}`;
  writeFileSync(PICTURE, picture(rows, REVERSE, caption));
}

function warn({ rows }: Report): void {
  if (!existsSync(LAST)) return console.log('\nNothing to compare with: bench/last.json is not there.');
  const last = JSON.parse(readFileSync(LAST, 'utf8')) as Committed;
  const worse = warnings(last, rows);
  const where = `Compared with bench/last.json (${last.machine.cpu}, Node ${last.machine.node}): `;
  console.log(`\n${where}${worse.length === 0 ? 'no ratio is worse' : `${worse.length} ratios are worse`}.`);
  for (const line of worse) console.log(`WARNING: ${line}`);
}

async function main(choice: Choice): Promise<boolean> {
  const { from, out, isQuick, commits } = choice;
  const report = from === undefined ? await measure(choice) : read(from);
  if (from === undefined) {
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  print(report);
  if (isQuick) warn(report);
  if (commits) commit(report);
  return report.invalid.length === 0;
}

try {
  const choice = choose(process.argv.slice(2));
  if (!choice) console.log(HELP);
  else process.exitCode = (await main(choice)) ? 0 : 1;
} catch (error) {
  const code = (error as { code?: string }).code ?? '';
  const usage = error instanceof UsageError || code.startsWith('ERR_PARSE_ARGS');
  console.error(usage ? `${(error as Error).message}\n\n${HELP}` : error);
  process.exitCode = usage ? 2 : 1;
}
