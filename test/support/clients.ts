import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'vitest';
import { tempFolder } from './temp.ts';

// The system's own places only: a version manager's shim on a developer's PATH would read that developer's HOME.
const DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

function which(name: string): string | undefined {
  for (const directory of DIRECTORIES) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

const pythonHas = (module: string): boolean => {
  const python = which('python3');
  return (
    python !== undefined && spawnSync(python, ['-c', `import ${module}`], { stdio: 'ignore' }).status === 0
  );
};

/** How a client's presence is told, where a look at PATH is not enough. */
const PROBES: Record<string, () => boolean> = {
  'git-http-backend': () => gitHttpBackend() !== undefined,
  'python3-requests': () => pythonHas('requests'),
  'python3-httpx': () => pythonHas('httpx'),
  'python3-websockets': () => pythonHas('websockets'),
  'python3-hvac': () => pythonHas('hvac'),
  'python3-boto3': () => pythonHas('boto3'),
  'python3-pip': () => pythonHas('pip'),
  npm: () => npmCli() !== undefined,
  bubblewrap: () => isolates(),
};

/** Namespaces may be forbidden although bwrap is there. */
function isolates(): boolean {
  const options = [
    '--unshare-all',
    '--unshare-user',
    '--disable-userns',
    '--ro-bind',
    '/',
    '/',
    '--proc',
    '/proc',
  ];
  const bwrap = which('bwrap');
  return bwrap !== undefined && spawnSync(bwrap, [...options, 'true'], { stdio: 'ignore' }).status === 0;
}

const known = new Map<string, boolean>();

function present(client: string): boolean {
  let found = known.get(client);
  if (found === undefined) {
    found = PROBES[client]?.() ?? which(client) !== undefined;
    known.set(client, found);
  }
  return found;
}

/** The CGI program of git's own server side. */
export function gitHttpBackend(): string | undefined {
  const git = which('git');
  if (!git) return undefined;
  const { stdout } = spawnSync(git, ['--exec-path'], { encoding: 'utf8' });
  const path = join(stdout.trim(), 'git-http-backend');
  return existsSync(path) ? path : undefined;
}

/** npm's own script, so that it runs under the Node of this process whatever PATH says. */
export function npmCli(): string | undefined {
  const candidates = [
    process.env['npm_execpath'],
    ...(process.env['PATH'] ?? '')
      .split(delimiter)
      .map(d => join(d, '../lib/node_modules/npm/bin/npm-cli.js')),
    '/usr/share/nodejs/npm/bin/npm-cli.js',
  ];
  return candidates.find(path => path?.endsWith('npm-cli.js') && existsSync(path));
}

type Body = () => Promise<void>;

/**
 * `test` for the named real clients. One that is missing skips the test and says so; under
 * `STUBGATE_TEST_REQUIRE=1` it fails the test instead, so that CI cannot pass by skipping.
 */
export function needs(...clients: readonly string[]): (name: string, body: Body, timeout?: number) => void {
  const missing = clients.filter(client => !present(client));
  if (missing.length === 0) {
    return (name, body, timeout = 60_000) => {
      test(name, { timeout }, body);
    };
  }
  const reason = `not installed: ${missing.join(', ')}`;
  if (process.env['STUBGATE_TEST_REQUIRE'] === '1') {
    return name => {
      test(name, () => {
        throw new Error(reason);
      });
    };
  }
  console.warn(`skipped, ${reason}`);
  return (name, body) => {
    test.skip(`${name} (${reason})`, body);
  };
}

export type Env = Readonly<Record<string, string>>;

/**
 * An environment that inherits nothing: a HOME of its own, the system's PATH. `extra` is what the gate hands out.
 * Every cache and settings file that a client looks for is inside that HOME.
 */
export function cleanEnv(extra: Env = {}): Env {
  const home = tempFolder('home');
  const node = join(process.execPath, '..');
  return {
    PATH: [node, ...DIRECTORIES].join(delimiter),
    HOME: home,
    TMPDIR: home,
    LANG: 'C.UTF-8',
    ...extra,
  };
}

export interface Ran {
  /** Exit code; 128 and more: ended by a signal. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** `stdout` and `stderr` together: all that the client showed. */
  readonly output: string;
}

export interface RunOptions {
  env: Env;
  cwd?: string;
  input?: string | Buffer;
  /** ms; the client is killed then, and the test fails. */
  timeout?: number;
}

/** Runs a client to its end. It never rejects for a bad exit code: that is the test's to judge. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<Ran> {
  const { env, cwd = env['HOME'] ?? tmpdir(), input, timeout = 45_000 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, cwd, stdio: 'pipe' });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      const shown = Buffer.concat([...out, ...err]).toString('utf8');
      reject(new Error(`${command} still ran after ${timeout} ms; it had printed: ${shown}`));
    }, timeout);
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.on('error', () => undefined); // a client that does not read its input
    child.on('error', error => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(out).toString('utf8');
      const stderr = Buffer.concat(err).toString('utf8');
      resolve({ code: signal === null ? (code ?? 0) : 128, stdout, stderr, output: stdout + stderr });
    });
    child.stdin.end(input);
  });
}

/** Runs a client that must succeed; otherwise the error shows what it printed. */
export async function runOk(command: string, args: readonly string[], options: RunOptions): Promise<Ran> {
  const ran = await run(command, args, options);
  if (ran.code !== 0) throw new Error(`${command} ${args.join(' ')} exited ${ran.code}: ${ran.output}`);
  return ran;
}
