import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { type Log, type SecretRef, type Vault, VaultError, type VaultWatcher } from '../../src/types.ts';
import { type CredentialSource, SecretCache, type SecretSources } from '../../src/vaults/cache.ts';

const TTL_MS = 60_000;
const STALE_MS = 600_000;

/** A vault that counts its reads; `value` may be set to what it fails with. */
class CountingVault implements Vault {
  value: string | VaultError = 'sesame-1';
  reads: [id: string, refused: string | undefined][] = [];
  gate: Promise<void> | undefined;
  released: string[] = [];
  watcher: VaultWatcher | undefined;
  leased = new Set<string>();
  onRead = (): void => {};

  async read({ id }: SecretRef, _: AbortSignal, refused?: string): Promise<Secret> {
    this.reads.push([id, refused]);
    this.onRead();
    await this.gate;
    if (this.value instanceof VaultError) throw this.value;
    return new Secret(id, this.value, `v ${this.value}`);
  }

  watch(watcher: VaultWatcher): void {
    this.watcher = watcher;
  }

  isLeased(id: string): boolean {
    return this.leased.has(id);
  }

  async release(id: string): Promise<void> {
    this.released.push(id);
  }
}

let vault: CountingVault;
let now: number;
let logged: string[];

const source = (name: string, rest: Partial<CredentialSource> = {}, id = name): CredentialSource => ({
  name,
  ref: { vault: 'v', id },
  ttlMs: TTL_MS,
  ...rest,
});

const sources = (...list: CredentialSource[]): SecretSources => ({
  credentials: new Map(list.map(one => [one.name, one])),
  vaults: new Map([['v', vault]]),
});

function cacheOf(...list: CredentialSource[]): SecretCache {
  const at = (message: string, fields?: object): number =>
    logged.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { debug: at, info: at, warn: at, error: at };
  const cache = new SecretCache({
    ...sources(...list),
    now: () => now,
    log,
  });
  onTestFinished(() => cache.close());
  return cache;
}

const get = async (cache: SecretCache, name = 'a'): Promise<string> => (await cache.get(name)).reveal();

async function refused(got: Secret | Promise<Secret>): Promise<string> {
  const thrown: unknown = await Promise.resolve(got).then(
    () => expect.unreachable(),
    (error: unknown) => error,
  );
  expect(thrown).toMatchObject({ code: 'credential_unavailable' });
  return ((thrown as Refusal).cause as VaultError).kind;
}

const unavailable = new VaultError('unavailable', 'down');
const missing = new VaultError('missing', 'gone');

beforeEach(() => {
  vault = new CountingVault();
  now = 1_000_000;
  logged = [];
});

describe('before its end', () => {
  /** A cache on the real clock, whose one value lives 500 ms. */
  function shortLived(): SecretCache {
    const cache = new SecretCache({ ...sources(source('a', { ttlMs: 500 })) });
    onTestFinished(() => cache.close());
    return cache;
  }

  it('a value that is used is read anew, and nobody waits', async () => {
    const cache = shortLived();
    await get(cache);
    vault.value = 'sesame-2';
    const again = new Promise<void>(resolve => {
      vault.onRead = resolve;
    });
    // As the keyring takes it once `get` has said that it is fresh.
    expect(cache.current('a')?.reveal()).toBe('sesame-1');
    await again;
    await vi.waitFor(() => expect(cache.current('a')?.reveal()).toBe('sesame-2'));
    expect(cache.get('a')).toBeInstanceOf(Secret);
    expect(vault.reads).toHaveLength(2);
    // The old one is still looked for.
    expect(cache.known(['a']).map(secret => secret.reveal())).toEqual(['sesame-2', 'sesame-1']);
  });

  it('a value that nobody used is left to end', async () => {
    const cache = shortLived();
    await get(cache);
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(cache.freshUntil(['a'])));
    expect(vault.reads).toHaveLength(1);
    expect(cache.get('a')).toBeInstanceOf(Promise);
  });

  it('one read is under way at a time, whoever asks meanwhile', async () => {
    const cache = shortLived();
    await get(cache);
    const { promise, resolve } = Promise.withResolvers<void>();
    vault.gate = promise;
    const again = new Promise<void>(done => {
      vault.onRead = done;
    });
    const first = cache.current('a') as Secret;
    await again;
    const joined = [cache.refetch('a', first), cache.refetch('a', first, 403)];
    expect(vault.reads).toHaveLength(2);
    vault.value = 'sesame-2';
    resolve();
    expect((await Promise.all(joined)).map(secret => secret.reveal())).toEqual(['sesame-2', 'sesame-2']);
    expect(vault.reads).toHaveLength(2);
  });

  it('a read that fails leaves the value in use until its end', async () => {
    const cache = shortLived();
    await get(cache);
    vault.value = unavailable;
    const again = new Promise<void>(resolve => {
      vault.onRead = resolve;
    });
    cache.current('a');
    await again;
    await vi.waitFor(async () => expect(await refused(cache.get('a'))).toBe('unavailable'));
  });

  it('nothing is read once the cache is closed', async () => {
    const cache = shortLived();
    await get(cache);
    cache.current('a');
    cache.close();
    const other = shortLived();
    await get(other);
    other.current('a');
    await vi.waitFor(() => expect(vault.reads).toHaveLength(3), { timeout: 2_000 });
  });
});

