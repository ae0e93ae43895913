import { expect, test, vi } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { SharedState } from '../../src/workers/shared-state.ts';
import type { Session } from '../../src/types.ts';

const OPTIONS = { profile: 'default', ttlMs: 60_000, stubs: new Map([['api', 'stub']]) };

function open() {
  const clock = { now: 0 };
  const told: string[] = [];
  let release: (() => void) | undefined;
  const state = new SharedState(
    {
      sessions: (sessions: readonly Session[]) => void told.push(...sessions.map(({ session }) => session)),
      revoked: id => void told.push(`revoked ${id}`),
      sync: () => new Promise(resolve => (release = resolve)),
    },
    () => clock.now,
  );
  return { state, told, clock, release: () => release?.() };
}

test('a session, and its end, is handed out when all workers know of it', async () => {
  const { state, told, release } = open();
  let created: Session | undefined;
  const creating = state.sessions.create(OPTIONS).then(({ session }) => (created = session));
  await new Promise(setImmediate);
  expect(told).toHaveLength(1);
  expect(created).toBeUndefined();
  release();
  const { session: id } = await creating;
  expect(told).toEqual([id]);
  let isRevoked = false;
  const revoking = state.sessions.revoke(id).finally(() => (isRevoked = true));
  await new Promise(setImmediate);
  expect(told).toEqual([id, `revoked ${id}`]);
  expect(isRevoked).toBe(false);
  release();
  expect(await revoking).toBe(true);
});

test('a credential opens one session, whichever worker asks, and none after its revocation', async () => {
  const { state, told, release } = open();
  const [one, other] = [state.callsOf({}), state.callsOf({})];
  const id = one.open('ab'.repeat(32), OPTIONS);
  expect(other.open('ab'.repeat(32), OPTIONS)).toBe(id);
  expect(told).toEqual([id]);
  const revoking = one.revoke(id);
  release();
  await revoking;
  expect(other.open('ab'.repeat(32), OPTIONS)).toBe(id);
  vi.useFakeTimers({ now: Date.now() + 3_700_000, toFake: ['Date'] });
  try {
    const long = { ...OPTIONS, ttlMs: 10 * 3_600_000 };
    const lasting = one.open('cd'.repeat(32), long);
    void one.revoke(lasting);
    vi.setSystemTime(Date.now() + 3_700_000);
    state.sessions.sweep(Date.now());
    expect(() => other.open('cd'.repeat(32), long)).toThrow(Refusal);
  } finally {
    vi.useRealTimers();
  }
});

test('a budget is given in portions, never more than there is, and what is given back can be had', () => {
  const { state } = open();
  const [one, other] = [state.callsOf({}), state.callsOf({})];
  const budget = { capacity: 100, perMs: 0 };
  expect(one.take('b', budget, 1, 8, 1000)).toEqual({ permits: 9, left: 91 });
  expect(other.take('b', budget, 80, 0, 1000)).toEqual({ permits: 80, left: 11 });
  expect(one.take('b', budget, 20, 8, 1000)).toEqual({ permits: 11, left: 0 });
  expect(other.take('b', budget, 1, 8, 1000)).toEqual({ permits: 0, left: 0 });
  one.giveBack('b', budget, 5);
  expect(other.take('b', budget, 5, 8, 1000)).toEqual({ permits: 5, left: 0 });
});

test('a budget fills again in its time, and is forgotten when it is whole', () => {
  const { state, clock } = open();
  const calls = state.callsOf({});
  const budget = { capacity: 10, perMs: 0.01 };
  expect(calls.take('r', budget, 10, 0, 500).permits).toBe(10);
  clock.now += 500;
  expect(calls.take('r', budget, 10, 0, 500).permits).toBe(5);
  state.sweep();
  expect(calls.take('r', budget, 1, 0, 500).permits).toBe(0);
  clock.now += 1001;
  state.sweep();
  expect(calls.take('r', budget, 10, 0, 500).permits).toBe(10);
});

test('slots and locks of a worker that is gone are free; a lock has a larger fence than any before', () => {
  const { state } = open();
  const [mine, others] = [{}, {}];
  const [one, other] = [state.callsOf(mine), state.callsOf(others)];
  expect([one.hold('t', 2, 'a'), other.hold('t', 2, 'b'), one.hold('t', 2, 'c')]).toEqual([
    true,
    true,
    false,
  ]);
  const fence = one.lock('l', 60_000) as number;
  expect(other.lock('l', 60_000)).toBeUndefined();
  state.release(mine);
  expect(other.hold('t', 2, 'c')).toBe(true);
  expect(other.lock('l', 60_000)).toBeGreaterThan(fence);
  // What the one that is gone said at last changes nothing.
  one.unlock('l', fence);
  expect(state.callsOf({}).lock('l', 60_000)).toBeUndefined();
  // What it asked for at last it does not get: nobody would free it.
  expect(one.hold('last', 1, 'd')).toBe(false);
  expect(one.lock('last', 60_000)).toBeUndefined();
  expect(other.hold('last', 1, 'e')).toBe(true);
});

test('a value that was put under a later fence stays; it ends in its time', () => {
  const { state, clock } = open();
  const calls = state.callsOf({});
  expect(calls.put('v', 'new', 1000, 7)).toBe(true);
  expect(calls.put('v', 'old', 1000, 6)).toBe(false);
  expect(calls.get('v')).toBe('new');
  clock.now += 1001;
  expect(calls.get('v')).toBeUndefined();
  expect(calls.put('v', 'old', 1000, 6)).toBe(true);
});
