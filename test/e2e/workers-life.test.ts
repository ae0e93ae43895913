import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LARGE } from '../../src/config/aside.ts';
import type { TestSession } from '../support/gate.ts';
import { dial, openTls, readReply } from '../support/raw-client.ts';
import { until } from '../support/redis.ts';
import { startEcho } from '../support/upstream.ts';
import { type CrewGate, isAlive, spawnCrew } from '../support/workers.ts';
import { closing } from './scene.ts';

const HOST = 'api.corp.test';
const OTHER = 'other.corp.test';
const RULES = [{ name: 'api', hosts: [HOST] }];

async function crew(): Promise<CrewGate> {
  const upstream = closing(await startEcho({ hosts: [HOST, OTHER] }));
  return spawnCrew({ rules: RULES, upstreams: { [HOST]: upstream, [OTHER]: upstream } });
}

/** New tunnels with one request each, several at a time, until `stop`. */
class Load {
  readonly paths: string[] = [];
  readonly failed: string[] = [];
  readonly #done: Promise<unknown>;
  #isOver = false;

  constructor(gate: CrewGate, session: TestSession, lanes = 6) {
    const lane = async (): Promise<void> => {
      while (!this.#isOver) {
        const path = `/load/${this.paths.length}`;
        this.paths.push(path);
        const outcome = await gate.get(session, HOST, path).then(
          ({ status }) => `${status}`,
          (error: Error) => error.message,
        );
        if (outcome !== '200') this.failed.push(`${path}: ${outcome}`);
      }
    };
    this.#done = Promise.all(Array.from({ length: lanes }, lane));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }
}

/** A tunnel that has carried a request, and stays open. */
async function openWith(gate: CrewGate, session: TestSession, path: string) {
  const peer = await openTls(session.proxy, gate.ca, HOST);
  await peer.send(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const { status } = await readReply(peer);
  expect(status).toBe(200);
  return peer;
}

const said = (gate: CrewGate, text: string): number =>
  gate.logs.filter(({ message }) => message === text).length;

function change(gate: CrewGate, more: Readonly<Record<string, unknown>>): void {
  const config = JSON.parse(readFileSync(gate.configFile, 'utf8')) as object;
  writeFileSync(gate.configFile, JSON.stringify({ ...config, ...more }));
}

describe.runIf(process.platform === 'linux')('a gate of two workers', () => {
  test('loses the tunnels of a worker that is killed and no others, no line of what was answered, and replaces it', async () => {
    const gate = await crew();
    const session = await gate.session();
    const tunnels = await gate.atBoth(async path => {
      const peer = await openWith(gate, session, path);
      return { peer, file: await gate.servedBy(path) };
    });
    const [victim = 0, survivor = 0] = gate.workers();
    const load = new Load(gate, session);
    await until('the load runs', () => load.paths.length > 50);
    process.kill(victim, 'SIGKILL');
    await until(
      'another one is there',
      () => gate.workers().length === 2 && !gate.workers().includes(victim),
    );
    await until('it serves', () => said(gate, 'listening') === 3);
    const after = load.paths.length;
    await until('the load goes on', () => load.paths.length > after + 50);
    await load.stop();
    expect(gate.workers()).toContain(survivor);
    const died = new Set<string>();
    for (const { peer, file } of tunnels) if (peer.socket.destroyed) died.add(file);
    expect(died.size).toBe(1);
    for (const { peer, file } of tunnels) {
      if (died.has(file)) {
        await peer.ended;
        continue;
      }
      await peer.send(`GET /still HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
      expect(await peer.head()).toContain(' 200 ');
    }
    // Of those that were cut, nobody knows; each that was answered has its line.
    const failed = new Set(load.failed.map(text => text.split(':')[0]));
    const lines = new Set([...gate.lines().values()].flat().map(({ path }) => path));
    expect(load.paths.filter(path => !failed.has(path) && !lines.has(path))).toEqual([]);
    expect(failed.size).toBeLessThanOrEqual(6);
    expect(await gate.findings()).toEqual([]);
    expect([...gate.lines().keys()]).toEqual(['audit.jsonl', 'audit.w2.jsonl']);
    expect(gate.logs.find(({ message }) => message.startsWith('a worker ended'))?.fields).toMatchObject({
      how: 'SIGKILL',
    });
  });

  test('replaces its workers at SIGHUP for what they read at their start, and refuses nobody meanwhile', async () => {
    const gate = await crew();
    const session = await gate.session();
    const before = gate.workers();
    const load = new Load(gate, session);
    await until('the load runs', () => load.paths.length > 50);
    change(gate, { limits: { drain: '1s', headers: 3 } });
    process.kill(gate.pid, 'SIGHUP');
    await until('they are replaced', () => said(gate, 'workers are replaced') === 1, 45_000);
    await load.stop();
    expect(load.failed).toEqual([]);
    expect(gate.workers().filter(pid => before.includes(pid))).toEqual([]);
    // Those that are to leave keep theirs, and do not tell the operator otherwise.
    expect(gate.logs.filter(({ message }) => message.includes('after a restart'))).toEqual([]);
    expect(gate.workers()).toHaveLength(2);
    const lines = new Set([...gate.lines().values()].flat().map(({ path }) => path));
    expect(load.paths.filter(path => !lines.has(path))).toEqual([]);
    // The new limit counts at both: nobody listens any more who does not know it.
    const peer = await dial(gate.proxyPort);
    await peer.send('GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n');
    expect(await peer.head()).toContain(' 431 ');
    expect(await gate.findings()).toEqual([]);
  }, 60_000);

  test('takes in a large file at both workers, and replaces them at SIGHUP for what it says of their start', async () => {
    const gate = await crew();
    const session = await gate.session();
    const many = Array.from({ length: 1500 }, (_, i) => ({
      name: `r${i}`,
      hosts: [`h${i}.corp.test`],
      paths: ['/a/very/long/path/**'],
    }));
    change(gate, { rules: [...RULES, ...many, { name: 'other', hosts: [OTHER] }] });
    expect(readFileSync(gate.configFile).length).toBeGreaterThan(LARGE);
    await until('it is taken', () => countOf(gate) === 1);
    const replies = await gate.atBoth(path => gate.get(session, OTHER, path));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    const before = gate.workers();
    change(gate, { limits: { drain: '1s', headers: 3 } });
    process.kill(gate.pid, 'SIGHUP');
    await until('they are replaced', () => said(gate, 'workers are replaced') === 1, 45_000);
    expect(gate.workers().filter(pid => before.includes(pid))).toEqual([]);
  }, 60_000);

  test('takes in a changed file at both workers before it says so, and refuses nobody meanwhile', async () => {
    const gate = await crew();
    const session = await gate.session();
    const load = new Load(gate, session);
    for (let i = 1; i <= 3; i++) {
      const rules = i % 2 === 1 ? [...RULES, { name: 'other', hosts: [OTHER] }] : RULES;
      change(gate, { rules });
      process.kill(gate.pid, 'SIGHUP');
      await until('it is taken', () => countOf(gate) === i);
      const replies = await Promise.all(
        Array.from({ length: 12 }, () => gate.get(session, OTHER, '/').then(({ status }) => status)),
      );
      expect(new Set(replies)).toEqual(new Set([i % 2 === 1 ? 200 : 403]));
    }
    change(gate, { rules: 'none' });
    process.kill(gate.pid, 'SIGHUP');
    await until('the bad one is told', () =>
      gate.logs.some(({ message }) => message.startsWith('configuration not reloaded')),
    );
    await load.stop();
    expect(load.failed).toEqual([]);
  });

  test('replaces a worker by the last good configuration, whatever the file holds by then', async () => {
    const gate = await crew();
    const session = await gate.session();
    writeFileSync(gate.configFile, 'version: 7');
    await until('the bad one is told', () =>
      gate.logs.some(({ message }) => message.startsWith('configuration not reloaded')),
    );
    const before = gate.workers();
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await until('others serve', () => said(gate, 'listening') === 4);
    const replies = await gate.atBoth(path => gate.get(session, HOST, path));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
  });

  test('keeps the last good configuration at both if a file that it names is missing', async () => {
    const gate = await crew();
    const session = await gate.session();
    change(gate, {
      rules: [],
      identity: [
        {
          type: 'jwt',
          issuer: 'https://id.test',
          audience: 'a',
          jwks_file: './none.json',
          match: 'any',
          profile: 'default',
        },
      ],
    });
    process.kill(gate.pid, 'SIGHUP');
    await until('that is told', () =>
      gate.logs.some(({ fields }) => String(fields['cause']).includes('a worker cannot use it')),
    );
    const replies = await gate.atBoth(path => gate.get(session, HOST, path));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
  });

  test('ends a worker that does not take in a revocation, and the others have it within a second', async () => {
    const gate = await crew();
    const session = await gate.session();
    const tunnels = await gate.atBoth(path => openWith(gate, session, path));
    const [stopped = 0] = gate.workers();
    process.kill(stopped, 'SIGSTOP');
    const from = performance.now();
    const revoked = gate.revoke(session.id);
    await Promise.race(tunnels.map(tunnel => tunnel.ended));
    expect(performance.now() - from).toBeLessThan(1000);
    await revoked;
    await Promise.all(tunnels.map(tunnel => tunnel.ended));
    await until('it is replaced', () => gate.workers().length === 2 && !gate.workers().includes(stopped));
  });

  test('starts none with another CA than it has itself', async () => {
    const gate = await crew();
    rmSync(join(dirname(gate.configFile), 'certs'), { recursive: true });
    process.kill(gate.workers()[0] ?? 0, 'SIGKILL');
    await until('it is not ready', async () => (await gate.admin('/readyz')).status === 503);
    await until(
      'it is said, and the gate ends',
      () =>
        gate.logs.some(({ fields }) => String(fields['cause']).includes('restart the gate')) &&
        !isAlive(gate.pid),
      45_000,
    );
    expect(said(gate, 'no worker can be started: the gate ends')).toBe(1);
  }, 60_000);

  test('is not ready while one of its workers cannot write its audit', async () => {
    const gate = await crew();
    const readiness = async (): Promise<number> => (await gate.admin('/readyz')).status;
    expect(await readiness()).toBe(200);
    const file = join(dirname(gate.configFile), 'audit.w2.jsonl');
    rmSync(file);
    mkdirSync(file);
    process.kill(gate.pid, 'SIGHUP');
    await until('it says so', async () => (await readiness()) === 503);
    rmSync(file, { recursive: true });
    process.kill(gate.pid, 'SIGHUP');
    await until('it can', async () => (await readiness()) === 200);
  });

  test('takes its workers with it, however it ends', async () => {
    const gate = await crew();
    const session = await gate.session();
    const tunnel = await openTls(session.proxy, gate.ca, HOST);
    const workers = gate.workers();
    process.kill(gate.pid, 'SIGKILL');
    await tunnel.ended;
    await until('they are gone', () => !workers.some(isAlive), 5000);
    const isRefused = (): Promise<boolean> =>
      dial(gate.proxyPort).then(
        peer => (peer.cut(), false),
        () => true,
      );
    await until('nobody listens', isRefused);
  });

  test('drains all workers at SIGTERM', async () => {
    const gate = await crew();
    const session = await gate.session();
    const tunnels = await gate.atBoth(path => openWith(gate, session, path));
    const workers = gate.workers();
    await gate.stop();
    for (const tunnel of tunnels) expect((await tunnel.ended).how).toBe('end');
    expect(workers.some(isAlive)).toBe(false);
    expect(await gate.findings()).toEqual([]);
  });
});

const isOwn = ({
  message,
  fields,
}: {
  message: string;
  fields: Readonly<Record<string, unknown>>;
}): boolean => message === 'configuration reloaded' && fields['worker'] === undefined;
const countOf = (gate: CrewGate): number => gate.logs.filter(isOwn).length;
