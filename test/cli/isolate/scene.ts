import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { onTestFinished } from 'vitest';
import { canary } from '../../support/canary.ts';
import { type GateFiles, writeGate } from '../../support/setup.ts';
import { testCa } from '../../support/pki.ts';
import { tempFolder } from '../../support/temp.ts';
import { type HttpUpstream, startEcho } from '../../support/upstream.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const NOBODY = 65_534;

/** Who runs `stubgate`. Root tries both itself and an ordinary user. */
export type User = 'root' | 'an ordinary user' | 'the user';
export const USERS: readonly [User, ...User[]] =
  process.getuid?.() === 0 ? ['root', 'an ordinary user'] : ['the user'];

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Scene {
  readonly user: User;
  readonly upstream: HttpUpstream;
  readonly secret: string;
  /** The gate's; not the command's. */
  readonly files: GateFiles;
  /** The command's current folder. */
  readonly project: string;
  readonly home: string;
  /** Where `stubgate` sees a folder: mounted there, for it alone. */
  readonly mounts: Readonly<Record<string, string>>;
}

export const HOST = 'api.corp.test';

type Row = Readonly<Record<string, unknown>>;

const RULE: Row = { name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] };

/**
 * An upstream that reflects everything, and the files of a gate whose secret is in one of them. Root mounts them outside
 * of /tmp, of which a sandbox sees nothing anyway; not so `inTmp`.
 */
export async function scene(
  user: User,
  rules: readonly Row[] = [],
  inTmp = user === 'the user',
): Promise<Scene> {
  const upstream = await startEcho({ hosts: [HOST] });
  onTestFinished(() => upstream.close());
  const secret = canary('key-');
  const folder = tempFolder('isolate');
  const [project, home] = [join(folder, 'project'), join(folder, 'home')];
  for (const path of [project, home, join(folder, 'admin'), join(folder, 'gate')]) mkdirSync(path);
  const caFile = join(folder, 'upstream-ca.pem');
  copyFileSync((await testCa()).file, caFile);
  const files = await writeGate({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [RULE, ...rules],
    config: {
      listen: { proxy: '127.0.0.1:0', admin: `unix:${join(folder, 'admin/admin.sock')}` },
      upstream: { ca_file: caFile, resolve: { [HOST]: upstream.address } },
    },
  });
  chmodSync(folder, 0o755);
  const mounts: Record<string, string> = inTmp ? {} : { [folder]: '/srv', [files.dir]: '/srv/gate' };
  const made = { user, upstream, secret, files, project, home, mounts };
  writeFileSync(files.configFile, seen(made, readFileSync(files.configFile, 'utf8')));
  give(made, folder, files.dir);
  return made;
}

/** The same with the gate's files in the command's folder, as `stubgate init` makes them. */
export async function projectScene(user: User): Promise<Scene> {
  const made = await scene(user);
  const { project, secret, upstream, home } = made;
  for (const folder of ['config', 'config/secrets']) mkdirSync(join(project, folder));
  writeFileSync(join(project, 'config/secrets/api'), secret, { mode: 0o600 });
  const configFile = join(project, 'config/stubgate.yaml');
  const config = {
    version: 1,
    listen: { proxy: '127.0.0.1:0', admin: `unix:${join(home, '../admin/admin.sock')}` },
    ca: { dir: '../certs' },
    audit: { file: '../audit.jsonl' },
    credentials: { api: { from: 'file:./secrets/api', stub: { env: 'API_KEY' } } },
    rules: [RULE],
    upstream: { ca_file: join(home, '../upstream-ca.pem'), resolve: { [HOST]: upstream.address } },
  };
  writeFileSync(configFile, seen(made, JSON.stringify(config)));
  give(made, project);
  const auditFile = join(project, 'audit.jsonl');
  return { ...made, files: { dir: project, configFile, auditFile, caDir: join(project, 'certs') } };
}

/** Paths as `stubgate` sees them. */
export function seen({ mounts }: Pick<Scene, 'mounts'>, text: string): string {
  return Object.entries(mounts).reduce((before, [from, to]) => before.replaceAll(from, to), text);
}

/** To the scene's user, with all that is in them. */
export function give({ user }: Pick<Scene, 'user'>, ...paths: readonly string[]): void {
  if (user !== 'an ordinary user') return;
  for (const path of paths) {
    const within = readdirSync(path, { recursive: true, encoding: 'utf8' }).map(name => join(path, name));
    for (const each of [path, ...within]) chownSync(each, NOBODY, NOBODY);
  }
}

/** Starts `stubgate` from the sources. `before`: what a shell does first. */
export function begin(where: Scene, args: readonly string[], before = 'true'): ChildProcess {
  const { user, project, home, files } = where;
  // The sources may be in a folder that only root gets to: they are mounted where everybody does.
  const code = user === 'an ordinary user' ? tempFolder('code') : ROOT;
  if (code !== ROOT) chmodSync(code, 0o755);
  const own = process.execPath.startsWith(`${ROOT}/`);
  const node = own ? join(code, relative(ROOT, process.execPath)) : process.execPath;
  const env = {
    PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
    HOME: seen(where, home),
    STUBGATE_CONFIG: seen(where, files.configFile),
    NODE: node,
  };
  const stubgate = [node, '--disable-sigusr1', join(code, 'src/main.ts'), ...args];
  const mounts = { ...where.mounts, ...(code !== ROOT && { [ROOT]: code }) };
  const mounting = Object.entries(mounts).map(([from, to]) => `mount --bind '${from}' '${to}' && `);
  const script = `${mounting.join('')}cd '${seen(where, project)}' && exec "$@"`;
  const command = [
    ...(mounting.length > 0 ? ['unshare', '-m'] : []),
    ...shell('sh', script),
    ...(user === 'an ordinary user' ? AS_NOBODY : []),
    ...shell('bash', `${before}; exec "$@"`),
    ...stubgate,
  ];
  const child = spawn(command[0] ?? '', command.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

const shell = (name: string, script: string): string[] => [name, '-c', script, name];
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'];

/** A gate that serves, stopped when the test ends. */
export async function gateOf(where: Scene): Promise<ChildProcess> {
  const gate = begin(where, ['start']);
  await told(gate, '"message":"ready"');
  return gate;
}

/** Settles when it has written `text` on stderr. */
export async function told(child: ChildProcess, text: string): Promise<void> {
  let all = '';
  for await (const more of child.stderr?.iterator({ destroyOnReturn: false }) ?? []) {
    all += String(more);
    if (all.includes(text)) return;
  }
  throw new Error(`it ended: ${all}`);
}

export function ended(child: ChildProcess): Promise<Ran> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((settle, reject) => {
    child.on('error', reject);
    child.on('close', code => settle({ code, stdout, stderr }));
  });
}

/** A command in isolation, to its end. */
export const isolated = (where: Scene, ...command: string[]): Promise<Ran> =>
  ended(begin(where, ['run', '--isolate', '--', ...command]));

/** A script for the sandbox's Node. */
export const scripted = (where: Scene, code: string, ...args: string[]): Promise<Ran> =>
  isolated(where, 'sh', '-c', 'exec "$NODE" -e "$@"', 'sh', code, ...args);
