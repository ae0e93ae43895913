import { describe, expect, test } from 'vitest';
import { LocalBucket } from '../../src/limits/bucket.ts';
import { type Granted, type Permits, SharedBucket } from '../../src/limits/shared.ts';
import type { Budget } from '../../src/limits/budget.ts';
import { Refusal } from '../../src/errors.ts';

const NEVER = Number.POSITIVE_INFINITY;

describe('a bucket of one gate', () => {
  test('gives its burst, then what comes back, to the millisecond', () => {
    let now = 5000;
    const bucket = new LocalBucket({ capacity: 3, perMs: 0.01 }, () => now);
    expect([1, 1, 1, 1].map(n => bucket.take(n))).toEqual([0, 0, 0, 100]);
    now += 99;
    expect(bucket.take(1)).toBeCloseTo(1);
    now += 1;
    expect(bucket.take(1)).toBe(0);
    now += 1_000_000;
    expect(bucket.take(4)).toBe(NEVER);
    expect(bucket.take(3)).toBe(0);
  });

  test('what is refused takes nothing', () => {
    let now = 0;
    const bucket = new LocalBucket({ capacity: 1, perMs: 0.001 }, () => now);
    expect(bucket.take(1)).toBe(0);
    for (let i = 0; i < 1000; i++) expect(bucket.take(1)).toBeGreaterThan(0);
    now = 1000;
    expect(bucket.take(1)).toBe(0);
  });

  test('one that never fills again tells so', () => {
    let now = 0;
    const bucket = new LocalBucket({ capacity: 2, perMs: 0 }, () => now);
    expect([bucket.take(2), bucket.take(1)]).toEqual([0, NEVER]);
    now = 1e12;
    expect(bucket.take(1)).toBe(NEVER);
    bucket.giveBack(1);
    expect(bucket.take(1)).toBe(0);
    bucket.budget = { capacity: 3, perMs: 0 };
    expect([bucket.take(1), bucket.take(1)]).toEqual([0, NEVER]);
  });

  test('many small ones are as many as few large ones', () => {
    const bucket = new LocalBucket({ capacity: 10 * 1024 ** 3, perMs: 10 * 1024 ** 2 }, () => 1e9);
    for (let i = 0; i < 100_000; i++) bucket.take(1);
    expect(bucket.lacks(10 * 1024 ** 3 - 100_000)).toBe(0);
    expect(bucket.lacks(10 * 1024 ** 3 - 99_999)).toBeGreaterThan(0);
  });
});

/** What gates share, in this process: it can fail, and counts what it is asked. */
class Shop implements Permits {
  gates = 2;
  asked = 0;
  fails = false;
  taken = 0;

  async take(_name: string, { capacity }: Budget, need: number, ahead: number): Promise<Granted> {
    this.asked++;
    await Promise.resolve();
    if (this.fails) throw new Refusal('state_unavailable');
    const room = capacity - this.taken;
    let permits = Math.min(need, room);
    if (permits === need) permits += Math.min(ahead, Math.floor((room - permits) / 8));
    this.taken += permits;
    return { permits, left: room - permits };
  }

  async giveBack(_name: string, _budget: Budget, permits: number): Promise<void> {
    this.taken -= permits;
  }

  async hold(): Promise<boolean> {
    return true;
  }

  free(): void {}
}

describe('a bucket that gates share', () => {
  const budget = { capacity: 1000, perMs: 0 };

  test('all of it is given, and no more, however many ask at once at however many gates', async () => {
    const shop = new Shop();
    const buckets = [1, 2, 3].map(() => new SharedBucket('a', budget, shop, 1000));
    const waits = await Promise.all(
      Array.from({ length: 3000 }, async (_, i) => (buckets[i % 3] as SharedBucket).take(1)),
    );
    const given = waits.filter(wait => wait === 0).length;
    expect(given).toBeLessThanOrEqual(1000);
    expect(given).toBeGreaterThan(1000 * (7 / 8));
    await Promise.all(buckets.map(bucket => bucket.release(true)));
    expect(shop.taken).toBe(given);
    expect(shop.asked).toBeLessThan(300);
  });

  test('most requests ask nobody', async () => {
    const shop = new Shop();
    const bucket = new SharedBucket('a', budget, shop, 1000);
    let waited = 0;
    for (let i = 0; i < 500; i++) {
      const wait = bucket.take(1);
      if (wait instanceof Promise) waited++;
      expect(await wait).toBe(0);
    }
    expect(waited).toBeLessThan(5);
    expect(shop.asked).toBeLessThan(100);
  });

  test('without an answer what was paid for is used up, then it refuses what never comes back', async () => {
    const shop = new Shop();
    const bucket = new SharedBucket('a', budget, shop, 1000);
    expect(await bucket.take(1)).toBe(0);
    const paid = shop.taken;
    shop.fails = true;
    for (let i = 1; i < paid; i++) expect(await bucket.take(1)).toBe(0);
    await expect(Promise.resolve(bucket.take(1))).rejects.toMatchObject({ code: 'state_unavailable' });
    shop.fails = false;
    expect(await bucket.take(1)).toBe(0);
  });

  test('without an answer a budget of time goes on with this gate’s share of what comes back', async () => {
    const shop = new Shop();
    shop.fails = true;
    const bucket = new SharedBucket('a', { capacity: 4, perMs: 0.004 }, shop, 1000);
    const wait = await bucket.take(1);
    expect(wait).toBeGreaterThan(450);
    expect(wait).toBeLessThanOrEqual(500);
  });

  test('one that asks for more than there ever is is told so at once', () => {
    const bucket = new SharedBucket('a', budget, new Shop(), 1000);
    expect(bucket.take(1001)).toBe(NEVER);
    expect([bucket.lacks(1001), bucket.lacks(1000)]).toEqual([NEVER, 0]);
  });
});
