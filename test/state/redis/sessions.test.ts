import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { RedisSessions } from '../../../src/state/redis/sessions.ts';
import { dump, hasRedis, startRedis, tap, type TestRedis, until } from '../../support/redis.ts';
import { openOne, options, type OneState, refused, wanted } from './states.ts';

describe.skipIf(!hasRedis)('sessions on one Redis', () => {
  let redis: TestRedis;
  let one: OneState;
  let other: OneState;

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());
  beforeEach(async () => {
    await redis.admin.flushall();
    one = await openOne(options(redis.port));
    other = await openOne(options(redis.port));
  });

  test('a session that one gate made is the same at another', async () => {
    const { session, token } = await one.sessions.create(wanted());
    expect(other.sessions.byToken(session.tokenHash)).toBeUndefined();
    expect(await other.sessions.lookUp(token)).toEqual(session);
    const known = other.sessions.byToken(session.tokenHash);
    expect(known).toEqual(session);
    expect([...(known?.stubs ?? [])]).toEqual([['github', 'ghp_stub']]);
  });

  test('a known session costs no question to Redis', async () => {
    const { session } = await one.sessions.create(wanted());
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    for (let i = 0; i < 1000; i++) expect(one.sessions.byToken(session.tokenHash)).toBe(session);
    await redis.admin.ping();
    expect(tapped.text).not.toContain(session.tokenHash);
  });

  test.each(['one', 'other'] as const)(
    'revoked at %s gate, a session ends at both within a second',
    async by => {
      const { session, token } = await one.sessions.create(wanted());
      await other.sessions.lookUp(token);
      const from = performance.now();
      expect(await (by === 'one' ? one : other).sessions.revoke(session.session)).toBe(true);
      await until('it has ended at both', () => one.ended.length === 1 && other.ended.length === 1);
      expect(performance.now() - from).toBeLessThan(1000);
      expect(one.sessions.byToken(session.tokenHash)?.revokedAt).toBeTypeOf('number');
      expect(other.sessions.byToken(session.tokenHash)?.revokedAt).toBeTypeOf('number');
      expect(await one.sessions.revoke(session.session)).toBe(false);
      expect(await other.sessions.revoke(session.session)).toBe(false);
    },
  );

  test('a revocation without its message is seen by the next beat', async () => {
    const { session, token } = await one.sessions.create(wanted());
    await other.sessions.lookUp(token);
    await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await one.sessions.revoke(session.session);
    await until('it has ended', () => other.ended.length === 1, 1500);
  });

  test('a revocation by a gate that does not know the session', async () => {
    const { session, token } = await one.sessions.create(wanted());
    expect(await other.sessions.revoke(session.session)).toBe(true);
    await until('it has ended', () => one.ended.length === 1, 1500);
    expect((await other.sessions.lookUp(token))?.revokedAt).toBeTypeOf('number');
  });

  test('a revocation that overtakes the look-up is not lost', async () => {
    for (let i = 0; i < 50; i++) {
      const { session, token } = await one.sessions.create(wanted());
      const [found] = await Promise.all([other.sessions.lookUp(token), one.sessions.revoke(session.session)]);
      await until('it has ended', () => (found ?? session).revokedAt !== undefined, 1500);
      expect(other.sessions.byToken(session.tokenHash)?.revokedAt).toBeTypeOf('number');
    }
  });

  test('a revocation that was heard of counts before Redis tells of it: looked up, shown, listed', async () => {
    const { session, token } = await one.sessions.create(wanted());
    const { sessions } = other;
    // Nothing else is in Redis: as if what is read had been on its way.
    (sessions as RedisSessions).heard(session.session);
    expect((await sessions.lookUp(token))?.revokedAt).toBeTypeOf('number');
    expect((await sessions.get(session.session))?.revokedAt).toBeTypeOf('number');
    expect((await sessions.list()).map(({ revokedAt }) => typeof revokedAt)).toEqual(['number']);
    expect((await one.sessions.list()).map(({ revokedAt }) => typeof revokedAt)).toEqual(['undefined']);
  });

  test('a gap in the revocations has all sessions compared at once', async () => {
    const { session } = await one.sessions.create(wanted());
    await until('a beat', () => one.sessions.healthy);
    // As after more of them than Redis keeps.
    await redis.admin.hset(`{stubgate}:session:${session.tokenHash}`, 'revoked', Date.now());
    await redis.admin.incr('{stubgate}:epoch');
    await until('it has ended', () => one.ended.length === 1, 1500);
  });

  test('every gate lists, shows and revokes all', async () => {
    const made = await Promise.all(
      Array.from({ length: 20 }, async (_, i) =>
        (i % 2 ? one : other).sessions.create(wanted({ sub: `user-${i}` })),
      ),
    );
    const third = await openOne(options(redis.port));
    const ids = made.map(({ session }) => session.session).toSorted();
    const listed = await third.sessions.list();
    expect(listed.map(({ session }) => session).toSorted()).toEqual(ids);
    expect(await third.sessions.get(ids[3] ?? '')).toEqual(
      made.find(({ session }) => session.session === ids[3])?.session,
    );
    expect(await third.sessions.get('s_000000000000')).toBeUndefined();
    expect(await third.sessions.revoke('s_000000000000')).toBe(false);
    await third.sessions.revoke(ids[3] ?? '');
    expect((await one.sessions.get(ids[3] ?? ''))?.revokedAt).toBeTypeOf('number');
  });

  test('a session ends with its time, and Redis forgets it an hour later', async () => {
    const { session, token } = await one.sessions.create(wanted({ ttlMs: 50 }));
    await delay(60);
    one.sessions.sweep(Date.now());
    expect(one.ended).toEqual([session]);
    expect((await other.sessions.lookUp(token))?.expiresAt).toBe(session.expiresAt);
    const left = await redis.admin.pexpiretime(`{stubgate}:session:${session.tokenHash}`);
    expect(left).toBe(session.expiresAt + 3_600_000);
    expect(await redis.admin.pexpiretime(`{stubgate}:id:${session.session}`)).toBe(left);
  });

  test('what is no token of ours is never looked for', async () => {
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    const { token } = await one.sessions.create(wanted());
    const last = token.at(-1) === 'a' ? 'b' : 'a';
    for (let i = 0; i < 5000; i++)
      expect(other.sessions.lookUp(`sgt_${`${i}`.padStart(54, 'x')}`)).toBeUndefined();
    for (const wrong of [
      '',
      'x',
      token.slice(0, -1),
      `${token.slice(0, -1)}${last}`,
      ` ${token}`,
      token.toUpperCase(),
    ])
      expect(other.sessions.lookUp(wrong)).toBeUndefined();
    await redis.admin.ping();
    expect(tapped.count(/hmget/i)).toBe(0);
  });

  test('a token that Redis has forgotten is asked for once, however often it comes', async () => {
    const { session, token } = await one.sessions.create(wanted());
    await redis.admin.del(`{stubgate}:session:${session.tokenHash}`);
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    const asked = Array.from({ length: 100 }, async () => other.sessions.lookUp(token));
    expect(new Set(await Promise.all(asked))).toEqual(new Set([undefined]));
    for (let i = 0; i < 100; i++) expect(other.sessions.lookUp(token)).toBeUndefined();
    await redis.admin.ping();
    expect(tapped.count(/"hmget".*"record"/i)).toBe(1);
  });

  test('a record that Redis, or another key, made up is nobody', async () => {
    const mine = await one.sessions.create(wanted());
    const his = await one.sessions.create(wanted({ profile: 'admin' }));
    const key = (tokenHash: string): string => `{stubgate}:session:${tokenHash}`;
    const record = (await redis.admin.hget(key(his.session.tokenHash), 'record')) ?? '';
    // Another session's record below my token.
    await redis.admin.hset(key(mine.session.tokenHash), 'record', record);
    expect(await other.sessions.lookUp(mine.token)).toBeUndefined();
    const flipped = Buffer.from(record, 'base64');
    flipped[40] = (flipped[40] ?? 0) ^ 1;
    for (const forged of ['', 'x', flipped.toString('base64'), Buffer.alloc(300, 1).toString('base64')]) {
      const { session, token } = await one.sessions.create(wanted());
      await redis.admin.hset(key(session.tokenHash), 'record', forged);
      expect(await other.sessions.lookUp(token)).toBeUndefined();
    }
    const stranger = await openOne(
      options(redis.port),
      Buffer.from('another key, which is as long as the first'),
    );
    expect(stranger.sessions.lookUp(his.token)).toBeUndefined();
    expect(await stranger.sessions.list()).toEqual([]);
    expect(stranger.told.join()).toContain('sealed with another key');
  });

  test('neither token nor stub, label or user stands in Redis, or goes there', async () => {
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    const labels = { repo: 'label-canary' };
    const { session, token } = await one.sessions.create(
      wanted({ sub: 'sub-canary', labels, stubs: new Map([['github', 'stub-canary']]) }),
    );
    await other.sessions.lookUp(token);
    await one.sessions.revoke(session.session);
    const said = `${tapped.text}${await dump(redis)}`;
    expect(said).toContain(hash('sha256', token));
    for (const canary of [token, 'stub-canary', 'label-canary', 'sub-canary', 'default'])
      for (const spelling of ['utf8', 'base64', 'hex'] as const)
        expect(said).not.toContain(Buffer.from(canary).toString(spelling).replace(/=+$/, ''));
  });

  test('at most 100,000 sessions', async () => {
    const fill = `for i = 1, 100000 do redis.call('ZADD', KEYS[1], ARGV[1], 's_' .. i .. ':x') end`;
    await redis.admin.eval(fill, 1, '{stubgate}:sessions', Date.now() + 60_000);
    await expect(one.sessions.create(wanted())).rejects.toThrow('100000 sessions are live');
  });

  test('a scrambled answer of Redis does not stop the gate', async () => {
    await redis.admin.set('{stubgate}:revoked', 'not what it should be');
    await redis.admin.set('{stubgate}:epoch', '5');
    await until('the fault is told', () => one.told.some(line => line.includes('does not answer')));
    expect(await refused(one.sessions.create(wanted()))).toBe('state_unavailable');
    await redis.admin.del('{stubgate}:revoked');
    await until('it goes on', () => one.sessions.healthy);
    await one.sessions.create(wanted());
  });
});
