import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Inside, insideFile } from './inside.ts';

const MAIN = join(import.meta.dirname, '../../dist/main.js');
const START_MS = 20_000;
const ANSWER_MS = 15_000;

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [name: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly json: Readonly<Record<string, unknown>>;
}

/** Open file descriptors of a process. */
export interface Descriptors {
  readonly all: number;
  readonly sockets: number;
  /** Addresses that TCP connections go between, as /proc/net/tcp has them. */
  readonly to: string;
}

/** Node's flags, as the first line of a program says. */
function flagsOf(file: string): string[] {
  const flags = readFileSync(file, 'utf8').split('\n', 1)[0]?.match(/--\S+/g);
  if (!flags) throw new Error(`${file} names no flags of Node in its first line`);
  return flags;
}

/** `stubgate start` of dist/, in a process of its own. */
export class GateProcess {
  readonly #child: ChildProcess;
  readonly #dir: string;
  readonly #token: () => string;
  #admin = '';

  private constructor(child: ChildProcess, dir: string) {
    this.#child = child;
    this.#dir = dir;
    this.#token = () => readFileSync(join(dir, 'certs', 'admin-token'), 'utf8').trim();
  }

  /** `onLine`: each line of its log; a string is one that is no log line. */
  static async start(dir: string, onLine: (line: LogLine | string) => void): Promise<GateProcess> {
    const node = [...flagsOf(MAIN), '--expose-gc', '--import', join(import.meta.dirname, 'inside.ts')];
    const main = [MAIN, 'start', '--config', join(dir, 'stubgate.yaml')];
    const child = spawn(process.execPath, [...node, ...main], {
      cwd: dir,
      env: { PATH: process.env['PATH'], HOME: dir, SOAK_INSIDE: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const gate = new GateProcess(child, dir);
    let rest = '';
    const ready = new Promise<string>((resolve, reject) => {
      setTimeout(() => reject(new Error('the gate was not ready in time')), START_MS).unref();
      child.once('exit', code => reject(new Error(`the gate ended with ${code}`)));
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const told = parse(line);
          onLine(told);
          if (typeof told !== 'string' && told.message === 'ready') resolve(String(told['admin']));
        }
      });
    });
    child.stdout?.setEncoding('utf8').on('data', (text: string) => onLine(`on stdout: ${text}`));
    gate.#admin = await ready;
    return gate;
  }

  /** Its worker processes, if it has any. */
  get workers(): number[] {
    const children = ifThere(`/proc/${this.#pid}/task/${this.#pid}/children`) ?? '';
    return children.split(' ').filter(Boolean).map(Number).filter(isAlive);
  }

  get #pid(): number {
    return this.#child.pid ?? 0;
  }

  get #pids(): number[] {
    return [this.#pid, ...this.workers];
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** A request to the control plane; status 0 if there was no answer. */
  call(method: string, path: string, body?: unknown): Promise<Answer> {
    const text = body === undefined ? '' : JSON.stringify(body);
    return new Promise(resolve => {
      const outgoing = request(
        `http://${this.#admin}${path}`,
        {
          method,
          headers: {
            authorization: `Bearer ${this.#token()}`,
            ...(body !== undefined && { 'content-type': 'application/json' }),
            'content-length': Buffer.byteLength(text),
          },
          timeout: ANSWER_MS,
        },
        incoming => {
          let all = '';
          incoming.setEncoding('utf8').on('data', (chunk: string) => (all += chunk));
          incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, json: object(all) }));
          incoming.on('error', () => resolve({ status: 0, json: {} }));
        },
      );
      outgoing.on('timeout', () => outgoing.destroy());
      outgoing.on('error', error => resolve({ status: 0, json: { error: error.message } }));
      outgoing.end(text);
    });
  }

  reload(): void {
    this.#child.kill('SIGHUP');
  }

  /** Asks its processes themselves: the sum of their heaps, and the longest stall. */
  async inside(): Promise<Inside> {
    const all = await Promise.all(this.#pids.map(pid => this.#ask(pid)));
    return {
      heap: all.reduce((sum, one) => sum + (one?.heap ?? 0), 0),
      stall: Math.max(...all.map(one => one?.stall ?? 0)),
    };
  }

  /** Undefined if the process cannot be asked yet, or ended. */
  async #ask(pid: number): Promise<Inside | undefined> {
    const file = join(this.#dir, insideFile(pid));
    if (!existsSync(file)) return undefined;
    writeFileSync(file, '');
    for (let tries = 0; tries * 50 < ANSWER_MS; tries++) {
      if (!isAlive(pid)) return undefined;
      if (tries === 0) process.kill(pid, 'SIGUSR2');
      await delay(50); // oxlint-disable-line no-await-in-loop -- it is asked once
      if (statSync(file).size > 0) return JSON.parse(readFileSync(file, 'utf8')) as Inside;
    }
    throw new Error(`process ${pid} of the gate does not answer`);
  }

  /** Bytes of resident memory. */
  rss(): number {
    const statuses = this.#pids.map(pid => ifThere(`/proc/${pid}/status`) ?? '');
    return statuses.reduce(
      (sum, text) => sum + Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024,
      0,
    );
  }

  descriptors(): Descriptors {
    const targets = this.#pids.flatMap(targetsOf);
    const inodes = targets.map(target => /^socket:\[(\d+)\]$/.exec(target)?.[1]).filter(Boolean);
    const table = (ifThere(`/proc/${this.#pid}/net/tcp`) ?? '').split('\n');
    const to = table
      .map(line => line.trim().split(/\s+/))
      .filter(fields => inodes.includes(fields[9]))
      .map(([, local, remote, state]) => `${local}→${remote}/${state}`);
    return { all: targets.length, sockets: inodes.length, to: to.join(' ') };
  }

  /** Exit code after SIGTERM, and how long it took, ms; undefined if it had to be killed. */
  async stop(ms: number): Promise<{ code: number | null; took: number } | undefined> {
    const began = performance.now();
    if (!this.isRunning) return { code: this.#child.exitCode, took: 0 };
    const exited = once(this.#child, 'exit', { signal: AbortSignal.timeout(ms) });
    this.#child.kill('SIGTERM');
    try {
      const [code] = (await exited) as [number | null];
      return { code, took: performance.now() - began };
    } catch {
      this.#child.kill('SIGKILL');
      return undefined;
    }
  }

  kill(): void {
    if (this.isRunning) this.#child.kill('SIGKILL');
  }
}

/** What the descriptors of a process are open to. */
function targetsOf(pid: number): string[] {
  const dir = `/proc/${pid}/fd`;
  const linkOf = (name: string): string => {
    try {
      return readlinkSync(join(dir, name));
    } catch {
      return ''; // Closed while we looked.
    }
  };
  try {
    return readdirSync(dir).map(linkOf);
  } catch {
    return []; // Ended while we looked.
  }
}

/** There, and no zombie, which a killed worker is until it was waited for. */
const isAlive = (pid: number): boolean => /^State:\s+[^ZX]/m.test(ifThere(`/proc/${pid}/status`) ?? '');

function ifThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return undefined;
  }
}

function parse(line: string): LogLine | string {
  const found = object(line);
  return typeof found['level'] === 'string' ? (found as LogLine) : line;
}

function object(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
