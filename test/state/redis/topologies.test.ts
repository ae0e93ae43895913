import { setTimeout as delay } from 'node:timers/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createCa, testCa } from '../../support/pki.ts';
import {
  freePort,
  hasRedis,
  startRedis,
  startSentinel,
  tap,
  type TestRedis,
  until,
} from '../../support/redis.ts';
import { tempFolder } from '../../support/temp.ts';
import type { RedisOptions } from '../../../src/state/redis/options.ts';
import { openOne, options, refused, wanted } from './states.ts';

const PASSWORD = 'pw-canary-7d1f';

function file(text: string, mode = 0o600): string {
  const path = join(tempFolder('redis-file'), 'file');
  writeFileSync(path, text, { mode });
  return path;
}

function closing(redis: TestRedis): TestRedis {
  onTestFinished(() => redis.stop());
  return redis;
}

describe.skipIf(!hasRedis)('ways to reach a Redis', () => {
  test('TLS, with a password and a client certificate; and not with a wrong one of the three', async () => {
    const ca = await testCa();
    const server = await ca.issue(['localhost'], { client: true });
    const port = await freePort();
    const files = { cert: file(server.cert), key: file(server.key), ca: ca.file };
    const tls = [
      '--port',
      '0',
      '--tls-port',
      `${port}`,
      '--tls-cert-file',
      files.cert,
      '--tls-key-file',
      files.key,
    ];
    const client = {
      password: PASSWORD,
      tls: { ca: ca.cert, cert: server.cert, key: server.key, servername: 'localhost' },
    };
    closing(
      await startRedis([...tls, '--tls-ca-cert-file', files.ca, '--requirepass', PASSWORD], client, port),
    );
    const right = options(port, {
      nodes: [{ host: 'localhost', port }],
      tls: files,
      password: { file: file(`${PASSWORD}\n`) },
    });
    const one = await openOne(right);
    const other = await openOne(right);
    const { session, token } = await one.sessions.create(wanted());
    expect((await other.sessions.lookUp(token))?.session).toBe(session.session);
    await one.sessions.revoke(session.session);
    await until('it has ended', () => other.ended.length === 1, 1500);
    const strangers = await createCa('another CA');
    const { cert, key } = await strangers.issue(['localhost'], { client: true });
    const wrong: readonly (readonly [RegExp, RedisOptions])[] = [
      [/not connected/, { ...right, tls: undefined }],
      [/CERT|VERIFY/, { ...right, tls: { ...files, ca: strangers.file } }],
      [/ALTNAME/, { ...right, nodes: [{ host: '127.0.0.1', port }] }],
      [/ALERT|not connected/, { ...right, tls: { ca: files.ca } }],
      [/ALERT|not connected/, { ...right, tls: { ca: files.ca, cert: file(cert), key: file(key) } }],
      [/NOAUTH/, options(port, { nodes: right.nodes, tls: files })],
      [/WRONGPASS/, { ...right, password: { file: file('another-password') } }],
    ];
    for (const [why, of] of wrong) {
      const state = await openOne(of);
      expect(await refused(state.sessions.create(wanted()))).toBe('state_unavailable');
      expect(state.sessions.suspended).toBe(true);
      expect(state.told.join()).toMatch(why);
      // More than one attempt: each may fail in the middle of what the other end says.
      await delay(150);
      expect(state.told.join()).not.toMatch(/pw-canary|another-password/);
      state.close();
    }
  });

  test('a user of an ACL that may do what docs/state.md says, and nothing else', async () => {
    const redis = closing(await startRedis());
    const doc = readFileSync('docs/state.md', 'utf8');
    const rules = /^ACL SETUSER gate on >\S+ (.+)$/m.exec(doc)?.[1]?.split(' ') ?? [];
    expect(rules.length).toBeGreaterThan(3);
    await redis.admin.call('ACL', 'SETUSER', 'gate', 'on', `>${PASSWORD}`, ...rules);
    const of = options(redis.port, { username: 'gate', password: { file: file(PASSWORD) } });
    const one = await openOne(of);
    const other = await openOne(of);
    const { session, token } = await one.sessions.create(wanted());
    expect((await other.sessions.lookUp(token))?.session).toBe(session.session);
    expect(await other.sessions.list()).toHaveLength(1);
    expect((await other.sessions.get(session.session))?.session).toBe(session.session);
    const lock = await one.store?.lock('x', 1000);
    expect(await one.store?.put('x', 'y', 1000, lock?.fence ?? 0)).toBe(true);
    expect(await other.store?.get('x')).toBe('y');
    await lock?.release();
    one.publish({ code: 'stub_misplaced', session: null, request_id: 'r', time: 't' });
    await until('the alarm is heard', () =>
      other.told.some(line => line.startsWith('alarm at another gate')),
    );
    const from = performance.now();
    await one.sessions.revoke(session.session);
    await until('it has ended', () => other.ended.length === 1);
    expect(performance.now() - from).toBeLessThan(400);
    const log = (await redis.admin.call('ACL', 'LOG')) as unknown[];
    expect(JSON.stringify(log)).toBe('[]');
  });

  test.each([
    ['a password file that is not there', { password: { file: '/nowhere/redis' } }, /password_file.*ENOENT/],
    ['a password variable that is not set', { password: { env: 'STUBGATE_NOT_SET' } }, /STUBGATE_NOT_SET/],
    ['a key that is too short', { key: { file: '' } }, /shorter than 32/],
    ['a CA file that is none', { tls: { ca: '/etc/hostname' } }, /state\.ca_file .* holds no PEM/],
  ])('%s is told before the gate serves', async (_, more, told) => {
    const fixed = 'key' in more ? { key: { file: file('short') } } : more;
    await expect(openOne(options(1, fixed))).rejects.toThrow(told);
  });

  test('sentinels: a failover is followed, without a restart', async () => {
    const master = closing(await startRedis());
    const replica = closing(
      await startRedis(['--replicaof', '127.0.0.1', `${master.port}`, '--repl-diskless-sync-delay', '0']),
    );
    await until('it is in step', async () =>
      (await replica.admin.info('replication')).includes('master_link_status:up'),
    );
    const sentinel = closing(await startSentinel(master.port));
    await until(
      'the sentinel knows both',
      async () => (await sentinel.admin.info('sentinel')).includes('slaves=1'),
      20_000,
    );
    const of = options(0, {
      mode: 'sentinel',
      nodes: [{ host: '127.0.0.1', port: sentinel.port }],
      name: 'main',
      graceMs: 30_000,
    });
    const one = await openOne(of);
    const other = await openOne(of);
    const { session, token } = await one.sessions.create(wanted());
    const revoked = await one.sessions.create(wanted());
    await one.sessions.revoke(revoked.session.session);
    await master.admin.wait(1, 1000);
    await master.kill();
    expect(await refused(other.sessions.lookUp(token))).toBe('state_unavailable');
    // On a machine that is too busy a sentinel waits half a minute (TILT) before it acts.
    const took = await until(
      'both go on',
      () => one.sessions.healthy && other.sessions.healthy && replicaIsMaster(replica),
      45_000,
    );
    console.info(`failover by a sentinel: checked again after ${Math.round(took)} ms`);
    expect((await other.sessions.lookUp(token))?.session).toBe(session.session);
    expect(one.ended.map(ended => ended.session)).toEqual([revoked.session.session]);
    expect((await other.sessions.lookUp(revoked.token))?.revokedAt).toBeTypeOf('number');
    await one.sessions.create(wanted());
    await one.sessions.revoke(session.session);
    await until('it has ended', () => other.ended.some(ended => ended.session === session.session), 1500);
  }, 100_000);

  test('a cluster of three: all keys on one node, and revocations through any', async () => {
    const nodes = await Promise.all([1, 2, 3].map(() => startClusterNode()));
    await joinCluster(nodes);
    const of = options(0, { mode: 'cluster', nodes: nodes.map(({ port }) => ({ host: '127.0.0.1', port })) });
    const one = await openOne(of);
    const other = await openOne(of);
    await until('both are up', () => one.sessions.healthy && other.sessions.healthy);
    const { session, token } = await one.sessions.create(wanted());
    expect((await other.sessions.lookUp(token))?.session).toBe(session.session);
    expect(await other.sessions.list()).toHaveLength(1);
    const lock = await one.store?.lock('x', 1000);
    expect(await one.store?.put('x', 'y', 1000, lock?.fence ?? 0)).toBe(true);
    const sizes = await Promise.all(nodes.map(({ admin }) => admin.dbsize()));
    expect(sizes.filter(size => size > 0)).toHaveLength(1);
    const holder = nodes[sizes.findIndex(size => size > 0)] as TestRedis;
    const tapped = await tap(holder);
    onTestFinished(() => tapped.close());
    await one.sessions.revoke(session.session);
    await until('it has ended', () => other.ended.length === 1, 1500);
    // The node that holds all stops for a while.
    const kept = await one.sessions.create(wanted());
    holder.signal('SIGSTOP');
    await until('it is told', () => !one.sessions.healthy && !other.sessions.healthy);
    expect(await refused(other.sessions.lookUp(kept.token))).toBe('state_unavailable');
    holder.signal('SIGCONT');
    await until('all goes on', () => one.sessions.healthy && other.sessions.healthy, 15_000);
    expect((await other.sessions.lookUp(kept.token))?.session).toBe(kept.session.session);
  }, 60_000);
});

