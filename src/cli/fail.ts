import { CommanderError } from 'commander';
import { printable } from '../audit/printable.ts';
import { ConfigError } from '../config/problems.ts';
import { errorText } from './log.ts';

/** Exit codes (contract, section 4). */
export const DONE = 0;
export const FAILED = 1;
export const USAGE = 2;

/** Something that the caller wrote is wrong. `message` says what to write instead. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** Tells on stderr what went wrong, in a line; gives the exit code. */
export function fail(thrown: unknown): number {
  // Commander has told it.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? DONE : USAGE;
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  if (process.env['STUBGATE_DEBUG'] === '1') console.error(error);
  else if (error instanceof ConfigError) console.error(error.message.split('\n').map(printable).join('\n'));
  else console.error(`stubgate: ${printable(withAdvice(error))}`);
  return error instanceof ConfigError || error instanceof UsageError ? USAGE : FAILED;
}

function withAdvice(error: Error): string {
  const text = errorText(error);
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return `${text}; another gate may run there: change listen.proxy or listen.admin`;
    case 'EACCES':
      return `${text}; check who owns it, and its mode`;
    default:
      return text;
  }
}
