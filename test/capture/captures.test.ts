import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Captures, type CaptureStore } from '../../src/capture/captures.ts';
import { MAX_CAPTURED } from '../../src/capture/held.ts';
import type { Log, Session } from '../../src/types.ts';
import { canary } from '../support/canary.ts';
import { keyOf, sessionOf } from '../inject/make.ts';

const HOUR = 3_600_000;
const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const stubs = keyOf('captures');

let now = 0;
let end: (session: Session) => void = () => {};
let session: Session;
const make = (store?: CaptureStore): Captures =>
  new Captures({ stubs, store, log, onEnd: listener => (end = listener), now: () => now, forgetMs: 1000 });
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  now = 1;
  session = { ...sessionOf({}), expiresAt: 9 * HOUR };
});
afterEach(() => void vi.useRealTimers());

const take = async (captures: Captures, value: string, ttlMs?: number, shape = 'generic'): Promise<string> =>
  (await captures.take(session, [{ credential: 'user', shape, value, ttlMs }]))[0] as string;
const known = (): string[] => (session.captured?.known() ?? []).map(secret => secret.reveal());

test('each value has a stub of its own, which stands for it alone', async () => {
  const captures = make();
  const [one, other] = [await take(captures, 'value-one'), await take(captures, 'value-other')];
  expect(one).not.toBe(other);
  expect(session.captured?.secret('user', one)?.reveal()).toBe('value-one');
  expect(session.captured?.secret('user', other)?.reveal()).toBe('value-other');
  expect(session.captured?.secret('else', one)).toBeUndefined();
  expect(session.captured?.stubAt('else', one)).toBeUndefined();
  expect(session.captured?.stubAt('user', one)).toBe(one);
  expect(await take(captures, 'value-one')).toBe(one);
  expect(known()).toEqual(['value-one', 'value-other']);
  for (const secret of session.captured?.known() ?? [])
    expect(session.captured?.stubFor(secret.name)).toBe(
      secret.name.startsWith('user:') && secret.reveal() === 'value-one' ? one : other,
    );
  expect(JSON.stringify(session)).not.toContain('value-one');
});

test('of AWS keys the id stands for the stub, not the stub itself', async () => {
  const stub = await take(make(), '{"AccessKeyId":"AKIA"}', undefined, 'aws-session');
  expect(session.captured?.stubAt('user', stubs.accessKeyId(stub))).toBe(stub);
  expect(session.captured?.stubAt('user', stub)).toBeUndefined();
  expect(session.captured?.secret('user', stub)?.reveal()).toBe('{"AccessKeyId":"AKIA"}');
});

test('a value is used for its time, looked for an hour more, and good again when it is given again', async () => {
  const captures = make();
  const stub = await take(captures, 'value-brief', 1000);
  now += 1000;
  expect(() => session.captured?.secret('user', stub)).toThrow('The time of the credential');
  expect(await take(captures, 'value-brief', 1000)).toBe(stub);
  expect(session.captured?.secret('user', stub)?.reveal()).toBe('value-brief');
  now += 1000 + HOUR - 1;
  await take(captures, 'value-next');
  expect(known()).toEqual(['value-brief', 'value-next']);
  now += 1;
  await take(captures, 'value-last');
  expect(known()).toEqual(['value-next', 'value-last']);
  expect(session.captured?.secret('user', stub)).toBeUndefined();
});

test('a full session takes no more, until the time of one is over', async () => {
  const captures = make();
  for (let i = 0; i < MAX_CAPTURED; i++) await take(captures, `value-${i}`, i === 7 ? 1000 : undefined);
  expect(() => captures.requireRoom(session)).toThrow('as many captured credentials as it may');
  now += 1000;
  expect(() => captures.requireRoom(session)).not.toThrow();
  expect(known()).not.toContain('value-7');
});

test('what a session captured is forgotten soon after its end, not at once', async () => {
  await take(make(), 'value-one');
  end(session);
  await vi.advanceTimersByTimeAsync(999);
  expect(known()).toEqual(['value-one']);
  await vi.advanceTimersByTimeAsync(1);
  expect(session.captured).toBeUndefined();
});

/** As Redis keeps it, one holder of a lock at a time. */
class Store implements CaptureStore {
  readonly texts = new Map<string, string>();
  isDown = false;
  reads = 0;
  #fence = 0;
  #held = false;

