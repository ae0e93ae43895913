import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, isAbsolute, join, relative } from 'node:path';
import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../types.ts';
import { show, toSecret } from './field.ts';
import { variable } from './source.ts';

const MAX_BYTES = 65_536;
const ID = '{id}';
/** Always given. */
const GIVEN = ['PATH', 'HOME'];

const schema = z.strictObject({
  command: z
    .array(z.string().regex(/^[^\0]*$/, 'holds a NUL; write it without'))
    .min(1, 'is empty; write a list such as [pass, show, "{id}"]')
    .refine(
      ([program = '']) => /^(\/.+|[^/{}]+)$/.test(program),
      'must begin with a program: an absolute path, or a name to be found in PATH',
    )
    .refine(
      ([, ...args]) => args.every(arg => arg === ID || !arg.includes(ID)),
      'holds {id} inside an argument; write it as an argument of its own',
    )
    .describe('The program and its arguments, run without a shell; the argument {id} stands for the id.'),
  env: z
    .array(variable())
    .refine(
      names => !names.some(name => GIVEN.includes(name)),
      'names PATH or HOME, which every command gets; leave it out',
    )
    .default([])
    .describe('Variables of the gate that the command gets, besides PATH and HOME; no sandbox does.'),
});
type Options = z.output<typeof schema>;

/** A command that prints the secret; the id is an argument of it. */
class ExecVault implements Vault {
  readonly variables: readonly string[];
  readonly #command: readonly string[];

  constructor({ command, env }: Options) {
    this.#command = command;
    this.variables = env;
  }

  async read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    if (ref.version !== undefined)
      throw new VaultError('missing', `${show(ref)}: a command has no versions; leave out "?version="`);
    // Else the id could be an option of the program.
    if (ref.id.startsWith('-'))
      throw new VaultError('missing', `${show(ref)}: begins with "-"; write an id that does not`);
    return toSecret(ref, await this.#run(ref, signal));
  }

  /** Its output. In a process group of its own, so that all of it can be ended. */
  #run(ref: SecretRef, signal: AbortSignal): Promise<Buffer> {
    const [program = '', ...args] = this.#command.map(arg => (arg === ID ? ref.id : arg));
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const fail = (what: string) =>
      reject(new VaultError('unavailable', `${show(ref)}: the command ${program} ${what}`));
    if (signal.aborted) fail('was not run: there was no time left');
    if (signal.aborted) return promise;
    const child = spawn(program, args, {
      detached: true,
      // The current folder may be the sandbox's, and many programs read settings there.
      cwd: '/',
      env: this.#environment(),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const chunks: Buffer[] = [];
    let size = 0;
    const giveUp = (what: string) => {
      fail(what);
      end(child);
    };
    const late = () => giveUp('took too long, and was ended; run it by hand to see why');
    signal.addEventListener('abort', late, { once: true });
    child.stdout?.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_BYTES) giveUp(`printed more than ${MAX_BYTES} bytes, and was ended`);
      else chunks.push(chunk);
    });
    child.on('error', ({ code }: NodeJS.ErrnoException) => {
      signal.removeEventListener('abort', late);
      fail(`cannot be run (${code}); check its path, and the PATH of the gate`);
    });
    child.on('close', (code, ended) => {
      signal.removeEventListener('abort', late);
      if (code === 0) resolve(Buffer.concat(chunks));
      else fail(`ended with ${ended ?? `exit code ${code}`}; run it by hand, as the gate's user, to see why`);
    });
    return promise;
  }

  #environment(): Record<string, string> {
    const environment: Record<string, string> = { PATH: safePath() };
    for (const name of ['HOME', ...this.variables]) {
      const value = Object.hasOwn(process.env, name) ? process.env[name] : undefined;
      if (value !== undefined) environment[name] = value;
    }
    return environment;
  }
}

/** The gate's PATH without relative folders and those of the current one: a sandbox may write there. */
function safePath(): string {
  const current = process.cwd();
  const isInside = (folder: string) => current !== '/' && !/^\.\.(\/|$)/.test(relative(current, folder));
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.filter(folder => isAbsolute(folder) && !isInside(folder)).join(delimiter);
}

/** Paths that such a vault runs or hands to what it runs: no sandbox may write there. */
export function commandPaths({ command }: { readonly command: readonly string[] }): string[] {
  const [program = '', ...args] = command;
  const found = isAbsolute(program)
    ? program
    : safePath()
        .split(delimiter)
        .map(folder => join(folder, program))
        .find(existsSync);
  return [found, ...args].filter(path => path !== undefined && isAbsolute(path)) as string[];
}

/** Ends a command and what it started. */
function end(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // gone already
  }
  // A process that left the group may still hold the other end.
  child.stdout?.destroy();
}

export const exec = define({
  type: 'exec',
  summary: 'A command that prints the secret; the id is the argument {id}',
  schema,
  build: (options): Vault => new ExecVault(options),
});
