import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { tempFolder } from './temp.ts';

/** How a test connects itself. */
export interface ClientChoice {
  readonly tls?: ConnectionOptions;
  readonly username?: string;
  readonly password?: string;
}

const SERVER = '/usr/bin/redis-server';
const SENTINEL = '/usr/bin/redis-sentinel';

/** Tests that need Redis: skipped and said so without it, failed under STUBGATE_TEST_REQUIRE=1. */
export const hasRedis = [SERVER, SENTINEL].every(existsSync);
// Vitest cannot be imported outside of a test, such as by the soak.
if (!hasRedis && process.env['VITEST'] && process.env['STUBGATE_TEST_REQUIRE'] === '1')
  (await import('vitest')).test('redis-server and redis-sentinel are installed', () => {
    throw new Error('not installed: redis-server, redis-sentinel');
  });

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A redis-server of the test's own, on loopback, that keeps nothing on disk unless it is told to. */
export class TestRedis {
  readonly port: number;
  readonly #args: readonly string[];
  readonly #client: ClientChoice;
  #child: ChildProcess | undefined;
  #admin: Redis | undefined;

  constructor(port: number, args: readonly string[], client: ClientChoice) {
    this.port = port;
    this.#args = args;
    this.#client = client;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const [program, ...args] = this.#args as [string, ...string[]];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    const started = Date.now();
    while (!(await this.#answers())) {
      if (child.exitCode !== null || Date.now() - started > 10_000) throw new Error(`redis-server: ${said}`);
      await delay(20);
    }
  }

  /** A client for the test itself, which may wait. */
  get admin(): Redis {
    this.#admin ??= this.connect();
    return this.#admin;
  }

  connect(): Redis {
    const client = new Redis({ host: '127.0.0.1', port: this.port, protocol: 2, ...this.#client });
    client.on('error', () => {});
    return client;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
    this.#child?.kill(signal);
  }

  /** Ends the server; what it held is lost, but for an append-only file. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  async stop(): Promise<void> {
    this.#admin?.disconnect();
    await this.kill();
  }

  async #answers(): Promise<boolean> {
    const socket = connect(this.port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }
}

/** `args`: more of the command line. `client`: how the test itself connects. */
export async function startRedis(
  args: readonly string[] = [],
  client: ClientChoice = {},
  port?: number,
): Promise<TestRedis> {
  const at = port ?? (await freePort());
  const own = [
    '--port',
    `${at}`,
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--dir',
    tempFolder('redis'),
  ];
  const redis = new TestRedis(at, [SERVER, ...own, ...args], client);
  await redis.start();
  return redis;
}

/** A sentinel that watches a server, and takes over in a moment. */
export async function startSentinel(master: number): Promise<TestRedis> {
  const port = await freePort();
  const dir = tempFolder('sentinel');
  const file = join(dir, 'sentinel.conf');
  writeFileSync(
    file,
    `port ${port}
bind 127.0.0.1
dir ${dir}
sentinel monitor main 127.0.0.1 ${master} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 2000
`,
  );
  const sentinel = new TestRedis(port, [SENTINEL, file], {});
  await sentinel.start();
  return sentinel;
}

/** All that anybody says to a server, as MONITOR shows it. */
export class Tap {
  text = '';
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1').on('data', (text: string) => (this.text += text));
  }

  /** Commands so far whose name or text matches. */
  count(pattern: RegExp): number {
    return this.text.split('\n').filter(line => pattern.test(line)).length;
  }

  close(): void {
    this.#socket.destroy();
  }
}

export async function tap({ port }: TestRedis): Promise<Tap> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const listening = new Tap(socket);
  socket.write('MONITOR\r\n');
  while (!listening.text.includes('+OK')) await once(socket, 'data');
  return listening;
}

/** All that a server holds: names, values, in every type. */
export async function dump({ admin }: TestRedis): Promise<string> {
  const read: Record<string, (key: string) => Promise<unknown>> = {
    string: key => admin.get(key),
    hash: key => admin.hgetall(key),
    zset: key => admin.zrange(key, '0', '-1', 'WITHSCORES'),
    list: key => admin.lrange(key, 0, -1),
    set: key => admin.smembers(key),
  };
  const keys = await admin.keys('*');
  const all = await Promise.all(
    keys.map(async key => [key, await read[await admin.type(key)]?.(key), await admin.pttl(key)]),
  );
  return JSON.stringify(all, undefined, 1);
}

/** Waits until something is so; the test's time limit is the only other end. */
export async function until(
  what: string,
  so: () => boolean | Promise<boolean>,
  ms = 10_000,
): Promise<number> {
  const from = performance.now();
  while (!(await so())) {
    if (performance.now() - from > ms) throw new Error(`it never was so: ${what}`);
    await delay(5);
  }
  return performance.now() - from;
}
