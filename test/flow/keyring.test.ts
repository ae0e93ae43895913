import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Profile } from '../../src/config/types.ts';
import { Keyring } from '../../src/flow/keyring.ts';
import type { Secrets } from '../../src/flow/secrets.ts';
import { MintCache } from '../../src/mint/cache.ts';
import { Secret } from '../../src/secret.ts';
import type { Patterns } from '../../src/scrub/index.ts';
import type { Captured, Log, Placement } from '../../src/types.ts';
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

const sources = (id: string, name = 'github') => {
  const source: CredentialSource = { name, ref: { vault: 'v', id }, ttlMs: TTL_MS };
  const vault = {
    read: (ref: { id: string }) => {
      reads.push(ref.id);
      return Promise.resolve(new Secret(ref.id, `sesame-${ref.id}-${reads.length}`));
    },
  };
  return { credentials: new Map([[name, source]]), vaults: new Map([['v', vault]]) };
};

const rooms = () => {
  const mints = new MintCache({ mints: new Map(), vaulted, dial: () => Promise.reject(new Error()), log });
  return { vaulted, mints } as Secrets;
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] });
  reads = [];
  vaulted = new SecretCache(sources('old'));
  keyring = new Keyring(rooms(), [], log);
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

test('what is looked for is compiled anew only where it is another', async () => {
  await open();
  const patterns = keyring.patterns(profile, session);
  const next = (from: Keyring, configured: Profile = profile): Patterns =>
    new Keyring(rooms(), [], log, from).patterns(configured, session);
  expect(next(keyring)).toBe(patterns);
  const renamed = { ...profile, credentials: ['gitlab'], vaulted: ['gitlab'] };
  vaulted.reconfigure(sources('old', 'gitlab'));
  await vaulted.get('gitlab');
  expect(next(keyring, renamed).find(Buffer.from('sesame-old-2'))?.name).toBe('gitlab');
  const wires = (secret: Secret) => [new Secret(secret.name, `wired ${secret.reveal()}`)];
  const placements = new Map([['github', [{ wires } as unknown as Placement]]]);
  expect(next(keyring, { ...profile, placements })).not.toBe(patterns);
});

test('after a reload a profile’s own secrets are looked for, under their own names, though none was read again', async () => {
  const all = [sources('same'), sources('same', 'gitlab'), sources('other', 'third')];
  const read = ({ id }: { id: string }) => Promise.resolve(new Secret('', `sesame-of-${id}`));
  const credentials = new Map(all.flatMap(one => [...one.credentials]));
  vaulted.reconfigure({ credentials, vaults: new Map([['v', { read }]]) });
  await Promise.all([...credentials.keys()].map(async name => vaulted.get(name)));
  const { version } = vaulted;
  // One whose stubs are of no credential, so that nothing else tells the profiles apart.
  const anyone = sessionOf({});
  for (const [names, other, same] of [
    [['github'], undefined, 'github'],
    [['gitlab'], undefined, 'gitlab'],
    [['gitlab', 'third'], 'third', 'gitlab'],
    [['third', 'github'], 'third', 'github'],
    [['third'], 'third', undefined],
  ] as const) {
    keyring = new Keyring(rooms(), [], log, keyring);
    const patterns = keyring.patterns({ ...profile, credentials: names, vaulted: names }, anyone);
    expect(patterns.find(Buffer.from('sesame-of-other'))?.name).toBe(other);
    expect(patterns.find(Buffer.from('sesame-of-same'))?.name).toBe(same);
  }
  expect(vaulted.version).toBe(version);
});

test('another value of the same name is looked for, however many are remembered', async () => {
  const found = (): boolean => keyring.patterns(profile, session).find(Buffer.from(value())) !== undefined;
  await open();
  expect(found()).toBe(true);
  // As many, under the same name, in another configuration's place.
  vaulted = new SecretCache(sources('new'));
  keyring = new Keyring(rooms(), [], log, keyring);
  await open();
  expect([value(), found()]).toEqual(['sesame-new-2', true]);
  // In one that is rotated for so long that old ones are forgotten.
  for (let hours = 0; hours < 30; hours++) {
    vi.setSystemTime(Date.now() + 3_600_000);
    await open(); // oxlint-disable-line no-await-in-loop -- one after the other
    expect(found()).toBe(true);
  }
});

test('what is read for another profile compiles nothing anew', async () => {
  await open();
  const patterns = keyring.patterns(profile, session);
  const { version } = vaulted;
  const [own, others] = [sources('old'), sources('x', 'other')];
  vaulted.reconfigure({ ...own, credentials: new Map([...own.credentials, ...others.credentials]) });
  await vaulted.get('other');
  expect(vaulted.version).toBeGreaterThan(version);
  expect(keyring.patterns(profile, session)).toBe(patterns);
});
