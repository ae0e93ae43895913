import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hasRedis, startRedis, type TestRedis, until } from '../../support/redis.ts';
import { openOne, options, refused, wanted } from './states.ts';

const HASH = 'ab'.repeat(32);

describe.skipIf(!hasRedis)('a session that a credential of somebody else’s opens', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());
  beforeEach(() => redis.admin.flushall());

  it('is one and the same on all gates, however many open it at once', async () => {
    const gates = [await openOne(options(redis.port)), await openOne(options(redis.port))];
    const opened = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => gates[i % 2]?.sessions.open(HASH, wanted())),
    );
    expect(new Set(opened.map(session => session?.session)).size).toBe(1);
    expect(new Set(opened.map(session => session?.stubs.get('github'))).size).toBe(1);
    expect(await gates[0]?.sessions.list()).toHaveLength(1);
    // The one object by which each gate knows it.
    expect(await gates[1]?.sessions.open(HASH, wanted())).toBe(opened[1]);
  });

  it('is revoked everywhere, on gates that never saw it too', async () => {
    const [one, two] = [await openOne(options(redis.port)), await openOne(options(redis.port))];
    const session = await one.sessions.open(HASH, wanted());
    const there = await two.sessions.open(HASH, wanted());
    await one.sessions.revoke(session.session);
    await until('the other gate knows', () => there.revokedAt !== undefined);
    const third = await openOne(options(redis.port));
    expect(await third.sessions.open(HASH, wanted())).toMatchObject({
      session: session.session,
      revokedAt: session.revokedAt,
    });
  });

  it('stays revoked when Redis loses its data, on gates that never saw it too', async () => {
    const one = await openOne(options(redis.port));
    const { session } = await one.sessions.open(HASH, wanted());
    await one.sessions.revoke(session);
    await redis.admin.flushall();
    const key = `{stubgate}:session:${HASH}`;
    await until('it is put back', async () => Boolean(await redis.admin.hget(key, 'revoked')));
    const other = await openOne(options(redis.port));
    expect(await other.sessions.open(HASH, wanted())).toMatchObject({
      session,
      revokedAt: expect.any(Number) as number,
    });
    // Revoked by what is sealed, whatever stands beside it.
    await redis.admin.hdel(key, 'revoked');
    const third = await openOne(options(redis.port));
    expect((await third.sessions.open(HASH, wanted())).revokedAt).toBeTypeOf('number');
  });

  it('that Redis has lost was not revoked by anybody: its credential opens another one', async () => {
    const one = await openOne(options(redis.port, { graceMs: 1000 }));
    const { session } = await one.sessions.open(HASH, wanted());
    await redis.admin.flushall();
    const other = await openOne(options(redis.port));
    await until('it has ended', () => one.ended.length === 1);
    const again = await other.sessions.open(HASH, wanted());
    expect(again.session).not.toBe(session);
    // All is compared, twice.
    for (const id of ['a', 'b']) {
      await redis.admin.set('{stubgate}:run', id);
      await until(
        'it is noticed',
        () => one.told.filter(line => line.includes('other data')).length > (id === 'a' ? 1 : 2),
      );
    }
    expect(again.revokedAt).toBeUndefined();
    expect(await redis.admin.hget(`{stubgate}:session:${HASH}`, 'revoked')).toBeNull();
  });

  it('is not found by any token', async () => {
    const { sessions } = await openOne(options(redis.port));
    await sessions.open(HASH, wanted());
    expect(sessions.lookUp(HASH)).toBeUndefined();
  });

  it('is not opened while Redis cannot be asked', async () => {
    const { sessions } = await openOne(options(1));
    expect(await refused(sessions.open(HASH, wanted()))).toBe('state_unavailable');
  });
});