async function replicaIsMaster({ admin }: TestRedis): Promise<boolean> {
  return (await admin.info('replication')).includes('role:master');
}

async function startClusterNode(): Promise<TestRedis> {
  const bus = await freePort();
  return closing(
    await startRedis([
      '--cluster-enabled',
      'yes',
      '--cluster-port',
      `${bus}`,
      '--cluster-node-timeout',
      '5000',
    ]),
  );
}

async function joinCluster(nodes: readonly TestRedis[]): Promise<void> {
  const bus = async (of: TestRedis): Promise<string> =>
    ((await of.admin.config('GET', 'cluster-port')) as [string, string])[1];
  const ranges = [
    [0, 5460],
    [5461, 10_922],
    [10_923, 16_383],
  ] as const;
  for (const [i, { admin }] of nodes.entries()) {
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', ...(ranges[i] ?? []).map(String));
    await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', `${i + 1}`);
  }
  const [first, ...others] = nodes as [TestRedis, ...TestRedis[]];
  for (const other of others)
    await first.admin.call('CLUSTER', 'MEET', '127.0.0.1', `${other.port}`, await bus(other));
  await until(
    'the cluster is up',
    async () => {
      const told = await Promise.all(nodes.map(({ admin }) => admin.call('CLUSTER', 'INFO')));
      return told.every(text => /cluster_state:ok[^]*cluster_known_nodes:3/.test(String(text)));
    },
    20_000,
  );
}
