import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { vi } from 'vitest';
import { main } from '../../src/cli/index.ts';

export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Where {
  cwd: string;
  /** Added to PATH and HOME, which is all that is inherited. */
  env?: Readonly<Record<string, string>>;
  /** Of Node itself. */
  node?: readonly string[];
}

export const environment = ({ cwd, env }: Where): Record<string, string> => ({
  PATH: `${fileURLToPath(new URL('.', `file://${process.execPath}`))}:${process.env['PATH']}`,
  HOME: cwd,
  ...env,
});

/** Runs the command line to its end. */
export function stubgate(where: Where, ...args: string[]): Promise<Ran> {
  const child = spawn(process.execPath, [...(where.node ?? []), MAIN, ...args], {
    cwd: where.cwd,
    env: environment(where),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', code => resolve({ code, stdout, stderr }));
  });
}

/** The same in this process, which is quicker; for verbs that change nothing in it. */
export async function quickly(cwd: string, ...args: string[]): Promise<Ran> {
  const before = process.cwd();
  let stdout = '';
  let stderr = '';
  let code: number | undefined;
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(text => (stdout += String(text)) !== ''),
    vi.spyOn(process.stderr, 'write').mockImplementation(text => (stderr += String(text)) !== ''),
    vi.spyOn(console, 'error').mockImplementation(text => (stderr += `${text}\n`)),
    vi.spyOn(process, 'exit').mockImplementation(given => {
      code = Number(given);
      return undefined as never;
    }),
  ];
  process.chdir(cwd);
  try {
    await main(['node', 'stubgate', ...args]);
    return { code: code ?? Number(process.exitCode ?? 0), stdout, stderr };
  } finally {
    process.exitCode = undefined;
    process.chdir(before);
    for (const spy of spies) spy.mockRestore();
  }
}
