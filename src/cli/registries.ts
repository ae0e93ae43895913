import { spawnSync } from 'node:child_process';

/**
 * The package index that a client uses here, told by the client itself: none is built in. Asks the settings, and pip,
 * which does not list its default there, also its help.
 */
export function registry(client: 'npm' | 'pip'): URL {
  const found = client === 'npm' ? ask('npm', 'config', 'get', 'registry') : pipIndex();
  const url = URL.parse(found ?? '');
  if (url && /^https?:$/.test(url.protocol)) return url;
  const mend = client === 'npm' ? '"npm config set registry URL"' : 'PIP_INDEX_URL=URL';
  throw new Error(
    `${client} does not tell its package index; set it with ${mend}, or leave out --with ${client}`,
  );
}

function pipIndex(): string | undefined {
  const configured = process.env['PIP_INDEX_URL'] ?? ask('pip', 'config', 'get', 'global.index-url');
  if (configured) return configured;
  return /Package Index \(default\s+(https?:\/\/[^\s)]+)\)/.exec(ask('pip', 'install', '--help') ?? '')?.[1];
}

function ask(command: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim() : undefined;
}