  async lock(): Promise<{ fence: number; release(): Promise<void> } | undefined> {
    await Promise.resolve();
    if (this.isDown) throw new Error('down');
    if (this.#held) return undefined;
    this.#held = true;
    return { fence: ++this.#fence, release: async () => void (this.#held = false) };
  }

  async get(name: string): Promise<string | undefined> {
    this.reads++;
    await Promise.resolve();
    if (this.isDown) throw new Error('down');
    return this.texts.get(name);
  }

  async put(name: string, text: string, ttlMs: number): Promise<boolean> {
    await Promise.resolve();
    if (ttlMs > 1) this.texts.set(name, text);
    else this.texts.delete(name);
    return true;
  }
}

test('gates add to what the others put there, and load it', async () => {
  vi.useRealTimers();
  const store = new Store();
  const [one, other] = [make(store), make(store)];
  const here = session;
  const there: Session = { ...session };
  const taken = await Promise.all(
    [one, other, one, other].map((gate, i) =>
      gate.take(i % 2 === 0 ? here : there, [
        { credential: 'user', shape: 'generic', value: canary('v'), ttlMs: undefined },
      ]),
    ),
  );
  await one.load(here, true);
  await other.load(there, true);
  const all = (of: Session): string[] =>
    taken.flat().map(stub => of.captured?.secret('user', stub)?.reveal() ?? 'none');
  expect(all(here)).toEqual(all(there));
  expect(new Set(all(here)).size).toBe(4);
  expect(all(here)).not.toContain('none');
});

test('others are asked once a second, and at once where a stub is expected', async () => {
  const store = new Store();
  const captures = make(store);
  now = 5000;
  await captures.load(session, false);
  expect(captures.load(session, false)).toBeUndefined();
  await captures.load(session, true);
  now += 1000;
  await captures.load(session, false);
  expect(store.reads).toBe(3);
  expect(make().load(session, true)).toBeUndefined();
});

test('who comes while the others are asked waits for the answer, too', async () => {
  const store = new Store();
  const captures = make(store);
  now = 5000;
  await take(make(store), 'value-there');
  const there: Session = { ...session, captured: undefined };
  const first = captures.load(there, false);
  await captures.load(there, false);
  expect(there.captured?.known().map(secret => secret.reveal())).toEqual(['value-there']);
  await first;
  expect(captures.load(there, false)).toBeUndefined();
});

test('without the store nothing is given out, but the value is looked for', async () => {
  const store = new Store();
  const captures = make(store);
  store.isDown = true;
  await expect(take(captures, 'value-lost')).rejects.toThrow('down');
  expect(known()).toEqual(['value-lost']);
  await captures.load(session, true);
  const other: Session = { ...session, captured: undefined };
  await expect(captures.load(other, true)).rejects.toThrow('down');
  now += 1000;
  await captures.load(other, false);
});

test('a value that the others do not know yet is told to them when it comes again', async () => {
  const store = new Store();
  const captures = make(store);
  store.isDown = true;
  await expect(take(captures, 'value-late')).rejects.toThrow('down');
  await expect(take(captures, 'value-late')).rejects.toThrow('down');
  store.isDown = false;
  const stub = await take(captures, 'value-late');
  const there: Session = { ...session, captured: undefined };
  await make(store).load(there, true);
  expect(there.captured?.secret('user', stub)?.reveal()).toBe('value-late');
  store.isDown = true;
  expect(await take(captures, 'value-late')).toBe(stub);
});

test('others learn of a longer time, and forget at the same time', async () => {
  const store = new Store();
  const captures = make(store);
  const there: Session = { ...session, captured: undefined };
  const other = make(store);
  const stub = await take(captures, 'value-brief', 1000);
  await other.load(there, true);
  now += 900;
  expect(await take(captures, 'value-brief', 1000)).toBe(stub);
  await other.load(there, true);
  now += 900;
  expect(there.captured?.secret('user', stub)?.reveal()).toBe('value-brief');
  expect(JSON.parse([...store.texts.values()][0] ?? '')).toHaveLength(1);
  now += 100 + HOUR;
  await take(captures, 'value-next', 1000);
  expect([...store.texts.values()].join()).not.toContain('value-brief');
});

test('the end of a session takes it out of the store', async () => {
  const store = new Store();
  await take(make(store), 'value-one');
  expect(store.texts.size).toBe(1);
  end(session);
  await vi.advanceTimersByTimeAsync(100);
  expect(store.texts.size).toBe(0);
});

test('long values fill a session sooner, and what comes at once beyond it is refused', async () => {
  const captures = make();
  for (let i = 0; i < 8; i++) await take(captures, `${i}`.padEnd(8192, 'x'));
  expect(() => captures.requireRoom(session)).toThrow('as many captured credentials as it may');
  for (let i = 0; i < 2 * MAX_CAPTURED - 8; i++) await take(captures, `value-${i}`);
  await expect(take(captures, 'value-beyond')).rejects.toThrow('as many captured credentials as it may');
  expect(known()).not.toContain('value-beyond');
});
