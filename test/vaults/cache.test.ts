import { inspect } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { type Log, type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { type CredentialSource, SecretCache, type SecretSources } from '../../src/vaults/cache.ts';

/** A vault whose answers a test gives by hand. */
class TestVault implements Vault {
  reads: SecretRef[] = [];
  signals: AbortSignal[] = [];
  answer: () => Promise<Secret> = () => Promise.reject(new VaultError('missing', 'no answer is set'));

  read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    this.reads.push(ref);
    this.signals.push(signal);
    return this.answer();
  }

  says(value: string, version?: string): void {
    this.answer = () => Promise.resolve(new Secret('vault:id', value, version));
  }

  fails(thrown: unknown): void {
    this.answer = async () => {
      throw thrown;
    };
  }

  /** The next read waits until it is told. */
  holds(): PromiseWithResolvers<Secret> {
    const held = Promise.withResolvers<Secret>();
    this.answer = () => held.promise;
    return held;
  }
}

let vault: TestVault;
let now: number;
let logged: unknown[];
let cache: SecretCache;

const source = (name: string, id = name, ttlMs = 60_000): CredentialSource => ({
  name,
  ref: { vault: 'v', id },
  ttlMs,
});
const sources = (...list: CredentialSource[]): SecretSources => ({
  credentials: new Map(list.map(one => [one.name, one])),
  vaults: new Map([['v', vault]]),
});
const log = new Proxy({} as Log, {
  get: (_, level) => (message: string, fields: unknown) => logged.push([level, message, fields]),
});

beforeEach(() => {
  vault = new TestVault();
  vault.says('sesame-1', '1');
  now = 1_000_000;
  logged = [];
  cache = new SecretCache({ ...sources(source('github'), source('other')), now: () => now, log });
});

async function refused(got: Secret | Promise<Secret>): Promise<VaultError> {
  const thrown: unknown = await Promise.resolve(got).then(
    () => expect.unreachable(),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(Refusal);
  expect((thrown as Refusal).code).toBe('credential_unavailable');
  expect((thrown as Refusal).cause).toBeInstanceOf(VaultError);
  return (thrown as Refusal).cause as VaultError;
}

const values = (...names: string[]): string[] => cache.known(names).map(secret => secret.reveal());

describe('get', () => {
  it('gives a promise first, then the value at once until its time is over', async () => {
    expect(cache.get('github')).toBeInstanceOf(Promise);
    const secret = await cache.get('github');
    expect([secret.reveal(), secret.name, secret.version]).toEqual(['sesame-1', 'github', '1']);
    now += 59_999;
    expect(cache.get('github')).toBe(secret);
    expect(vault.reads).toHaveLength(1);
    now += 1;
    vault.says('sesame-2', '2');
    expect((await cache.get('github')).reveal()).toBe('sesame-2');
    expect(vault.reads).toHaveLength(2);
  });

  it('fetches nothing before it is asked', () => {
    expect(vault.reads).toHaveLength(0);
    expect(values('github', 'other')).toEqual([]);
  });

  it('reads once for ten thousand callers', async () => {
    const held = vault.holds();
    const all = Array.from({ length: 10_000 }, async () => cache.get('github'));
    held.resolve(new Secret('x', 'sesame-1'));
    const secrets = new Set(await Promise.all(all));
    expect(secrets.size).toBe(1);
    expect(vault.reads).toHaveLength(1);
  });

  it('fails once for ten thousand callers, and then for a while without asking', async () => {
    const held = vault.holds();
    const all = Array.from({ length: 10_000 }, async () => cache.get('github'));
    held.reject(new VaultError('unavailable', 'down'));
    const results = await Promise.allSettled(all);
    expect(results.every(({ status }) => status === 'rejected')).toBe(true);
    now += 1_999;
    expect((await refused(cache.get('github'))).message).toBe('down');
    expect(vault.reads).toHaveLength(1);
    now += 1;
    vault.says('sesame-1');
    expect((await cache.get('github')).reveal()).toBe('sesame-1');
  });

  it('asks again for a missing one after 10 s only', async () => {
    vault.fails(new VaultError('missing', 'gone'));
    await refused(cache.get('github'));
    now += 9_999;
    await refused(cache.get('github'));
    expect(vault.reads).toHaveLength(1);
    now += 1;
    await refused(cache.get('github'));
    expect(vault.reads).toHaveLength(2);
  });

  it('keeps failures of one credential from another', async () => {
    vault.fails(new VaultError('missing', 'gone'));
    await refused(cache.get('github'));
    vault.says('sesame-2');
    expect((await cache.get('other')).reveal()).toBe('sesame-2');
  });

  it('does not use a value beyond its time when the vault is down, but still looks for it in responses', async () => {
    await cache.get('github');
    now += 60_000;
    vault.fails(new VaultError('unavailable', 'down'));
    await refused(cache.get('github'));
    expect(values('github')).toEqual(['sesame-1']);
  });

  it('denies a credential that is not configured, or whose vault is not', async () => {
    expect((await refused(cache.get('nobody'))).message).toContain('not configured');
    expect((await refused(cache.get('__proto__'))).message).toContain('not configured');
    cache.reconfigure({ ...sources(source('github')), vaults: new Map() });
    expect((await refused(cache.get('github'))).message).toContain('vault that is not configured');
  });

  it('denies a value that is too short to be told from ordinary text', async () => {
    vault.says('sesame7');
    const error = await refused(cache.get('github'));
    expect(error.message).toContain('v:github is shorter than 8 characters');
    expect(error.message).not.toContain('sesame');
    expect(values('github')).toEqual([]);
  });

  it('gives up on a vault that does not answer', async () => {
    const quick = new SecretCache({ ...sources(source('github')), now: () => now, timeoutMs: 5 });
    vault.holds();
    expect(await refused(quick.get('github'))).toMatchObject({ kind: 'unavailable' });
    expect(vault.signals[0]?.aborted).toBe(true);
  });

  it('shows no value of a client library’s error, to anyone', async () => {
    vault.fails(
      Object.assign(new Error('GET failed: X-Vault-Token sesame-9'), {
        code: 'ECONNRESET',
        token: 'sesame-9',
      }),
    );
    const error = await refused(cache.get('github'));
    expect(error).toMatchObject({
      kind: 'unavailable',
      message: 'credential "github": the vault failed with Error ECONNRESET',
    });
    expect(inspect([error, logged], { depth: 9 })).not.toContain('sesame');
  });

  it.each([undefined, null, 'sesame-9', 0])('survives a vault that throws %j', async thrown => {
    vault.fails(thrown);
    expect((await refused(cache.get('github'))).message).not.toContain('sesame');
  });

  it('survives a vault that throws at once', async () => {
    vault.answer = () => {
      throw new VaultError('missing', 'at once');
    };
    expect((await refused(cache.get('github'))).message).toBe('at once');
  });

  it('stays up when nobody waits for a read that fails', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): unknown => unhandled.push(reason);
    process.on('unhandledRejection', note);
    vault.fails(new VaultError('unavailable', 'down'));
    void cache.get('github');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
    expect(logged).toHaveLength(1);
  });

  it('tells the operator what failed', async () => {
    vault.fails(new VaultError('missing', 'v:github: gone'));
    await refused(cache.get('github'));
    expect(logged).toEqual([
      ['warn', 'a credential cannot be fetched', { credential: 'github', cause: 'v:github: gone' }],
    ]);
  });
});

