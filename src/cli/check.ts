import { type Command, Option } from 'commander';
import { printable } from '../audit/printable.ts';
import { compileConfig } from '../config/compile.ts';
import { CODES } from '../config/lint/codes.ts';
import type { Finding } from '../config/lint/finding.ts';
import { lint } from '../config/lint/index.ts';
import { loadPolicy } from '../config/load.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problems.ts';
import { FAILED, USAGE } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { print, printJson } from './output.ts';
import { sarif } from './sarif.ts';

interface CheckOptions {
  config?: string;
  json?: boolean;
  format: 'text' | 'json' | 'sarif';
  strict?: boolean;
}

export function checkVerb(program: Command): void {
  program
    .command('check')
    .argument('[file]', 'the configuration')
    .description('validate a configuration, and tell what is probably not meant')
    .addOption(configOption())
    .addOption(
      new Option('--format <kind>', 'how to tell it').choices(['text', 'json', 'sarif']).default('text'),
    )
    .option('--json', 'the same as --format json')
    .option('--strict', 'exit 1 for notes, too')
    .addHelpText(
      'after',
      '\nExit code: 0 nothing found, 1 warnings, 2 not valid. docs/checks.md tells of each code.' +
        '\nA comment "# stubgate-ignore: SG001 why" silences a finding on its line, or on the one below.' +
        '\n\nExample:\n  stubgate check config/stubgate.yaml',
    )
    .action(check);
}

function check(named: string | undefined, { config, json, format, strict }: CheckOptions): void {
  const checked = findAll(requireConfig(named ?? config));
  const { errors, findings } = checked;
  if (json || format === 'json') printJson(asJson(checked));
  else if (format === 'sarif') printJson(asSarif(checked));
  else print(asText(checked));
  const counting = findings.filter(({ level }) => strict || level === 'warning');
  if (errors.length > 0) process.exitCode = USAGE;
  else if (counting.length > 0) process.exitCode = FAILED;
}

/** What a configuration is told. */
interface Checked {
  readonly file: string;
  readonly errors: readonly Problem[];
  /** Empty if there is an error. */
  readonly findings: readonly Finding[];
}

/** The rule of what makes a configuration invalid. */
const INVALID = { id: 'SG000', level: 'error', title: 'A configuration that is not valid' } as const;

function findAll(file: string): Checked {
  try {
    const policy = loadPolicy(file);
    compileConfig(policy.config);
    return { file, errors: [], findings: lint(policy) };
  } catch (error) {
    if (error instanceof ConfigError) return { file, errors: error.problems, findings: [] };
    throw error;
  }
}

function asSarif({ errors, findings }: Checked): object {
  const codes = Object.entries(CODES).map(([id, { level, title }]) => ({ id, level, title }));
  const invalid = errors.map(problem => ({ ...problem, code: INVALID.id }));
  const found = findings.map(({ fix, ...finding }) => ({
    ...finding,
    message: `${finding.message}; ${fix}`,
  }));
  return sarif([INVALID, ...codes], [...invalid, ...found]);
}

function asText({ file, errors, findings }: Checked): string {
  const lines = [
    ...errors.map(formatProblem),
    ...findings.map(
      ({ file: at, line, col, level, code, message, fix }) =>
        `${at}:${line}:${col}: ${level} ${code}: ${message}; ${fix}`,
    ),
  ];
  const isClean = errors.length === 0 && findings.every(({ level }) => level === 'note');
  return [...lines, ...(isClean ? [`${file}: valid`] : [])].map(printable).join('\n');
}

/** `warnings`: what counts without `--strict`. */
function asJson({ file, errors, findings }: Checked): object {
  const of = (wanted: Finding['level']) => findings.filter(({ level }) => level === wanted);
  return { file, valid: errors.length === 0, errors, warnings: of('warning'), notes: of('note') };
}
