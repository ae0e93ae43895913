import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { compileConfig } from '../config/compile.ts';
import { findConfig, loadConfig, parseConfig } from '../config/load.ts';
import { ConfigError, formatProblem } from '../config/problems.ts';
import type { Config } from '../config/types.ts';
import { FAILED, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { harden } from './harden.ts';
import { tuneHeap } from './heap.ts';
import { freeName, withOpenRule } from './learn/open.ts';
import { learn, type Learned, type RawRule } from './learn/rules.ts';
import { rulesText, withRules } from './learn/text.ts';
import { requestsIn, watchedRun } from './learn/watch.ts';
import { collect, print, printJson } from './output.ts';

interface LearnOptions {
  config?: string;
  profile: string;
  allow: string[];
  any?: boolean;
  audit?: string;
  write?: string;
  force?: boolean;
  json?: boolean;
}

export function learnVerb(program: Command): void {
  program
    .command('learn')
    .argument('[command...]', 'the command, after --')
    .description('watch a run, and print the rules that it would need')
    .addOption(configOption())
    .option('--profile <name>', 'the rules it runs under', 'default')
    .option('--allow <host>', 'let requests to it pass, without any credential; may be repeated', collect, [])
    .option('--any', 'let requests to every host pass, without any credential')
    .option('--audit <file>', 'learn from an audit instead of a run')
    .option('-w, --write <file>', 'write a configuration with the rules in it')
    .option('--force', 'replace a file that is there')
    .option('--json', 'for programs')
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action(act);
}

const HELP = `
The rules of the configuration hold in the run, with what they inject. Any other request is refused, and noted, unless
--allow or --any lets it pass: then whatever the command sends to that host leaves this machine. No credential is given
to it. HOST may be *.example.com, or HOST:PORT.

The command's standard output goes to standard error. Exit code: the command's; 1 if what was written is not valid.

Example:
  stubgate learn --allow registry.example.com -- npm ci
  stubgate learn --audit audit.jsonl --write learned.yaml`;

async function act(command: string[], options: LearnOptions): Promise<void> {
  const { audit, write, force, json } = options;
  const open = options.any ? ['*'] : options.allow;
  if ((audit === undefined) === (command.length === 0))
    throw new UsageError('write the command after --, or --audit FILE to learn from an audit');
  if (audit !== undefined && open.length > 0)
    throw new UsageError('--allow and --any let a run pass; leave them out with --audit');
  if (write !== undefined && existsSync(write) && !force)
    throw new UsageError(`${write} is there; write to another file, or replace it with --force`);
  const base = baseOf(options);
  const learned =
    audit === undefined
      ? await fromRun(command, options, base, open)
      : learn(await requestsIn(readable(audit), 0, new Map()), rawRules(base));
  if (json) printJson(learned);
  else if (write === undefined) print(rulesText(learned));
  if (write !== undefined) writeConfig(write, base, learned);
}

interface Base {
  readonly file: string;
  /** Absent: there is no configuration, and nothing is allowed. */
  readonly text?: string;
}

/** What is there, or else nothing: a first configuration is what many come for. */
function baseOf({ config }: LearnOptions): Base {
  if (config === undefined) {
    try {
      findConfig();
    } catch {
      return { file: resolve('stubgate.yaml') };
    }
  }
  const file = requireConfig(config);
  return { file, text: readText(file) };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

function readable(file: string): string {
  try {
    accessSync(file, constants.R_OK);
    return file;
  } catch (error) {
    throw new UsageError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

function rawRules({ file, text }: Base): RawRule[] {
  if (text === undefined) return [];
  // Tells what is wrong with it in words that quote no secret; the parser alone would not.
  parseConfig(text, file);
  const { rules } = Object(parse(text)) as { rules?: unknown };
  return Array.isArray(rules) ? (rules as RawRule[]) : [];
}

async function fromRun(
  command: string[],
  { profile }: LearnOptions,
  base: Base,
  hosts: readonly string[],
): Promise<Learned> {
  const inherited = { ...process.env };
  tuneHeap();
  harden();
  const folder = mkdtempSync(join(tmpdir(), 'stubgate-learn-'));
  try {
    const config = base.text === undefined ? emptyConfig(base.file, folder) : loadConfig(base.file);
    const name = freeName(config);
    const opened = hosts.length === 0 ? config : withOpenRule(config, profile, name, hosts);
    if (hosts.length > 0) warn(hosts);
    const requests = await watchedRun(command, opened, profile, inherited);
    return learn(requests, rawRules(base), name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function warn(hosts: readonly string[]): void {
  const where = hosts.includes('*') ? 'every host' : hosts.join(', ');
  console.error(
    `stubgate: learning: whatever the command sends to ${where} passes, on the default ports or those named, without any credential`,
  );
}

const emptyConfig = (file: string, folder: string): Config =>
  parseConfig(
    JSON.stringify({ version: 1, ca: { dir: folder }, audit: { file: `${folder}/audit.jsonl` } }),
    file,
  );

function writeConfig(file: string, { text }: Base, learned: Learned): void {
  const written = withRules(text, learned);
  writeFileSync(file, written, { mode: 0o644 });
  console.error(`stubgate: wrote ${file}`);
  tellOfProfiles(text, learned);
  try {
    compileConfig(parseConfig(written, file));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) console.error(formatProblem(problem));
    process.exitCode = FAILED;
  }
}

/** Nobody can say from here which profiles a new rule is for. */
function tellOfProfiles(text: string | undefined, { rules }: Learned): void {
  const { profiles } = Object(text === undefined ? undefined : parse(text)) as { profiles?: object };
  if (!profiles || rules.length === 0) return;
  const names = rules.map(({ rule }) => rule.name).join(', ');
  console.error(`stubgate: a rule holds only in the profiles that name it; see that they name ${names}`);
}
