import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { printable } from '../audit/printable.ts';

const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;
/** A terminal sends them to the command, too. */
const FROM_TERMINAL = ['SIGINT', 'SIGQUIT'] as const;
/** Signals that are the command's, and must not end a process that only waits for it. */
export const COMMANDS_SIGNALS = [...FORWARDED, ...FROM_TERMINAL];

/** Where the signals for a command come from: calls back for each. */
export type SignalSource = (forward: (signal: NodeJS.Signals) => void) => void;

/** This process's own. */
export const ownSignals: SignalSource = forward => {
  for (const signal of FORWARDED) process.on(signal, forward);
  for (const signal of FROM_TERMINAL) process.on(signal, process.stdin.isTTY ? () => {} : forward);
};

export interface Execution {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Whose standard output it has; default this process's own. */
  readonly stdout?: 'stderr';
  /** Is given the process once it runs, and takes its stdout and stderr. Without, they are this process's own. */
  readonly tap?: (child: ChildProcess) => void;
}

/** The command's exit code; 128 + n when signal n ended it, 127 when it is not there (POSIX sh). */
export function execute(
  { command, args, env, stdout, tap }: Execution,
  signals = ownSignals,
): Promise<number> {
  return new Promise((resolve, reject) => {
    // Before the command is there: a signal must not end this process, and leave the command without its gate.
    signals(signal => void child.kill(signal));
    const own = ['inherit', stdout === 'stderr' ? 2 : 1, 2] as const;
    const child = spawn(command, args, { env, stdio: tap ? ['inherit', 'pipe', 'pipe'] : [...own] });
    tap?.(child);
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'EACCES') return reject(error);
      const missing = error.code === 'ENOENT';
      console.error(
        `stubgate: ${printable(command)}: ${missing ? 'there is no such command' : 'may not be run'}`,
      );
      resolve(missing ? 127 : 126);
    });
    child.on('exit', (code, signal) => {
      resolve(signal === null ? (code ?? 0) : 128 + constants.signals[signal]);
    });
  });
}
