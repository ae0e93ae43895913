import { expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { Limiter, type LimitsOptions } from '../../src/limits/limiter.ts';
import { Refused } from '../../src/limits/refused.ts';
import type { Permits } from '../../src/limits/shared.ts';
import type { Log, Session } from '../../src/types.ts';
import { sessionOf } from '../inject/make.ts';

const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const session: Session = { ...sessionOf({}), expiresAt: Date.now() + 60_000 };
const never = (capacity: number) => ({ capacity, perMs: 0 });
const make = (options: Partial<LimitsOptions>, permits?: Permits): Limiter => {
  const limiter = new Limiter(new Refused(log, () => {}), permits);
  limiter.reconfigure({ profiles: new Map(), credentials: new Map(), ...options });
  return limiter;
};

test('a credential that stands in two places is used once', () => {
  const limiter = make({ credentials: new Map([['api', { requests: never(2) }]]) });
  void limiter.begin(session, ['api', 'api'], 0);
  void limiter.begin(session, ['api', 'api'], 0);
  expect(() => limiter.begin(session, ['api'], 0)).toThrow('a credential that this request needs');
});

/** Gates that share: each name has its permits; nobody answers once `isDown`. */
class Store implements Permits {
  readonly gates = 2;
  readonly taken = new Map<string, number>();
  isDown = false;

  async take(name: string, { capacity }: { capacity: number }, need: number) {
    await Promise.resolve();
    if (this.isDown) throw new Refusal('state_unavailable');
    const taken = this.taken.get(name) ?? 0;
    const permits = Math.min(need, capacity - taken);
    this.taken.set(name, taken + permits);
    return { permits, left: capacity - taken - permits };
  }

  async giveBack(name: string, _budget: unknown, permits: number): Promise<void> {
    this.taken.set(name, (this.taken.get(name) ?? 0) - permits);
  }

  async hold(): Promise<boolean> {
    await Promise.resolve();
    if (this.isDown) throw new Refusal('state_unavailable');
    return true;
  }

  free(): void {}
}

test('where gates share, what another limit refuses takes nothing of this one', async () => {
  const limiter = make(
    {
      profiles: new Map([['default', { per: 'session', requests: never(2) }]]),
      credentials: new Map([['api', { requests: never(1) }]]),
    },
    new Store(),
  );
  await limiter.begin(session, ['api'], 0);
  await expect(limiter.begin(session, ['api'], 0)).rejects.toThrow('a credential');
  await limiter.begin(session, [], 0);
  await expect(Promise.resolve().then(() => limiter.begin(session, [], 0))).rejects.toThrow('this session');
  await limiter.close();
});

test('while nobody answers a gate opens its share of the tunnels', async () => {
  const store = new Store();
  const limiter = make({ profiles: new Map([['default', { per: 'session', tunnels: 4 }]]) }, store);
  store.isDown = true;
  const open = async () => (await limiter.tunnel(session)) as () => void;
  await open();
  const second = await open();
  await expect(open()).rejects.toMatchObject({ code: 'state_unavailable' });
  second();
  await open();
  await limiter.close();
});
