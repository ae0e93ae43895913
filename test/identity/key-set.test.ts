import type { JSONWebKeySet } from 'jose';
import { beforeEach, describe, expect, it } from 'vitest';
import { KeySet } from '../../src/identity/key-set.ts';
import { makeKey } from '../support/upstreams/oidc.ts';

const MINUTE = 60_000;
let now: number;
let fetches: number;
let answer: () => Promise<JSONWebKeySet>;
let warned: unknown[];
let keys: KeySet;
const [one, two] = [await makeKey('one'), await makeKey('two')];

beforeEach(() => {
  now = 1_000_000;
  fetches = 0;
  warned = [];
  answer = () => Promise.resolve({ keys: [one.publicJwk] });
  keys = new KeySet({
    staleForMs: 60 * MINUTE,
    now: () => now,
    warn: cause => warned.push(cause),
    fetch: () => {
      fetches++;
      return answer();
    },
  });
});

const find = async (kid?: string): Promise<unknown> =>
  keys.find({ alg: 'ES256', ...(kid !== undefined && { kid }) }, {} as never);
const down = (): void => {
  answer = () => Promise.reject(new Error('down'));
};
const NONE = { code: 'ERR_JWKS_NO_MATCHING_KEY' };
const UNAVAILABLE = { code: 'state_unavailable' };

describe('KeySet', () => {
  it('fetches once, however many ask', async () => {
    await Promise.all(Array.from({ length: 50 }, () => find('one')));
    await find('one');
    expect(fetches).toBe(1);
  });

  it('finds the only key for a token that names none, and none of several', async () => {
    expect(await find()).toBeDefined();
    answer = () => Promise.resolve({ keys: [one.publicJwk, two.publicJwk] });
    await expect(find('two')).resolves.toBeDefined();
    await expect(find()).rejects.toMatchObject({ code: 'ERR_JWKS_MULTIPLE_MATCHING_KEYS' });
  });

  it('fetches again for a key that it does not know, and forgets the one that is gone', async () => {
    await find('one');
    answer = () => Promise.resolve({ keys: [two.publicJwk] });
    expect(await find('two')).toBeDefined();
    expect(fetches).toBe(2);
    await expect(find('one')).rejects.toMatchObject(NONE);
  });

  it('does not fetch at each unknown key: five times at once, then once in 30 s', async () => {
    await find('one');
    for (let i = 0; i < 500; i++) await expect(find(`unknown-${i}`)).rejects.toMatchObject(NONE);
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => expect(find(`other-${i}`)).rejects.toMatchObject(NONE)),
    );
    expect(fetches).toBe(5);
    now += 29_999;
    await expect(find('unknown')).rejects.toMatchObject(NONE);
    expect(fetches).toBe(5);
    now += 1;
    await expect(find('unknown')).rejects.toMatchObject(NONE);
    await expect(find('unknown')).rejects.toMatchObject(NONE);
    expect(fetches).toBe(6);
  });

  it('fetches again after ten minutes without letting anybody wait', async () => {
    await find('one');
    now += 10 * MINUTE + 1;
    const slow = Promise.withResolvers<JSONWebKeySet>();
    answer = () => slow.promise;
    expect(await find('one')).toBeDefined();
    expect(fetches).toBe(2);
    slow.resolve({ keys: [two.publicJwk] });
    await expect(find('two')).resolves.toBeDefined();
    await expect(find('one')).rejects.toMatchObject(NONE);
  });

  it('uses keys for a while when the issuer is down, and none after that', async () => {
    await find('one');
    down();
    now += 70 * MINUTE;
    expect(await find('one')).toBeDefined();
    now += 1;
    await expect(find('one')).rejects.toMatchObject(UNAVAILABLE);
    expect(warned).toHaveLength(2);
    now += 30_000;
    answer = () => Promise.resolve({ keys: [one.publicJwk] });
    expect(await find('one')).toBeDefined();
  });

  it('has no key while the issuer never answered, and asks it no more than it may', async () => {
    down();
    for (let i = 0; i < 100; i++) await expect(find('one')).rejects.toMatchObject(UNAVAILABLE);
    expect(fetches).toBe(5);
    expect(warned).toHaveLength(5);
  });
});
