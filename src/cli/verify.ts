import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import type { Compiled } from '../config/types.ts';
import { isProved } from '../proof/report.ts';
import { verify } from '../proof/verify.ts';
import { DONE, FAILED, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { harden } from './harden.ts';
import { collect, print, printJson } from './output.ts';
import { runProgram } from './verify/command.ts';
import { asJson, asJunit, asSarif, type Results } from './verify/formats.ts';
import { describeProgram, isSafe } from './verify/program.ts';
import { progressLine } from './verify/progress.ts';
import { describeReport } from './verify/text.ts';

interface VerifyOptions {
  config?: string;
  profile?: string;
  json?: boolean;
  junit?: string;
  sarif?: string;
  isolate?: boolean;
  real?: boolean;
  writable: string[];
  watch: string[];
}

export function verifyVerb(program: Command): void {
  program
    .command('verify')
    .argument('[command...]', 'run it as the sandbox, and look for secrets with it; after --')
    .description(
      'prove that no secret reaches the sandbox: with canaries, and an upstream that gives them back',
    )
    .addOption(configOption())
    .option('--profile <name>', 'only this one; for a command, the rules it runs under (default)')
    .option('--json', 'for programs')
    .option('--junit <file>', 'also write the results as JUnit XML')
    .option('--sarif <file>', 'also write what was found as SARIF')
    .option('--isolate', 'the command gets no network but the gate; ways out are tried from inside')
    .option('--writable <folder>', 'with --isolate, besides the current one; may be repeated', collect, [])
    .option('--watch <folder>', 'look at what the command writes there, too; may be repeated', collect, [])
    .option(
      '--real',
      'the command runs with the real secrets and upstreams, instead of canaries and a reflector',
    )
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action(prove);
}

const HELP = `
Exit code: 0 no secret was found, 1 one was, or something did not run, 2 not valid.

A command's output goes to stderr; the result, on stdout, never shows a secret.

Example:
  stubgate verify
  stubgate verify --isolate -- npm test`;

async function prove(words: readonly string[], options: VerifyOptions): Promise<void> {
  const inherited = { ...process.env };
  const [command, ...args] = words;
  checkUsage(command, options);
  harden();
  const compiled = compileConfig(loadConfig(requireConfig(options.config)));
  checkProfile(compiled, options.profile);
  const { file } = compiled.config;
  const results: Results =
    command === undefined
      ? { file, report: await tryRules(compiled, options) }
      : {
          file,
          program: await runProgram({
            compiled,
            command,
            args,
            inherited,
            profile: options.profile ?? 'default',
            isolate: options.isolate === true,
            real: options.real === true,
            writable: options.writable,
            watch: options.watch,
          }),
        };
  tell(results, options);
}

/** Options that mean nothing without a command, or without isolation. */
function checkUsage(command: string | undefined, { isolate, real, writable, watch }: VerifyOptions): void {
  if (command === undefined && (isolate || real || writable.length > 0 || watch.length > 0))
    throw new UsageError('--isolate, --real, --writable and --watch are for a command; write it after --');
  if (writable.length > 0 && !isolate)
    throw new UsageError('--writable says what an isolated command may write; add --isolate');
}

function checkProfile({ profiles }: Compiled, profile: string | undefined): void {
  if (profile !== undefined && !profiles.has(profile)) {
    throw new UsageError(`there is no profile "${profile}"; write one of ${[...profiles.keys()].join(', ')}`);
  }
}

async function tryRules(compiled: Compiled, { profile }: VerifyOptions) {
  const progress = progressLine(process.stderr);
  try {
    return await verify({ compiled, profile, progress: (done, total) => progress.tell(done, total) });
  } finally {
    progress.end();
  }
}

function tell(results: Results, { json, junit, sarif }: VerifyOptions): void {
  if (junit !== undefined) writeFileSync(junit, asJunit(results));
  if (sarif !== undefined) writeFileSync(sarif, asSarif(results));
  const { report, program } = results;
  if (json) printJson(asJson(results));
  else if (report) print(describeReport(report));
  else if (program) print(describeProgram(program));
  const isFine = report ? isProved(report) : program !== undefined && isSafe(program);
  process.exitCode = isFine ? DONE : FAILED;
}
