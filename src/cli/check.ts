import type { Command } from 'commander';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problems.ts';
import { FAILED, USAGE } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { print, printJson } from './output.ts';

interface CheckOptions {
  config?: string;
  json?: boolean;
}

export function checkVerb(program: Command): void {
  program
    .command('check')
    .argument('[file]', 'the configuration')
    .description('validate a configuration, and tell what is probably not meant')
    .addOption(configOption())
    .option('--json', 'for programs')
    .addHelpText(
      'after',
      '\nExit code: 0 nothing found, 1 warnings, 2 not valid.\n\nExample:\n  stubgate check config/stubgate.yaml',
    )
    .action(check);
}

function check(named: string | undefined, { config, json }: CheckOptions): void {
  const file = requireConfig(named ?? config);
  const { errors, warnings } = findProblems(file);
  if (json) printJson({ file, valid: errors.length === 0, errors, warnings });
  else {
    for (const problem of errors) print(formatProblem(problem));
    for (const problem of warnings) print(`${formatProblem(problem)} (warning)`);
    if (errors.length === 0 && warnings.length === 0) print(`${file}: valid`);
  }
  if (errors.length > 0) process.exitCode = USAGE;
  else if (warnings.length > 0) process.exitCode = FAILED;
}

function findProblems(file: string): { errors: readonly Problem[]; warnings: readonly Problem[] } {
  try {
    const { config } = compileConfig(loadConfig(file));
    return { errors: [], warnings: config.warnings };
  } catch (error) {
    if (error instanceof ConfigError) return { errors: error.problems, warnings: [] };
    throw error;
  }
}