describe('known', () => {
  it('keeps a replaced value for an hour', async () => {
    await cache.get('github');
    now += 60_000;
    vault.says('sesame-2');
    await cache.get('github');
    expect(values('github')).toEqual(['sesame-2', 'sesame-1']);
    now += 3_599_999;
    expect(values('github')).toEqual(['sesame-2', 'sesame-1']);
    now += 1;
    expect(values('github')).toEqual(['sesame-2']);
  });

  it('does not hold the same value twice when it comes and goes', async () => {
    for (const value of ['sesame-1', 'sesame-2', 'sesame-1', 'sesame-2', 'sesame-1']) {
      vault.says(value);
      await cache.get('github');
      now += 60_000;
    }
    expect(new Set(values('github'))).toEqual(new Set(['sesame-1', 'sesame-2']));
    expect(values('github').length).toBeLessThanOrEqual(3);
  });

  it('gives the names that are asked for only', async () => {
    await cache.prefetch(['github', 'other']);
    expect(cache.known(['other', 'nobody']).map(({ name }) => name)).toEqual(['other']);
  });
});

describe('version', () => {
  it('changes with every new value, not with a read that brings the same', async () => {
    const start = cache.version;
    const first = await cache.get('github');
    const withFirst = cache.version;
    expect(withFirst).not.toBe(start);
    now += 60_000;
    expect(await cache.get('github')).toBe(first);
    expect(cache.version).toBe(withFirst);
    now += 60_000;
    vault.says('sesame-2');
    await cache.get('github');
    expect(cache.version).not.toBe(withFirst);
  });

  it('has changed before a waiting caller has the value', async () => {
    const start = cache.version;
    const got = cache.get('github');
    await got;
    expect(cache.version).not.toBe(start);
    expect(values('github')).toEqual(['sesame-1']);
  });
});

