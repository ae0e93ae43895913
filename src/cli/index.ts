import { Command, CommanderError } from 'commander';
import { fail } from './fail.ts';
import { version } from './version.ts';

type Verb = (program: Command) => void;

/** In the order of `--help`. Each is loaded when it is asked for: all of them take a quarter of a start. */
const VERBS: Readonly<Record<string, () => Promise<Verb>>> = {
  start: async () => (await import('./start.ts')).startVerb,
  run: async () => (await import('./run.ts')).runVerb,
  session: async () => (await import('./session.ts')).sessionVerb,
  check: async () => (await import('./check.ts')).checkVerb,
  explain: async () => (await import('./explain.ts')).explainVerb,
  test: async () => (await import('./test.ts')).testVerb,
  diff: async () => (await import('./diff.ts')).diffVerb,
  verify: async () => (await import('./verify.ts')).verifyVerb,
  init: async () => (await import('./init.ts')).initVerb,
  learn: async () => (await import('./learn.ts')).learnVerb,
  doctor: async () => (await import('./doctor.ts')).doctorVerb,
  ca: async () => (await import('./ca.ts')).caVerb,
  audit: async () => (await import('./audit.ts')).auditVerb,
  worker: async () => (await import('./worker.ts')).workerVerb,
};

/** Runs one command line; settles when its verb is done, with the process's exit code set. A failed one ends at once. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await (await commandLine(argv[2])).parseAsync(argv);
  } catch (thrown) {
    process.exit(fail(thrown));
  }
}

/** With the verb that was asked for; with all of them for `--help`, and to tell a word that is none. */
async function commandLine(word: string | undefined): Promise<Command> {
  const program = new Command('stubgate')
    .description('The egress gate of a sandbox: stubs go in, real credentials go out, and never come back.')
    .version(version())
    .enablePositionalOptions()
    .showHelpAfterError('(see --help)')
    .addHelpText(
      'after',
      '\nExample:\n  stubgate init --with github && stubgate run -- curl https://api.github.com/user',
    );
  const load = Object.hasOwn(VERBS, word ?? '') ? VERBS[word as string] : undefined;
  const verbs = await Promise.all((load ? [load] : Object.values(VERBS)).map(one => one()));
  for (const verb of verbs) verb(program);
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
