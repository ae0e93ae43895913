import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export type PackageClient = 'npm' | 'pip' | 'cargo' | 'gem' | 'docker' | 'twine';

interface Client {
  /** What the client says, or its settings; undefined if neither does. */
  readonly find: () => string | undefined;
  /** How to set it. */
  readonly mend: string;
}

const CLIENTS: Readonly<Record<PackageClient, Client>> = {
  npm: { find: () => ask('npm', 'config', 'get', 'registry'), mend: '"npm config set registry URL"' },
  pip: { find: pipIndex, mend: 'PIP_INDEX_URL=URL' },
  cargo: {
    find: cargoIndex,
    mend: 'a source with `registry = "sparse+URL"` and `replace-with` in the config.toml of Cargo',
  },
  gem: {
    find: () => /^https?:\S+$/m.exec(ask('gem', 'sources', '--list') ?? '')?.[0],
    mend: '"gem sources --add URL"',
  },
  docker: {
    find: dockerRegistry,
    mend: '`registry-mirrors` in the daemon.json of Docker, or "docker login HOST"',
  },
  twine: { find: uploadIndex, mend: 'TWINE_REPOSITORY_URL=URL' },
};

/**
 * The package index that a client uses here, told by the client itself: none is built in. Asks its variables and
 * settings, and where it does not list its default there, its help.
 */
export function registry(client: PackageClient): URL {
  const { find, mend } = CLIENTS[client];
  const url = URL.parse(find() ?? '');
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new Error(
    `${client} does not tell its package index; set it with ${mend}, or leave out the preset for ${client}`,
  );
}

function pipIndex(): string | undefined {
  const configured = process.env['PIP_INDEX_URL'] ?? ask('pip', 'config', 'get', 'global.index-url');
  if (configured) return configured;
  return /Package Index \(default\s+(https?:\/\/[^\s)]+)\)/.exec(ask('pip', 'install', '--help') ?? '')?.[1];
}

/** Cargo tells no setting on a stable toolchain: its files are read, as the Cargo Book has them ("Configuration"). */
function cargoIndex(): string | undefined {
  const home = process.env['CARGO_HOME'] ?? join(homedir(), '.cargo');
  const text = [join(home, 'config.toml'), join(home, 'config')].map(textOf).find(Boolean) ?? '';
  const chosen = process.env['CARGO_REGISTRY_DEFAULT'] ?? settingIn(text, 'registry', 'default');
  const index = chosen === undefined ? sourceOf(text) : namedIndex(text, chosen);
  return index?.replace(/^sparse\+/, '');
}

function namedIndex(text: string, name: string): string | undefined {
  const variable = `CARGO_REGISTRIES_${name.toUpperCase().replaceAll('-', '_')}_INDEX`;
  return process.env[variable] ?? settingIn(text, `registries.${name}`, 'index');
}

/** Of the source that replaces the default one; sources may replace each other in a row. */
function sourceOf(text: string): string | undefined {
  let name = settingIn(text, 'source.crates-io', 'replace-with');
  for (let i = 0; i < 8 && name !== undefined; i++) {
    const next = settingIn(text, `source.${name}`, 'replace-with');
    if (next === undefined) return settingIn(text, `source.${name}`, 'registry') ?? namedIndex(text, name);
    name = next;
  }
  return undefined;
}

/** A text in a table of a TOML file, as people write it. */
function settingIn(toml: string, table: string, key: string): string | undefined {
  let current = '';
  for (const line of toml.split('\n')) {
    const header = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line)?.[1];
    if (header !== undefined) current = header.replaceAll(/["']/g, '');
    const [, name, value] = /^\s*([\w-]+)\s*=\s*["']([^"']*)["']/.exec(line) ?? [];
    if (current === table && name === key) return value;
  }
  return undefined;
}

/** A mirror that the daemon or its file names, else the one registry that the client is logged in at. */
function dockerRegistry(): string | undefined {
  const mirror =
    /^https?:\S+$/m.exec(
      ask('docker', 'info', '--format', '{{range .RegistryConfig.Mirrors}}{{println .}}{{end}}') ?? '',
    )?.[0] ?? (json('/etc/docker/daemon.json') as { 'registry-mirrors'?: string[] })['registry-mirrors']?.[0];
  if (mirror !== undefined) return mirror;
  const file = join(process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json');
  const [host, ...others] = Object.keys((json(file) as { auths?: object }).auths ?? {});
  if (host === undefined || others.length > 0) return undefined;
  return host.includes('://') ? host : `https://${host}`;
}

function uploadIndex(): string | undefined {
  const configured = process.env['TWINE_REPOSITORY_URL'] ?? pypirc(textOf(join(homedir(), '.pypirc')) ?? '');
  return configured ?? ask('python3', '-c', 'from twine.utils import DEFAULT_REPOSITORY as url; print(url)');
}

/** Of the index `pypi`, which twine uses if no other is named. */
function pypirc(text: string): string | undefined {
  const section = /^\[pypi\]\s*$([\s\S]*?)(?=^\[|$(?![\s\S]))/m.exec(text)?.[1] ?? '';
  return /^\s*repository\s*[:=]\s*(\S+)/m.exec(section)?.[1];
}

function json(file: string): object {
  try {
    return Object(JSON.parse(textOf(file) ?? '{}')) as object;
  } catch {
    return {};
  }
}

const textOf = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, 'utf8') : undefined;

function ask(command: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim() : undefined;
}
