import { watch, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import type { Command } from 'commander';
import { printable } from '../audit/printable.ts';
import {
  CASES_ENDING,
  type CaseFile,
  configOfCases,
  findCaseFiles,
  loadCases,
} from '../config/cases/load.ts';
import { updatedCases } from '../config/cases/update.ts';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import type { Compiled } from '../config/types.ts';
import { DONE, fail, FAILED, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { junit, type TestCase } from './junit.ts';
import { print, printJson } from './output.ts';
import { type CaseResult, runCases } from './run-cases.ts';

interface TestOptions {
  config?: string;
  json?: boolean;
  junit?: string;
  coverage?: boolean;
  requireCoverage?: boolean;
  update?: boolean;
  watch?: boolean;
}

export function testVerb(program: Command): void {
  program
    .command('test')
    .argument('[file]', `the configuration, or one file of its cases (*${CASES_ENDING})`)
    .description(`run the policy’s own cases: each *${CASES_ENDING} beside it; without any network`)
    .addOption(configOption())
    .option('--json', 'for programs')
    .option('--junit <file>', 'also write the results as JUnit XML')
    .option('--coverage', 'tell which rules no case touches')
    .option('--require-coverage', 'exit 1 if there is such a rule')
    .option('--update', 'write what the cases get into them as what they expect')
    .option('--watch', 'run again whenever the configuration or a case changes')
    .addHelpText(
      'after',
      '\nExit code: 0 all pass, 1 a case fails, 2 not valid.\n\nExample:\n  stubgate test config/stubgate.yaml --coverage',
    )
    .action((file: string | undefined, options: TestOptions) =>
      options.watch ? runAgain(file, options) : runOnce(file, options),
    );
}

interface Chosen {
  readonly config: string;
  readonly files: readonly string[];
}

function choose(named: string | undefined, { config }: TestOptions): Chosen {
  if (named?.endsWith(CASES_ENDING)) {
    const file = requireConfig(named);
    const owner = config ?? configOfCases(file);
    if (owner === undefined)
      throw new UsageError(`there is no configuration beside ${named}; name it with --config`);
    return { config: requireConfig(owner), files: [file] };
  }
  const owner = requireConfig(named ?? config);
  return { config: owner, files: findCaseFiles(owner) };
}

function runOnce(named: string | undefined, options: TestOptions): void {
  const { config, files } = choose(named, options);
  const compiled = compileConfig(loadConfig(config));
  if (files.length === 0) {
    throw new UsageError(
      `there is no *${CASES_ENDING} beside ${config}; write one, as docs/policy-tests.md shows`,
    );
  }
  let cases = loadCases(files);
  if (options.update) cases = update(cases, runCases(compiled, cases), options.json === true);
  const results = runCases(compiled, cases);
  const untouched = untouchedRules(compiled, results);
  if (options.junit !== undefined)
    writeFileSync(options.junit, junit('stubgate test', results.map(asTestCase)));
  const tellsCoverage = options.coverage === true || options.requireCoverage === true;
  if (options.json) printJson(asJson(config, results, untouched));
  else print(asText(results, tellsCoverage ? untouched : undefined, compiled.config.rules.length));
  const failed = results.some(({ mismatches }) => mismatches.length > 0);
  process.exitCode = failed || (options.requireCoverage && untouched.length > 0) ? FAILED : DONE;
}

const asTestCase = ({ mismatches, ...one }: CaseResult): TestCase => ({
  ...one,
  failures: mismatches.map(({ key, expected, got }) => `${key}: expected ${expected}, got ${got}`),
});

/** The files as they are after writing what their cases get. */
function update(files: readonly CaseFile[], results: readonly CaseResult[], quiet: boolean): CaseFile[] {
  for (const { file, text } of files) {
    const failing = results.filter(one => one.file === file && one.mismatches.length > 0);
    if (failing.length === 0) continue;
    writeFileSync(file, updatedCases(text, new Map(failing.map(({ index, outcome }) => [index, outcome]))));
    if (!quiet) print(`${file}: ${failing.length} updated`);
  }
  return loadCases(files.map(({ file }) => file));
}

/** Rules that decide no case. */
function untouchedRules({ config }: Compiled, results: readonly CaseResult[]): string[] {
  const touched = new Set(results.map(({ outcome }) => outcome.rule));
  return config.rules.map(({ name }) => name).filter(name => !touched.has(name));
}

function asText(
  results: readonly CaseResult[],
  untouched: readonly string[] | undefined,
  rules: number,
): string {
  const failing = results.filter(({ mismatches }) => mismatches.length > 0);
  const lines = failing.flatMap(({ file, line, name, mismatches }) => [
    `${relative(process.cwd(), file) || file}:${line}: ${name}`,
    ...mismatches.map(({ key, expected, got }) => `  ${key}: expected ${expected}, got ${got}`),
  ]);
  const summary =
    failing.length === 0
      ? `${results.length} ${results.length === 1 ? 'case passes' : 'cases pass'}`
      : `${failing.length} of ${results.length} ${results.length === 1 ? 'case fails' : 'cases fail'}; if that is meant, write it with --update`;
  const coverage = untouched && [
    `${rules - untouched.length} of ${rules} rules are touched by a case`,
    ...untouched.map(name => `  no case touches rule ${name}`),
  ];
  return [...lines, summary, ...(coverage ?? [])].map(printable).join('\n');
}

function asJson(config: string, results: readonly CaseResult[], untouched: readonly string[]): object {
  const failed = results.filter(({ mismatches }) => mismatches.length > 0).length;
  return {
    config,
    passed: results.length - failed,
    failed,
    cases: results.map(one => ({ ...one, ok: one.mismatches.length === 0 })),
    untouched_rules: untouched,
  };
}

/** What editors do in a moment is one change. ms */
const SETTLED_MS = 100;

/** Until it is interrupted. A file that is not valid is told of, and awaited. */
function runAgain(named: string | undefined, options: TestOptions): void {
  const { config, files } = choose(named, options);
  const again = (): void => {
    try {
      runOnce(named, { ...options, watch: false });
    } catch (thrown) {
      process.exitCode = fail(thrown);
    }
  };
  let timer: NodeJS.Timeout | undefined;
  const folders = new Set([config, ...files].map(file => dirname(file)));
  for (const folder of folders) {
    watch(folder, (_, name) => {
      if (name !== null && !name.endsWith('.yaml')) return;
      clearTimeout(timer);
      timer = setTimeout(again, SETTLED_MS);
    });
  }
  again();
}
