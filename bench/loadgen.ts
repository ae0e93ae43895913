import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { DOMAIN, type Origin } from './origin.ts';
import type { Running } from './peers/peer.ts';
import { pinned } from './processes.ts';

const SOURCE = fileURLToPath(new URL('loadgen.c', import.meta.url));
export const OUT = fileURLToPath(new URL('out', import.meta.url));
const BINARY = join(OUT, 'loadgen');

/** Durations in µs. */
export interface Percentiles {
  readonly n: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** What loadgen.c prints. `proxy_cpu` and `loadgen_cpu` in s, over the same window as everything else. */
export interface Result {
  readonly ok: number;
  readonly bad: number;
  readonly errors: number;
  readonly dropped: number;
  /** Tunnels that carried one more request after they had been idle. */
  readonly again: number;
  readonly seconds: number;
  readonly rps: number;
  readonly mb_per_s: number;
  readonly tunnels: number;
  readonly tunnels_per_s: number;
  /** TLS handshakes that continued a session. */
  readonly resumed: number;
  readonly loadgen_cpu: number;
  readonly proxy_cpu: number;
  readonly cipher: string;
  readonly last_status: number;
  readonly last_error: string;
  readonly latency_us?: Percentiles;
  readonly first_us?: Percentiles;
}

const modified = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Compiles the load generator if there is none yet, or its source is newer. */
export function build(): void {
  if (modified(BINARY) > modified(SOURCE)) return;
  mkdirSync(dirname(BINARY), { recursive: true });
  const args = ['-O2', '-Wall', '-Wextra', '-o', BINARY, SOURCE, '-lssl', '-lcrypto'];
  const { error, status, stderr } = spawnSync('gcc', args, { encoding: 'utf8' });
  if (error || status !== 0) {
    throw new Error(
      `cannot build the load generator (Debian: apt-get install gcc libssl-dev)\n${stderr ?? error}`,
    );
  }
}

/** Options of loadgen.c by their letter; empty text for one without a value. */
export type Options = Readonly<Record<string, string | number>>;

/** The options that make loadgen talk to a proxy; without `running`, straight to the origin. */
export function route(origin: Origin, running: Running | undefined, host = `api.${DOMAIN}`): Options {
  const t = `${host}:${origin.port}`;
  if (!running) return { A: `127.0.0.1:${origin.port}`, t, H: `Authorization: ${origin.authorization}` };
  return {
    [running.connect ? 'x' : 'A']: `127.0.0.1:${running.port}`,
    t,
    H: `Authorization: ${running.authorization}`,
    ...(running.connectHeader !== undefined && { C: running.connectHeader }),
    P: running.group.pgid,
  };
}

function start(core: number, options: Options): ChildProcessByStdio<Writable, Readable, null> {
  const args = Object.entries(options).flatMap(([letter, value]) =>
    value === '' ? [`-${letter}`] : [`-${letter}`, String(value)],
  );
  const [command, all] = pinned(core, BINARY, args);
  return spawn(command, all, { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** `signal`: ends the load before its time; what was measured until then counts. */
export function load(core: number, options: Options, signal?: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = start(core, options);
    signal?.addEventListener('abort', () => child.kill('SIGINT'));
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    child.on('error', reject);
    child.on('close', code => {
      if (code === 0) resolve(JSON.parse(text) as Result);
      else reject(new Error(`the load generator ended with ${code}`));
    });
  });
}

/** The sample itself. Throws what is wrong with it. */
export function good(result: Result): Result {
  const wrong = fault(result);
  if (wrong !== undefined) throw new Error(wrong);
  return result;
}

/** What is wrong with a sample, if anything is. */
export function fault(result: Result): string | undefined {
  if (result.bad > 0) return `${result.bad} bad answers, the last ${result.last_status}`;
  if (result.errors > 0) return `${result.errors} errors, the last: ${result.last_error}`;
  return result.ok > 0 ? undefined : 'no answers';
}

export interface Held {
  readonly held: number;
  readonly failed: number;
  readonly last_error: string;
}

/** Opens idle tunnels, calls `whileHeld` once they are open, and sends one more request in each. */
export async function hold<T>(
  core: number,
  options: Options,
  whileHeld: (held: Held) => Promise<T>,
): Promise<{ readonly whileHeld: T; readonly end: Result }> {
  const child = start(core, options);
  const closed = new Promise(resolve => child.on('close', resolve));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async <Line>(): Promise<Line> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the load generator ended early');
    return JSON.parse(value) as Line;
  };
  try {
    const result = await whileHeld(await next<Held>());
    child.stdin.end();
    return { whileHeld: result, end: await next<Result>() };
  } finally {
    child.kill();
    await closed;
  }
}

/** Keeps this process, too, off the core of the proxies. */
export function moveSelf(core: number): void {
  execFileSync('taskset', ['-cp', String(core), String(process.pid)], { stdio: 'ignore' });
}
