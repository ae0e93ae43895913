import { type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const START_MS = 15_000;
const STOP_MS = 3_000;

/** A process and its children, in a process group of their own. */
export interface Group {
  readonly pgid: number;
  /** Resident memory of all of them, bytes. */
  rss(): number;
  /** CPU time of all of them, s. */
  cpu(): number;
  stop(): Promise<void>;
}

export interface GroupOptions {
  /** Shown in errors. */
  name: string;
  /** The one core that all of them run on. */
  core: number;
  /** File that takes stdout and stderr. */
  log: string;
  /** Loopback port that answers when the process is ready. */
  port: number;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
}

const living = new Set<number>();
const folders = new Set<string>();

function signal(pgid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pgid, name);
  } catch {
    // gone already
  }
}

/** Ends everything that was started, and removes the temporary folders, however this process ends. */
export function cleanUpAtExit(): void {
  process.on('exit', () => {
    for (const pgid of living) signal(pgid, 'SIGKILL');
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => process.exit(130));
}

export function removeAtExit(folder: string): void {
  folders.add(folder);
}

/** `setpriv` ends the process with us even if we are killed; `taskset` gives it and its children one core. */
export function pinned(core: number, command: string, args: readonly string[]): [string, string[]] {
  return ['setpriv', ['--pdeathsig', 'TERM', 'taskset', '-c', String(core), command, ...args]];
}

/** Starts a server and waits until its port answers. */
export async function startGroup(
  command: string,
  args: readonly string[],
  options: GroupOptions,
): Promise<Group> {
  const log = openSync(options.log, 'a');
  const spawning: SpawnOptions = { detached: true, stdio: ['ignore', log, log] };
  for (const key of ['cwd', 'env', 'uid', 'gid'] as const) {
    if (options[key] !== undefined) Object.assign(spawning, { [key]: options[key] });
  }
  const child = spawn(...pinned(options.core, command, args), spawning);
  closeSync(log);
  const exited = new Promise<void>(resolve => {
    child.on('exit', () => resolve());
    child.on('error', () => resolve());
  });
  const pgid = child.pid;
  if (pgid === undefined) throw new Error(`${options.name}: cannot start ${command}`);
  living.add(pgid);
  child.unref(); // what fails here must not wait for it
  const group: Group = {
    pgid,
    rss: () => sumOfGroup(pgid, fields => Number(fields[21])) * 4096,
    cpu: () => sumOfGroup(pgid, fields => sum(fields.slice(11, 15))) / TICKS_PER_SECOND,
    async stop() {
      child.ref();
      signal(pgid, 'SIGTERM');
      await Promise.race([exited, delay(STOP_MS, undefined, { ref: false })]);
      signal(pgid, 'SIGKILL');
      await exited;
      living.delete(pgid);
    },
  };
  const until = Date.now() + START_MS;
  while (!(await answers(options.port))) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > until) {
      await group.stop();
      const tail = readFileSync(options.log, 'utf8').split('\n').slice(-15).join('\n');
      throw new Error(
        `${options.name} does not answer on port ${options.port}; the end of its log:\n${tail}`,
      );
    }
    await delay(50);
  }
  return group;
}

/** Fields of /proc/PID/stat from the third on (proc(5)); the second, the name, may hold anything. */
function statFields(pid: string): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** USER_HZ, as every Linux on x64 and arm64 has it (time(7)). */
const TICKS_PER_SECOND = 100;

const sum = (fields: readonly string[]): number => fields.reduce((all, field) => all + Number(field), 0);

/** What `value` says of the stat fields of each process of the group, added up. */
function sumOfGroup(pgid: number, value: (fields: string[]) => number): number {
  let total = 0;
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const fields = statFields(pid);
      if (Number(fields[2]) === pgid) total += value(fields);
    } catch {
      // ended while we looked
    }
  }
  return total;
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}

/** A port of 127.0.0.1 that was free a moment ago, for servers that cannot be asked which one they took. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
