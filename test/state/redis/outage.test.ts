import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { dump, hasRedis, startRedis, type TestRedis, until } from '../../support/redis.ts';
import { openOne, options, type OneState, refused, wanted } from './states.ts';

const GRACE_MS = 2000;

describe.skipIf(!hasRedis)('a Redis that fails', () => {
  let redis: TestRedis;
  let one: OneState;
  let other: OneState;

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());
  beforeEach(async () => {
    redis.signal('SIGCONT');
    await redis.admin.flushall();
    one = await openOne(options(redis.port, { graceMs: GRACE_MS }));
    other = await openOne(options(redis.port, { graceMs: GRACE_MS }));
  });

  const creation = async (of: OneState): Promise<{ token: string } | undefined> => {
    try {
      return await of.sessions.create(wanted());
    } catch {
      return undefined;
    }
  };

  /** Everything that cannot be checked is refused, soon; what is known goes on for the grace, and then not. */
  async function withstands(fail: () => unknown, mend: () => unknown): Promise<void> {
    const { session, token } = await one.sessions.create(wanted());
    const elsewhere = await other.sessions.create(wanted());
    const failedAt = performance.now();
    await fail();
    expect(await refused(one.sessions.lookUp(elsewhere.token))).toBe('state_unavailable');
    expect(await refused(one.sessions.create(wanted()))).toBe('state_unavailable');
    expect(await refused(one.sessions.list())).toBe('state_unavailable');
    expect(performance.now() - failedAt).toBeLessThan(4500);
    await until('it is told', () => !one.sessions.healthy);
    const from = performance.now();
    for (let i = 0; i < 100; i++)
      expect(await refused(one.sessions.lookUp(elsewhere.token))).toBe('state_unavailable');
    expect(performance.now() - from).toBeLessThan(200);
    expect(one.sessions.byToken(session.tokenHash)).toBe(session);
    await until('the grace is over', () => one.sessions.suspended && other.sessions.suspended);
    expect(performance.now() - failedAt).toBeGreaterThan(GRACE_MS - 600);
    expect(performance.now() - failedAt).toBeLessThan(GRACE_MS + 3000);
    await mend();
    const mended = await until('all goes on', () => !one.sessions.suspended && one.sessions.healthy);
    expect(mended).toBeLessThan(5000);
    await until('at the other, too', () => !other.sessions.suspended && other.sessions.healthy);
    expect((await one.sessions.create(wanted())).session.profile).toBe('default');
    // A dump of what was lost is not there any more.
    if ((await redis.admin.exists(`{stubgate}:session:${session.tokenHash}`)) === 0) return;
    expect(one.ended).toEqual([]);
    expect((await other.sessions.lookUp(token))?.session).toBe(session.session);
    expect((await one.sessions.lookUp(elsewhere.token))?.session).toBe(elsewhere.session.session);
  }

  test('stopped, and woken', () =>
    withstands(
      () => redis.signal('SIGSTOP'),
      () => redis.signal('SIGCONT'),
    ));

  test('paused by an administrator', () =>
    withstands(
      () => redis.admin.client('PAUSE', 7000, 'ALL'),
      // The pause ends by itself: an order to end it would wait, too.
      () => redis.admin.ping(),
    ));

  test('killed, and started anew without its data', () =>
    withstands(
      () => redis.kill(),
      () => redis.start(),
    ));

  test('a replica of nobody: it may be read, but not written', () =>
    withstands(
      async () => {
        await redis.admin.replicaof('127.0.0.1', 1);
        // Until the next beat it passes for what it was a moment ago.
        await until('it is told', () => !one.sessions.healthy && !other.sessions.healthy, 1000);
      },
      () => redis.admin.replicaof('NO', 'ONE'),
    ));

  test('full: what is there is checked and revoked, and nothing new is admitted', async () => {
    const { session, token } = await one.sessions.create(wanted());
    await redis.admin.config('SET', 'maxmemory', '1mb');
    onTestFinished(async () => void (await redis.admin.config('SET', 'maxmemory', '0')));
    expect(await refused(one.sessions.create(wanted()))).toBe('state_unavailable');
    expect(one.told.join()).not.toContain(session.tokenHash);
    await delay(GRACE_MS + 600);
    expect(one.sessions.suspended).toBe(false);
    expect(one.sessions.healthy).toBe(true);
    expect((await other.sessions.lookUp(token))?.session).toBe(session.session);
    await one.sessions.revoke(session.session);
    await until('it has ended', () => other.ended.length === 1, 1500);
    const third = await openOne(options(redis.port));
    expect((await third.sessions.lookUp(token))?.revokedAt).toBeTypeOf('number');
    await redis.admin.config('SET', 'maxmemory', '0');
    await one.sessions.create(wanted());
  });

  test('wiped: what was known goes on for the grace, and ends then', async () => {
    const { session, token } = await one.sessions.create(wanted());
    await other.sessions.lookUp(token);
    const kept = await other.sessions.create(wanted());
    const row = await redis.admin.dump(`{stubgate}:session:${kept.session.tokenHash}`);
    const wipedAt = performance.now();
    await redis.admin.flushall();
    // One of the two is put back meanwhile.
    await until('it is noticed', () => other.told.some(line => line.includes('other data than before')));
    expect(one.sessions.byToken(session.tokenHash)?.revokedAt).toBeUndefined();
    const admin = redis.connect();
    await admin
      .call('RESTORE', `{stubgate}:session:${kept.session.tokenHash}`, '0', row ?? '')
      .catch(() => {});
    await admin.hset(`{stubgate}:session:${kept.session.tokenHash}`, 'id', kept.session.session);
    admin.disconnect();
    await until('it has ended at both', () => one.ended.length === 1 && other.ended.length === 1);
    expect(performance.now() - wipedAt).toBeGreaterThan(GRACE_MS);
    expect(performance.now() - wipedAt).toBeLessThan(GRACE_MS + 2000);
    expect(one.ended).toEqual([session]);
    expect(other.sessions.byToken(kept.session.tokenHash)?.revokedAt).toBeUndefined();
    // Nobody brings it back.
    expect(await dump(redis)).not.toContain(session.tokenHash);
    const third = await openOne(options(redis.port));
    expect(await third.sessions.lookUp(token)).toBeUndefined();
  });

  test('a revocation while Redis is away ends the session here at once, and everywhere later', async () => {
    const { session, token } = await one.sessions.create(wanted());
    await other.sessions.lookUp(token);
    redis.signal('SIGSTOP');
    expect(await refused(one.sessions.revoke(session.session))).toBe('state_unavailable');
    expect(one.ended).toEqual([session]);
    expect(other.ended).toEqual([]);
    redis.signal('SIGCONT');
    await until('it has ended there', () => other.ended.length === 1);
  });

  test('a revocation that a failover has lost is repeated by the gates that know it', async () => {
    const { session, token } = await one.sessions.create(wanted());
    await one.sessions.revoke(session.session);
    await until('it has ended', () => one.ended.length === 1);
    // As a replica would be that did not get the last second.
    await redis.admin.hdel(`{stubgate}:session:${session.tokenHash}`, 'revoked');
    await redis.admin.set('{stubgate}:epoch', '0');
    await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'normal');
    await until('it is told anew', async () =>
      Boolean(await redis.admin.hget(`{stubgate}:session:${session.tokenHash}`, 'revoked')),
    );
    expect((await other.sessions.lookUp(token))?.revokedAt).toBeTypeOf('number');
  });

  test('a gate starts without Redis, admits nobody, and goes on when there is one', async () => {
    await redis.kill();
    const from = performance.now();
    const late = await openOne(options(redis.port));
    expect(performance.now() - from).toBeLessThan(4000);
    expect(late.sessions.suspended).toBe(true);
    expect(await refused(late.sessions.create(wanted()))).toBe('state_unavailable');
    expect(late.told.join()).toContain('Redis does not answer');
    await redis.start();
    await until('it goes on', () => late.sessions.healthy && !late.sessions.suspended);
    await late.sessions.create(wanted());
    expect(late.told.filter(line => line.startsWith('state:'))).toHaveLength(2);
  });

  test('a Redis that accepts and says nothing, or nonsense, hangs nobody', async () => {
    const { createServer } = await import('node:net');
    for (const answer of [
      '',
      '!\r\n?\r\n',
      '+OK\r\n'.repeat(50),
      '$-1\r\n'.repeat(50),
      '*-1\r\n',
      ':1\r\n:2\r\n',
      '-NO way\r\n'.repeat(3),
      '>2\r\n+a\r\n+b\r\n',
      'HTTP/1.1 400 Bad Request\r\n\r\n',
    ]) {
      const server = createServer(socket => {
        socket.on('error', () => {});
        socket.on('data', () => void socket.write(answer));
      }).listen(0, '127.0.0.1');
      await new Promise(resolve => server.once('listening', resolve));
      const from = performance.now();
      const odd = await openOne(options((server.address() as { port: number }).port));
      expect(performance.now() - from).toBeLessThan(6000);
      expect(await refused(odd.sessions.create(wanted()))).toBe('state_unavailable');
      expect(odd.sessions.suspended).toBe(true);
      odd.close();
      server.close();
    }
  });

  test('more questions than Redis can take are refused, not kept', async () => {
    const tokens: string[] = [];
    // Not all at once: that would be more than Redis can take, too.
    while (tokens.length < 5000) {
      const made = await Promise.all(Array.from({ length: 250 }, () => creation(other)));
      tokens.push(...made.flatMap(created => (created ? [created.token] : [])));
    }
    redis.signal('SIGSTOP');
    const codes = await Promise.all(tokens.map(token => refused(one.sessions.lookUp(token))));
    redis.signal('SIGCONT');
    expect(new Set(codes)).toEqual(new Set(['state_unavailable']));
    await until('it goes on', () => one.sessions.healthy);
    expect((await one.sessions.lookUp(tokens[0] ?? ''))?.profile).toBe('default');
  });
});