describe('stale_for', () => {
  it('off: an outage denies at the end of the ttl', async () => {
    const cache = cacheOf(source('a'));
    await get(cache);
    now += TTL_MS;
    vault.value = unavailable;
    expect(await refused(cache.get('a'))).toBe('unavailable');
    expect(cache.isStale('a')).toBe(false);
  });

  it('rides out an outage with the last good value, tells it once, and says when it is over', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    now += TTL_MS;
    vault.value = unavailable;
    expect(await get(cache)).toBe('sesame-1');
    expect(cache.isStale('a')).toBe(true);
    // From now on nobody waits, and the vault is asked every two seconds at most.
    for (let i = 0; i < 5; i++) expect(cache.get('a')).toBeInstanceOf(Secret);
    expect(vault.reads).toHaveLength(2);
    now += 2_000;
    expect(cache.get('a')).toBeInstanceOf(Secret);
    expect(vault.reads).toHaveLength(3);
    await new Promise(setImmediate);
    const told = () => logged.filter(line => line.startsWith('a credential is used beyond its ttl'));
    expect(told()).toHaveLength(1);
    expect(told()[0]).toContain(new Date(1_000_000 + TTL_MS + STALE_MS).toISOString());

    now += 2_000;
    vault.value = 'sesame-2';
    expect(await get(cache)).toBe('sesame-1');
    await vi.waitFor(() => expect(cache.isStale('a')).toBe(false));
    expect(await get(cache)).toBe('sesame-2');
    expect(logged.at(-1)).toContain('can be fetched again');
    expect(logged.join()).not.toContain('sesame');
  });

  it('keeps nobody waiting for a vault that hangs', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    now += TTL_MS;
    vault.gate = new Promise(() => {});
    const start = performance.now();
    expect(await get(cache)).toBe('sesame-1');
    expect(performance.now() - start).toBeLessThan(2_000);
    expect([cache.isStale('a'), cache.get('a') instanceof Secret]).toEqual([true, true]);
    expect(vault.reads).toHaveLength(2);
  });

  it('ends', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    vault.value = unavailable;
    now += TTL_MS + STALE_MS - 1;
    expect(await get(cache)).toBe('sesame-1');
    now += 1;
    expect(await refused(cache.get('a'))).toBe('unavailable');
  });

  it('is not for a secret that the vault says is gone, not even in an outage that follows', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    now += TTL_MS;
    vault.value = missing;
    expect(await refused(cache.get('a'))).toBe('missing');
    now += 10_000;
    vault.value = unavailable;
    expect(await refused(cache.get('a'))).toBe('unavailable');
    cache.reconfigure(sources(source('a', { staleForMs: 2 * STALE_MS })));
    expect(await refused(cache.get('a'))).toBe('unavailable');
    expect(cache.isStale('a')).toBe(false);
  });

  it('is not for a secret that is gone after an outage began', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    now += TTL_MS;
    vault.value = unavailable;
    expect(await get(cache)).toBe('sesame-1');
    now += 2_000;
    vault.value = missing;
    await get(cache);
    await new Promise(setImmediate);
    expect(await refused(cache.get('a'))).toBe('missing');
  });

  it('is not for a secret that was never had', async () => {
    vault.value = unavailable;
    expect(await refused(cacheOf(source('a', { staleForMs: STALE_MS })).get('a'))).toBe('unavailable');
  });

  it('is not for a lease that ended', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    vault.watcher?.changed('a');
    vault.value = unavailable;
    expect(await refused(cache.get('a'))).toBe('unavailable');
  });

  it('does not outlive a change of the ref', async () => {
    const cache = cacheOf(source('a', { staleForMs: STALE_MS }));
    await get(cache);
    vault.value = unavailable;
    cache.reconfigure(sources(source('a', { staleForMs: STALE_MS }, 'b')));
    expect(await refused(cache.get('a'))).toBe('unavailable');
  });
});

