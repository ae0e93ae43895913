import { existsSync, lstatSync, readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesOfWorkers } from '../../audit/files.ts';
import type { Compiled } from '../../config/types.ts';
import { commandPaths } from '../../vaults/exec.ts';
import { UsageError } from '../fail.ts';
import { boundSockets, reachable, real, upwards } from './paths.ts';
import { type SecretFolder, secretFolders } from './secrets.ts';
import { View } from './view.ts';

export interface Wanted {
  /** Of the gate. */
  readonly compiled: Pick<Compiled, 'config' | 'sources' | 'vaults'>;
  /** The gate's CA, for sandboxes; what else is theirs stands beside it as `sandbox-*`. */
  readonly caFile: string;
  /** Folders that the command may write, besides the current one. */
  readonly writable: readonly string[];
}

export interface Files {
  readonly view: View;
  /** Masked files in a folder that the command may write: it could write what somebody outside puts in their place. */
  readonly guarded: readonly string[];
}

/** Where programs put their sockets, and files for each other. */
const OWN = ['/tmp', '/var/tmp', '/run'];

/** Folders that hold more than one thing: without one of them nothing would run. */
const SHARED =
  /^\/((bin|boot|etc|home|lib\d*|mnt|opt|root|sbin|srv|sys|usr|var)(\/(bin|lib\d*|local|sbin|share))?)?$/;

/** Below HOME: what its user is known by elsewhere. */
const IDENTITIES = `
  .ssh .gnupg .netrc .git-credentials .pypirc .password-store .local/share/keyrings .cargo/credentials.toml
  .aws .azure .config/gcloud .config/gh .kube .docker .vault-token .terraform.d`
  .trim()
  .split(/\s+/);

/** Variables that name a file by which the gate's user, or its workload, is known elsewhere. */
const IDENTITY_FILES = [
  'AWS_SHARED_CREDENTIALS_FILE',
  'AWS_CONFIG_FILE',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
];

/** What starts the command. */
const PROGRAM = [process.execPath, fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')];

/** The files of a sandbox. Throws UsageError if something secret could not be hidden for certain. */
export function sandboxFiles({ compiled, caFile, writable }: Wanted): Files {
  const { config } = compiled;
  const view = new View();
  for (const path of OWN.flatMap(real)) view.set(path, 'own');
  for (const path of writableFolders(writable)) view.set(path, 'writable');
  const home = real(process.env['HOME'] || homedir());
  const named = IDENTITY_FILES.flatMap(name => process.env[name] || []).flatMap(real);
  for (const path of [
    ...home.flatMap(folder => IDENTITIES.flatMap(name => real(join(folder, name)))),
    ...named,
  ])
    if (reachable(path)) concealed(view, path);
  for (const folder of secretFolders(compiled)) hide(view, folder, home);
  for (const path of PROGRAM.flatMap(real)) if (!view.shows(path)) view.set(path, 'readable');
  for (const path of beside(caFile, 'sandbox-')) view.set(path, 'readable');
  const { file: audit } = config.audit;
  const audits = filesOfWorkers(audit).flatMap(file => beside(file, basename(file)));
  const guarded = [config.file, ...audits].filter(path => masked(view, path));
  for (const [name, { type, options }] of config.vaults)
    if (type === 'exec') refuseLent(view, name, commandPaths(options as Parameters<typeof commandPaths>[0]));
  for (const path of boundSockets()) if (view.shows(path)) view.conceal(path, 'masked');
  return { view, guarded };
}

/** The current folder too, unless it is one that a sandbox has of its own, or everything. */
function writableFolders(named: readonly string[]): string[] {
  const folders = named.map(path => {
    const [folder] = real(path);
    if (folder === undefined || !statSync(folder).isDirectory())
      throw new UsageError(`--writable ${path}: is no folder`);
    if (folder === '/') throw new UsageError('--writable /: name the folders that the command must write');
    return folder;
  });
  const current = process.cwd();
  return current === '/' || OWN.includes(current) ? folders : [current, ...folders];
}

/** Hides a folder wholly, so that it stays hidden whatever happens in it. */
function hide(view: View, { what, path }: SecretFolder, home: readonly string[]): void {
  refuseLinks(view, what, path);
  const [folder] = real(path);
  if (folder === undefined) return refuseMissing(view, what, path);
  if (!view.shows(folder)) return;
  const needed = [...home, ...PROGRAM.flatMap(real)];
  if (SHARED.test(folder) || needed.includes(folder) || view.is(folder, 'writable')) {
    throw new UsageError(
      `${what} cannot be hidden, the command needs ${folder}; put it into a folder of its own`,
    );
  }
  view.conceal(folder, 'hidden');
}

/** Whether the file is one that the command could write if it were replaced. */
function masked(view: View, path: string): boolean {
  refuseLinks(view, 'the file', path);
  const [file] = real(path);
  if (file === undefined || !view.shows(file)) return false;
  const guarded = view.lends(file);
  view.conceal(file, 'masked');
  return guarded;
}

function concealed(view: View, path: string): void {
  if (view.shows(path)) view.conceal(path, statSync(path).isDirectory() ? 'hidden' : 'masked');
}

/** What a vault runs, it runs outside of the sandbox. */
function refuseLent(view: View, vault: string, paths: readonly string[]): void {
  const lent = paths.find(path => [path, ...real(path)].some(at => view.lends(at)));
  if (lent === undefined) return;
  throw new UsageError(
    `the vault "${vault}" runs ${lent}, which the command may write; put it into a folder that it may not`,
  );
}

/** The gate goes by names: a link that the command may write would lead it elsewhere. */
function refuseLinks(view: View, what: string, path: string): void {
  const isLent = (link: string): boolean => real(dirname(link)).some(folder => view.lends(folder));
  const link = upwards(resolve(path)).find(
    at => lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink() && isLent(at),
  );
  if (link !== undefined) {
    throw new UsageError(
      `${what} ${path}: ${link} is a link in a folder that the command may write; write where it leads to`,
    );
  }
}

/** Nothing can stand in for it outside; the command must not put something there. */
function refuseMissing(view: View, what: string, path: string): void {
  const [nearest] = upwards(path).filter(existsSync).flatMap(real);
  if (nearest !== undefined && view.lends(nearest))
    throw new UsageError(`${what} is missing; make the folder ${path}, or name another one`);
}

function beside(file: string, prefix: string): string[] {
  const names = existsSync(dirname(file)) ? readdirSync(dirname(file)) : [];
  return names.filter(name => name.startsWith(prefix)).flatMap(name => real(join(dirname(file), name)));
}
