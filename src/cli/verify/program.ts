import { printable } from '../../audit/printable.ts';
import type { Looked, ProgramLeak, Unseen } from '../../proof/watched.ts';

/** A way out that was tried in an isolated sandbox. */
export interface BreakOut {
  readonly what: string;
  /** `not run`: it needs isolation. */
  readonly verdict: 'closed' | 'OPEN' | 'not run';
  readonly detail: string;
}

/** What became of a program that ran as the sandbox. */
export interface ProgramReport {
  readonly command: readonly string[];
  readonly exitCode: number;
  readonly leaks: readonly ProgramLeak[];
  /** What could not be looked at: it proves nothing. */
  readonly unseen: readonly Unseen[];
  readonly looked: Looked & { readonly outputBytes: number };
  readonly breakOuts: readonly BreakOut[];
  /** Requests of it that went on to an upstream. */
  readonly allowed: number;
  readonly denied: number;
}

/** Whether nothing of a secret was found, all could be looked at, and no way out was open. */
export function isSafe({ leaks, unseen, breakOuts }: ProgramReport): boolean {
  return leaks.length === 0 && unseen.length === 0 && breakOuts.every(({ verdict }) => verdict !== 'OPEN');
}

export function programLine({ credential, kind, place, spelling }: ProgramLeak): string {
  return `${credential} in ${place}, ${spelling === 'as it is' ? spelling : `as ${spelling}`} (${kind})`;
}

export function describeProgram(report: ProgramReport): string {
  const { command, exitCode, leaks, unseen, looked, breakOuts, allowed, denied } = report;
  const megabytes = (looked.memoryBytes / 1e6).toFixed(0);
  const notRun = breakOuts.filter(({ verdict }) => verdict === 'not run');
  const tried = breakOuts.length - notRun.length;
  const closed = breakOuts.filter(({ verdict }) => verdict === 'closed').length;
  return [
    `${isSafe(report) ? 'pass   ' : leaks.length > 0 ? 'LEAK   ' : 'FAILED '}  ${command.join(' ')}: exit code ${exitCode}, ${allowed} requests allowed, ${denied} denied`,
    `         looked at ${looked.processes} processes ${looked.samples} times, ${megabytes} MB of memory, ${looked.files} files, ${looked.outputBytes} bytes of output`,
    ...leaks.map(leak => `         LEAK: ${programLine(leak)}`),
    ...unseen.map(({ what, why }) => `         not seen: ${what}: ${why}`),
    ...breakOuts
      .filter(({ verdict }) => verdict === 'OPEN')
      .map(({ what, detail }) => `         OPEN: ${what}: ${detail}`),
    ...(tried > 0 ? [`         ${tried} ways out tried, ${closed} closed; --json tells of each`] : []),
    ...(notRun.length > 0
      ? [`         break-outs not run (they need --isolate): ${notRun.map(({ what }) => what).join('; ')}`]
      : []),
  ]
    .map(printable)
    .join('\n');
}