describe('after a refusal of the upstream', () => {
  it('403 causes one read a minute, however many come, and does not put off one that 401 causes', async () => {
    const cache = cacheOf(source('a'));
    const first = await cache.get('a');
    await Promise.all(Array.from({ length: 1_000 }, () => cache.refetch('a', first, 403)));
    expect(vault.reads).toHaveLength(2);
    now += 30_000;
    expect(await cache.refetch('a', first, 403)).toBe(first);
    expect(vault.reads).toHaveLength(2);
    await cache.refetch('a', first, 401);
    expect(vault.reads).toHaveLength(3);
    now += 30_000;
    await cache.refetch('a', first, 403);
    expect(vault.reads).toHaveLength(4);
  });

  it('403 gives the new value once the vault has one', async () => {
    const cache = cacheOf(source('a'));
    const first = await cache.get('a');
    vault.value = 'sesame-2';
    expect((await cache.refetch('a', first, 403)).reveal()).toBe('sesame-2');
    // Who comes late with the old one causes nothing.
    expect((await cache.refetch('a', first, 403)).reveal()).toBe('sesame-2');
    expect(vault.reads).toHaveLength(2);
  });

  it('the vault is told which version a 401 was for, and nothing of a 403', async () => {
    const cache = cacheOf(source('a'));
    const first = await cache.get('a');
    await cache.refetch('a', first, 403);
    await cache.refetch('a', first, 401);
    expect(vault.reads).toEqual([
      ['a', undefined],
      ['a', undefined],
      ['a', 'v sesame-1'],
    ]);
  });

  it('the vault is told of it also where the value’s time is just over', async () => {
    const cache = cacheOf(source('a'));
    const first = await cache.get('a');
    now += TTL_MS;
    vault.value = 'sesame-2';
    expect((await cache.refetch('a', first)).reveal()).toBe('sesame-2');
    expect(vault.reads.at(-1)).toEqual(['a', 'v sesame-1']);
  });

  it('401s that go on cause reads ever more rarely, until one is due by itself', async () => {
    const cache = cacheOf(source('a', { ttlMs: 86_400_000 }));
    const first = await cache.get('a');
    for (let second = 0; second < 600; second++) {
      await cache.refetch('a', first);
      now += 1_000;
    }
    // After 0, 5, 15, 35, 75, 155 and 315 seconds.
    expect(vault.reads).toHaveLength(8);
  });
});

describe('several refs of one id', () => {
  const both = () => [source('a', {}, 'lease'), source('b', {}, 'lease'), source('c')];

  it('are read anew together when the vault says that it changed', async () => {
    const cache = cacheOf(...both());
    await cache.prefetch(['a', 'b', 'c']);
    const { version } = cache;
    vault.watcher?.changed('lease');
    expect(cache.version).not.toBe(version);
    expect([cache.get('a'), cache.get('b')].every(got => got instanceof Promise)).toBe(true);
    expect(cache.get('c')).toBeInstanceOf(Secret);
  });

  it('are released once, when none of them is needed', async () => {
    vault.leased.add('lease');
    const cache = cacheOf(...both());
    await cache.release(new Set(['a', 'c']), AbortSignal.timeout(1_000));
    expect(vault.released).toEqual([]);
    await cache.release(new Set(['a', 'b', 'c']), AbortSignal.timeout(1_000));
    expect(vault.released).toEqual(['lease']);
  });

  it('are made anew where a reload replaced the vault that made them', async () => {
    vault.leased.add('lease');
    const cache = cacheOf(...both());
    await cache.prefetch(['a', 'c']);
    vault = new CountingVault();
    vault.leased.add('lease');
    vault.value = 'sesame-2';
    cache.reconfigure(sources(...both()));
    expect([await get(cache), await get(cache, 'c')]).toEqual(['sesame-2', 'sesame-1']);
    expect(cache.known(['a']).map(secret => secret.reveal())).toEqual(['sesame-2', 'sesame-1']);
  });
});

it('what a vault tells by itself is for the operator', () => {
  cacheOf(source('a'));
  vault.watcher?.warn(new VaultError('unavailable', 'a lease could not be revoked'));
  expect(logged).toEqual(['a vault has trouble {"vault":"v","cause":"a lease could not be revoked"}']);
});
