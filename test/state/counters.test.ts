import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MemoryCounters } from '../../src/state/counters.ts';
import type { Counters } from '../../src/state/state.ts';
import { dump, hasRedis, startRedis, type TestRedis, until } from '../support/redis.ts';
import { openOne, options } from './redis/states.ts';

async function counts(of: Counters, other: Counters): Promise<void> {
  const hour = 3_600_000;
  expect(await of.increment('a', hour)).toBe(1);
  expect(await other.increment('a', hour)).toBe(2);
  expect(await of.increment('a', hour, 5)).toBe(7);
  expect(await of.increment('b', hour)).toBe(1);
  expect(await of.increment('a', hour / 2)).toBe(1);
  const all = await Promise.all(
    Array.from({ length: 200 }, (_, i) => (i % 2 ? of : other).increment('race', hour)),
  );
  expect(all.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  await of.increment('short', 30);
  await until('the window is over', async () => (await of.increment('short', 30)) === 1, 2000);
}

describe('counters of one gate', () => {
  test('count within a window', () => {
    const counters = new MemoryCounters();
    return counts(counters, counters);
  });

  test('begin anew with the next window, to the millisecond', async () => {
    let now = 0;
    const counters = new MemoryCounters(() => now);
    await counters.increment('a', 100);
    now = 99;
    expect(await counters.increment('a', 100)).toBe(2);
    now = 100;
    expect(await counters.increment('a', 100)).toBe(1);
  });
});

describe.skipIf(!hasRedis)('counters of a fleet', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  test('count within a window, at all gates together, and end by themselves', async () => {
    const [one, other] = [await openOne(options(redis.port)), await openOne(options(redis.port))];
    await counts(one.counters, other.counters);
    for (const key of await redis.admin.keys('*counter*'))
      expect(await redis.admin.pttl(key)).toBeGreaterThan(0);
    expect(await dump(redis)).not.toMatch(/race|short/);
  });
});
