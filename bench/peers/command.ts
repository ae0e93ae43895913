import { spawnSync } from 'node:child_process';

const run = (command: string, args: readonly string[]) => spawnSync(command, args, { encoding: 'utf8' });

/** Why a command cannot be used, if it cannot. */
export function absent(command: string, debianPackage: string): string | undefined {
  const isThere = run('sh', ['-c', 'command -v "$1"', 'sh', command]).status === 0;
  return isThere ? undefined : `${command} is not installed (Debian: apt-get install ${debianPackage})`;
}

/** First line that a command prints, on stdout or stderr. */
export function firstLine(command: string, args: readonly string[]): string {
  const { stdout, stderr } = run(command, args);
  return `${stdout}${stderr}`.split('\n')[0] ?? '';
}
