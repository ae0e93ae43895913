import { Command, CommanderError } from 'commander';
import { auditVerb } from './audit.ts';
import { caVerb } from './ca.ts';
import { checkVerb } from './check.ts';
import { diffVerb } from './diff.ts';
import { doctorVerb } from './doctor.ts';
import { explainVerb } from './explain.ts';
import { fail } from './fail.ts';
import { initVerb } from './init.ts';
import { learnVerb } from './learn.ts';
import { runVerb } from './run.ts';
import { sessionVerb } from './session.ts';
import { startVerb } from './start.ts';
import { testVerb } from './test.ts';
import { verifyVerb } from './verify.ts';
import { version } from './version.ts';

/** Runs one command line; settles when its verb is done, with the process's exit code set. A failed one ends at once. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await commandLine().parseAsync(argv);
  } catch (thrown) {
    process.exit(fail(thrown));
  }
}

function commandLine(): Command {
  const program = new Command('stubgate')
    .description('The egress gate of a sandbox: stubs go in, real credentials go out, and never come back.')
    .version(version())
    .enablePositionalOptions()
    .showHelpAfterError('(see --help)')
    .addHelpText(
      'after',
      '\nExample:\n  stubgate init --with github && stubgate run -- curl https://api.github.com/user',
    );
  for (const verb of [
    startVerb,
    runVerb,
    sessionVerb,
    checkVerb,
    explainVerb,
    testVerb,
    diffVerb,
    verifyVerb,
    initVerb,
    learnVerb,
    doctorVerb,
    caVerb,
    auditVerb,
  ])
    verb(program);
  throwInsteadOfExit(program);
  return program;
}

/** So that wrong usage exits as the contract says, not as commander does. */
function throwInsteadOfExit(command: Command): void {
  command.exitOverride((error: CommanderError) => {
    throw error;
  });
  for (const verb of command.commands) throwInsteadOfExit(verb);
}
