import { hash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Redis } from 'ioredis';
import { parseShape } from '../src/inject/shape.ts';
import { deriveKey, StubKey } from '../src/inject/stub.ts';
import { MAX_SESSIONS, MemorySessions } from '../src/state/memory.ts';
import { openRedis } from '../src/state/redis/open.ts';
import { RedisSessions } from '../src/state/redis/sessions.ts';
import type { SessionOptions } from '../src/state/session.ts';
import type { Session } from '../src/types.ts';
import { machine } from './machine.ts';
import { cleanUpAtExit, freePort, removeAtExit, startGroup } from './processes.ts';
import { misused, optionsOf } from './usage.ts';

const HELP = `What many sessions cost: in the memory of one gate, and in a Redis that two gates share.

npx node bench/sessions.ts [--count N]   (${MAX_SESSIONS}, the most that are live at a time)`;

const STUBS = 3;
const REVOCATIONS = 500;
/** Sessions that are created, or asked for, at a time. */
const AT_ONCE = 64;
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const SERVER = '/usr/bin/redis-server';

const count = Number(optionsOf(HELP, { count: { type: 'string', default: `${MAX_SESSIONS}` } }).count);

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heap(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function say(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(74)} ${value.toFixed(value < 10 ? 2 : 0).padStart(9)} ${unit}`);
}

const stubKey = new StubKey(deriveKey(randomBytes(32)));
const shape = parseShape('github-pat');

function options(i: number): SessionOptions {
  const stubs = new Map(Array.from({ length: STUBS }, (_, n) => [`credential-${n}`, stubKey.mint(shape)]));
  return { profile: 'default', ttlMs: 3_600_000, sub: `user-${i % 1000}`, labels: { run: `${i}` }, stubs };
}

function inMemory(): void {
  console.log(`\none gate, state: memory; ${count} sessions with ${STUBS} stubs each`);
  const before = heap();
  const sessions = new MemorySessions();
  const made: string[] = [];
  let began = performance.now();
  for (let i = 0; i < count; i++) made.push(sessions.create(options(i)).session.session);
  say('creating one', ((performance.now() - began) / count) * 1000, 'µs');
  say('memory for each', (heap() - before) / count, 'bytes');
  began = performance.now();
  sessions.sweep(Date.now());
  say('the sweep of each second', performance.now() - began, 'ms');
  began = performance.now();
  for (const id of made) sessions.revoke(id);
  say('revoking one', ((performance.now() - began) / count) * 1000, 'µs');
  say('memory for each that has ended, for an hour', (heap() - before) / count, 'bytes');
  if (sessions.list().length !== count) throw new Error('sessions are missing');
}

/** Calls `one` for each of 0 … count-1, some at a time; ms in all. */
async function each(one: (i: number) => Promise<unknown>): Promise<number> {
  const began = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return performance.now() - began;
}

async function inRedis(port: number): Promise<void> {
  console.log(`\ntwo gates in this process, one Redis; ${count} sessions with ${STUBS} stubs each`);
  const client = new Redis({ host: '127.0.0.1', port, protocol: 2 });
  const used = async (): Promise<number> =>
    Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1]);
  const key = randomBytes(32);
  const open = () =>
    openRedis(
      {
        mode: 'server',
        nodes: [{ host: '127.0.0.1', port }],
        db: 0,
        tls: undefined,
        graceMs: 30_000,
        prefix: 'bench',
      },
      key,
      silent,
    );
  const one = await open();
  const before = await used();
  const tokens: string[] = [];
  const ids: string[] = [];
  const took = await each(async i => {
    const { session, token } = await one.sessions.create(options(i));
    tokens[i] = token;
    ids[i] = session.session;
  });
  say(`creating, ${AT_ONCE} at a time`, (count / took) * 1000, 'per s');
  say('memory of Redis for each', ((await used()) - before) / count, 'bytes');
  let began = performance.now();
  const two = await open();
  say('another gate starts: it loads no session, ready after', performance.now() - began, 'ms');
  const empty = heap();
  const found = await each(i => two.sessions.lookUp(tokens[i] as string) as Promise<Session>);
  say(`that gate meets each session once, ${AT_ONCE} at a time`, (count / found) * 1000, 'per s');
  say('its memory for each', (heap() - empty) / count, 'bytes');
  const known = two.sessions.byToken(hash('sha256', tokens[0] as string));
  if (known === undefined) throw new Error('the other gate does not know a session');
  await comparisons(two.sessions as RedisSessions);
  await revocations(one.sessions as RedisSessions, two.sessions as RedisSessions, ids);
  await measured('reading all of them, for GET /v1/sessions', () => one.sessions.list());
  one.close();
  two.close();
  client.disconnect();
}

/** What every gate does each 30 s: it compares all that it knows with Redis. */
function comparisons(sessions: RedisSessions): Promise<void> {
  sessions.reconnected();
  return measured('comparing all that a gate knows, each 30 s', () => sessions.beat());
}

async function measured(what: string, act: () => unknown): Promise<void> {
  const delays = monitorEventLoopDelay({ resolution: 5 });
  delays.enable();
  const cpu = process.cpuUsage();
  const began = performance.now();
  await act();
  const { user, system } = process.cpuUsage(cpu);
  say(what, performance.now() - began, 'ms');
  say('  of it CPU', (user + system) / 1000, 'ms');
  // It tells of a stall once it is over.
  await new Promise(resolve => setTimeout(resolve, 20));
  say('  longest stall of the event loop meanwhile', delays.max / 1e6, 'ms');
  delays.disable();
}

/** From the call at one gate to the end at the other. */
async function revocations(one: RedisSessions, two: RedisSessions, ids: readonly string[]): Promise<void> {
  const began = new Map<string, number>();
  const took: number[] = [];
  const stop = two.onEnd(({ session }) => took.push(performance.now() - (began.get(session) ?? 0)));
  for (const id of ids.slice(0, REVOCATIONS)) {
    began.set(id, performance.now());
    await one.revoke(id);
  }
  const until = performance.now() + 5000;
  while (took.length < Math.min(REVOCATIONS, count) && performance.now() < until)
    await new Promise(resolve => setTimeout(resolve, 10));
  stop();
  took.sort((a, b) => a - b);
  if (took.length < Math.min(REVOCATIONS, count)) throw new Error(`only ${took.length} revocations arrived`);
  say(
    'a revocation at one gate ends the session at the other, median',
    took[took.length >> 1] as number,
    'ms',
  );
  say('  99 of 100', took[Math.floor(took.length * 0.99)] as number, 'ms');
}

if (!(count >= 1 && count <= MAX_SESSIONS)) misused(HELP, `--count: 1 to ${MAX_SESSIONS}`);
cleanUpAtExit();
console.log(machine());
inMemory();
if (existsSync(SERVER)) {
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-bench-'));
  removeAtExit(dir);
  const port = await freePort();
  const conf = join(dir, 'redis.conf');
  writeFileSync(conf, `port ${port}\nbind 127.0.0.1\ndir ${dir}\nsave ""\nappendonly no\n`);
  const redis = await startGroup(SERVER, [conf], { name: 'redis', core: 1, log: join(dir, 'log'), port });
  try {
    await inRedis(port);
  } finally {
    await redis.stop();
  }
} else console.log(`\n${SERVER} is not installed: nothing is measured with it`);
process.exit();