describe('refetch', () => {
  it('gives the same object when the vault still has that value', async () => {
    const secret = await cache.get('github');
    expect(await cache.refetch('github', secret)).toBe(secret);
    expect(vault.reads).toHaveLength(2);
  });

  it('gives the new value, and keeps looking for the old one', async () => {
    const secret = await cache.get('github');
    vault.says('sesame-2');
    expect((await cache.refetch('github', secret)).reveal()).toBe('sesame-2');
    expect(values('github')).toEqual(['sesame-2', 'sesame-1']);
  });

  it('asks again when the read under way was asked for before the value was replaced', async () => {
    const secret = await cache.get('github');
    now += 60_000;
    const held = vault.holds();
    const reading = cache.get('github');
    const refetched = cache.refetch('github', secret);
    vault.says('sesame-2');
    held.resolve(new Secret('vault:id', 'sesame-1', '1'));
    await reading;
    expect((await refetched).reveal()).toBe('sesame-2');
    expect(vault.reads).toHaveLength(3);
  });

  it('asks once for a storm of rejections, and once per 5 s', async () => {
    const secret = await cache.get('github');
    await Promise.all(Array.from({ length: 1_000 }, () => cache.refetch('github', secret)));
    expect(vault.reads).toHaveLength(2);
    now += 4_999;
    expect(await cache.refetch('github', secret)).toBe(secret);
    expect(vault.reads).toHaveLength(2);
    now += 1;
    await cache.refetch('github', secret);
    expect(vault.reads).toHaveLength(3);
  });

  // Else a sandbox that provokes 401s would have a token minted for each.
  it('asks once per 5 s also where every read brings another value', async () => {
    let secret = await cache.get('github');
    for (let i = 0; i < 10; i++) {
      vault.says(`sesame-${i + 2}`);
      secret = await cache.refetch('github', secret);
    }
    expect(vault.reads).toHaveLength(2);
  });

  it('asks for nothing when the rejected value was replaced meanwhile', async () => {
    const old = await cache.get('github');
    now += 60_000;
    vault.says('sesame-2');
    const fresh = await cache.get('github');
    expect(await cache.refetch('github', old)).toBe(fresh);
    expect(vault.reads).toHaveLength(2);
  });

  it('joins a read that is under way', async () => {
    const secret = await cache.get('github');
    now += 60_000;
    const held = vault.holds();
    const both = [Promise.resolve(cache.get('github')), cache.refetch('github', secret)];
    held.resolve(new Secret('x', 'sesame-2'));
    expect((await Promise.all(both)).map(one => one.reveal())).toEqual(['sesame-2', 'sesame-2']);
    expect(vault.reads).toHaveLength(2);
  });

  it('leaves the value in use when the vault is down', async () => {
    const secret = await cache.get('github');
    vault.fails(new VaultError('unavailable', 'down'));
    await refused(cache.refetch('github', secret));
    expect(cache.get('github')).toBe(secret);
  });
});

describe('prefetch', () => {
  it('settles when some cannot be had', async () => {
    vault.fails(new VaultError('missing', 'gone'));
    await expect(cache.prefetch(['github', 'other', 'nobody'])).resolves.toBeUndefined();
    expect(vault.reads).toHaveLength(2);
  });
});

describe('reconfigure', () => {
  it('keeps a value whose ref is the same, for no longer than the new time allows', async () => {
    const secret = await cache.get('github');
    cache.reconfigure(sources(source('github', 'github', 1_000)));
    expect(cache.get('github')).toBe(secret);
    now += 1_000;
    await cache.get('github');
    expect(vault.reads).toHaveLength(2);
  });

  it('fetches anew where the ref changed, and still looks for the old value', async () => {
    await cache.get('github');
    const before = cache.version;
    vault.says('sesame-2');
    cache.reconfigure(sources(source('github', 'elsewhere')));
    expect((await cache.get('github')).reveal()).toBe('sesame-2');
    expect(values('github')).toEqual(['sesame-2', 'sesame-1']);
    expect(cache.version).not.toBe(before);
    expect(vault.reads.map(({ id }) => id)).toEqual(['github', 'elsewhere']);
  });

  it('gives out no credential that is gone, but looks for its value for an hour', async () => {
    await cache.get('github');
    cache.reconfigure(sources(source('other')));
    await refused(cache.get('github'));
    expect(values('github')).toEqual(['sesame-1']);
    now += 3_600_000;
    expect(values('github')).toEqual([]);
    cache.reconfigure(sources(source('other')));
    await refused(cache.get('github'));
  });

  it('asks at once again where a failure was remembered', async () => {
    vault.fails(new VaultError('missing', 'gone'));
    await refused(cache.get('github'));
    vault.says('sesame-1');
    cache.reconfigure(sources(source('github')));
    expect((await cache.get('github')).reveal()).toBe('sesame-1');
  });

  it('never hands out under the new ref what a read of the old one brings late', async () => {
    const held = vault.holds();
    const late = cache.get('github');
    cache.reconfigure(sources(source('github', 'elsewhere')));
    vault.says('sesame-2');
    const fresh = await cache.get('github');
    held.resolve(new Secret('x', 'sesame-1'));
    expect((await late).reveal()).toBe('sesame-1');
    expect(cache.get('github')).toBe(fresh);
    expect(fresh.reveal()).toBe('sesame-2');
    // Whoever waited uses the old value now: responses are searched for it.
    expect(values('github')).toEqual(['sesame-2', 'sesame-1']);
  });

  it('does not take a late failure of the old ref for one of the new', async () => {
    const held = vault.holds();
    const late = refused(cache.get('github'));
    cache.reconfigure(sources(source('github', 'elsewhere')));
    held.reject(new VaultError('missing', 'gone'));
    await late;
    vault.says('sesame-2');
    expect((await cache.get('github')).reveal()).toBe('sesame-2');
  });
});
