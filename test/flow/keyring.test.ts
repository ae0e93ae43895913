import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Profile } from '../../src/config/types.ts';
import { Keyring } from '../../src/flow/keyring.ts';
import type { Secrets } from '../../src/flow/secrets.ts';
import { MintCache } from '../../src/mint/cache.ts';
import { Secret } from '../../src/secret.ts';
import type { Captured, Log } from '../../src/types.ts';
import { type CredentialSource, SecretCache } from '../../src/vaults/cache.ts';
import { sessionOf } from '../inject/make.ts';

const TTL_MS = 60_000;
const profile = {
  name: 'default',
  credentials: ['github'],
  vaulted: ['github'],
  placements: new Map(),
} as unknown as Profile;
const session = sessionOf({ github: 'stub' });
const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

let reads: string[];
let vaulted: SecretCache;
let keyring: Keyring;

const sources = (id: string) => {
  const source: CredentialSource = { name: 'github', ref: { vault: 'v', id }, ttlMs: TTL_MS };
  const vault = {
    read: (ref: { id: string }) => {
      reads.push(ref.id);
      return Promise.resolve(new Secret(ref.id, `sesame-${ref.id}-${reads.length}`));
    },
  };
  return { credentials: new Map([['github', source]]), vaults: new Map([['v', vault]]) };
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] });
  reads = [];
  vaulted = new SecretCache(sources('old'));
  const mints = new MintCache({ mints: new Map(), vaulted, dial: () => Promise.reject(new Error()), log });
  keyring = new Keyring({ vaulted, mints } as Secrets, [], log);
});
afterEach(() => void vi.useRealTimers());

const open = () => keyring.open(profile, ['github'], session);
const value = () => keyring.secret('github', session).reveal();

test('waits for what is not here, and not for what is', async () => {
  await open();
  expect(open()).toBeUndefined();
  expect([reads, value()]).toEqual([['old'], 'sesame-old-1']);
});

test('waits again once a value is no longer fresh', async () => {
  await open();
  expect(open()).toBeUndefined();
  vi.setSystemTime(Date.now() + TTL_MS);
  expect(open()).toBeInstanceOf(Promise);
  await open();
  expect(value()).toBe('sesame-old-2');
});

test('waits again once a new configuration names another secret', async () => {
  await open();
  expect(open()).toBeUndefined();
  vaulted.reconfigure(sources('new'));
  expect(open()).toBeInstanceOf(Promise);
  await open();
  expect([reads, value()]).toEqual([['old', 'new'], 'sesame-new-2']);
});

test('looks for a new value in the next answer, and for the old one still', async () => {
  await open();
  const found = (text: string) => keyring.patterns(profile, session).find(Buffer.from(text)) !== undefined;
  expect([found('sesame-old-1'), found('sesame-old-2')]).toEqual([true, false]);
  vi.setSystemTime(Date.now() + TTL_MS);
  await open();
  expect([found('sesame-old-1'), found('sesame-old-2')]).toEqual([true, true]);
});

test('what was captured is not fetched again, whatever the upstream says of it', async () => {
  await open();
  const own = new Secret('github:id', 'sesame-captured');
  const captured: Captured = {
    version: 1,
    known: () => [own],
    stubAt: () => undefined,
    secret: () => own,
    stubFor: () => 'stub',
  };
  for (const status of [401, 403] as const)
    expect(await keyring.renew('github', own, { ...session, captured }, status)).toBe(false);
  expect(reads).toEqual(['old']);
});
