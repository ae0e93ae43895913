import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { Server } from 'node:net';
import { constants } from 'node:os';
import { extname } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type Execution, ownSignals } from '../execute.ts';
import { UsageError } from '../fail.ts';
import { FILTER_FD, SIGNALS_FD } from './channel.ts';
import type { Files } from './files.ts';
import { onReplaced } from './replaced.ts';
import { seccompFilter } from './seccomp.ts';

/** The system's places only: a folder in PATH may be one that a sandbox wrote. */
const BWRAP = ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/bin/bwrap', '/run/current-system/sw/bin/bwrap'];
const INSIDE = fileURLToPath(new URL(`./inside${extname(import.meta.url)}`, import.meta.url));

/**
 * bwrap itself ignores the command's signals: a terminal sends them to the whole process group, and it would end, and the
 * command with it.
 */
const IGNORING = 'trap "" HUP INT QUIT TERM USR1 USR2; exec "$@"';

/** From the end of the command's parent to the sandbox's. */
const END_MS = 2000;

/** What makes the sandbox. */
export interface Isolation {
  readonly bwrap: string;
  readonly filter: Buffer;
}

/** Throws UsageError where it cannot be had. */
export function requireIsolation(): Isolation {
  if (process.platform !== 'linux')
    throw new UsageError(
      `--isolate needs Linux namespaces; on ${process.platform} run it in a Linux machine`,
    );
  const filter = seccompFilter(process.arch);
  if (!filter) throw new UsageError(`--isolate does not know ${process.arch}; run it on x64 or arm64`);
  const bwrap = BWRAP.find(path => existsSync(path));
  if (bwrap === undefined)
    throw new UsageError('--isolate needs bubblewrap 0.8 or later: apt-get install bubblewrap');
  return { bwrap, filter };
}

export interface Isolated extends Execution, Isolation, Files {
  /** Where the command finds the gate, in the sandbox. */
  readonly host: string;
  readonly port: number;
  /** Takes the connections that the command makes there. */
  serve(listener: Server): void;
}

/** As `execute`, in a sandbox. Throws UsageError if there is none to be had: the command was not run then. */
export function executeIsolated(what: Isolated): Promise<number> {
  let replaced: string | undefined;
  const unguard = onReplaced(what.guarded, file => {
    replaced = file;
    child.kill('SIGKILL');
  });
  const child = startSandbox(what);
  return new Promise((resolve, reject) => {
    let listener: Server | undefined;
    child.once('message', (_, handle) => {
      if (!(handle instanceof Server)) return void child.kill('SIGKILL');
      listener = handle;
      what.serve(listener);
      const { command, args, env } = what;
      child.send({ command, args, env } satisfies Execution);
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      unguard();
      listener?.close();
      if (replaced !== undefined)
        console.error(
          `stubgate: ${replaced} was replaced while the command could write there: it was ended; check that file`,
        );
      if (listener) resolve(signal === null ? (code ?? 0) : 128 + constants.signals[signal]);
      else reject(new UsageError(NO_SANDBOX));
    });
  });
}

const NO_SANDBOX =
  'the command was not run: bwrap could not isolate it; allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, ' +
  'user.max_user_namespaces; with AppArmor a profile for bwrap; in a container its seccomp profile)';

function startSandbox({ bwrap, filter, view, host, port, tap }: Isolated): ChildProcess {
  const options = [
    '--unshare-all',
    '--unshare-user',
    '--disable-userns',
    '--die-with-parent',
    '--cap-drop',
    'ALL',
    '--seccomp',
    `${FILTER_FD}`,
    ...view.options(),
    '--chdir',
    process.cwd(),
    // A process group is signalled as a whole, with those in it that are outside.
    ...(hasTerminal() ? [] : ['--new-session']),
  ];
  const inside = [process.execPath, INSIDE, host, `${port}`];
  const output = tap ? 'pipe' : 'inherit';
  const child = spawn('/bin/sh', ['-c', IGNORING, 'sh', bwrap, ...options, '--', ...inside], {
    // The command's own environment reaches it over the channel: nobody reads it in a list of processes.
    env: {},
    stdio: ['inherit', output, output, 'ipc', 'pipe', 'pipe'],
  });
  tap?.(child);
  const signals = channel(child, SIGNALS_FD);
  ownSignals(signal => void signals.write(`${signal}\n`));
  // It closes when the command's parent ends. The command may have stopped what waits for that (ptrace(2)).
  signals.on('close', () => setTimeout(() => child.kill('SIGKILL'), END_MS).unref());
  // What comes from inside is not read.
  signals.resume();
  channel(child, FILTER_FD).end(filter);
  return child;
}

/** A command in a terminal stays in its group there: Ctrl-C, Ctrl-Z, `fg`. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}

function channel(child: ChildProcess, fd: number): Duplex {
  const stream = child.stdio[fd] as Duplex;
  // It closes with the sandbox, whose end is told otherwise.
  stream.on('error', () => {});
  return stream;
}
