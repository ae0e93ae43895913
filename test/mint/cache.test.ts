import { beforeEach, describe, expect, it } from 'vitest';
import type { Material, Minter, Token } from '../../src/mint/minter.ts';
import { Secret } from '../../src/secret.ts';
import { type Principal, VaultError } from '../../src/types.ts';
import { type Desk, openDesk, principal, source } from './desk.ts';

const HOUR = 3_600_000;
const START = 1_000_000;

/** Mints `token-1`, `token-2`, … for the label `repo`; what it does instead is the test's. */
class TestMinter implements Minter {
  rotates = false;
  readonly scopes: string[] = [];
  readonly from: string[] = [];
  lifeMs = HOUR;
  instead: ((material: Material) => Promise<Token>) | undefined;
  /** Mints under way, and the most there were at a time. */
  running = 0;
  most = 0;

  scope(who: Principal): string {
    return who.labels['repo'] ?? '';
  }

  async mint(scope: string, material: Material): Promise<Token> {
    this.scopes.push(scope);
    this.from.push(material.from.reveal());
    const number = this.scopes.length;
    this.most = Math.max(this.most, ++this.running);
    try {
      if (this.instead) return await this.instead(material);
      return { secret: new Secret('token', `token-${number}`), expiresAt: material.now + this.lifeMs };
    } finally {
      this.running--;
    }
  }

  /** The next mint waits until it is told. */
  holds(): PromiseWithResolvers<Token> {
    const held = Promise.withResolvers<Token>();
    this.instead = () => held.promise;
    return held;
  }

  fails(kind: VaultError['kind'] = 'unavailable'): void {
    this.instead = () => Promise.reject(new VaultError(kind, 'the issuer says no'));
  }
}

let minter: TestMinter;
let desk: Desk;

const some = principal();
const text = async (who: Principal = some): Promise<string> => (await desk.get(who)).reveal();
const known = (who: Principal = some): string[] =>
  desk.cache.known(['api'], who).map(secret => secret.reveal());

beforeEach(() => {
  minter = new TestMinter();
  desk = openDesk(minter);
  desk.now = START;
});

describe('get', () => {
  it('gives one token to all who ask while it is minted, and at once afterwards', async () => {
    const held = minter.holds();
    const all = Promise.all([text(), text(), text(principal('other'))]);
    held.resolve({ secret: new Secret('token', 'token-x'), expiresAt: START + HOUR });
    expect(await all).toEqual(['token-x', 'token-x', 'token-x']);
    expect(minter.scopes).toHaveLength(1);
    expect(desk.cache.get('api', some)).toBeInstanceOf(Secret);
    expect(desk.minted).toEqual(['test: true']);
  });

  it('replaces a token a minute before its end, without anybody waiting at first', async () => {
    await text();
    desk.now = START + HOUR - 60_001;
    expect(await text()).toBe('token-1');
    expect(minter.scopes).toHaveLength(1);
    desk.now++;
    expect(desk.cache.get('api', some)).toMatchObject({ name: 'api' });
    await expect.poll(() => desk.minted).toHaveLength(2);
    expect(await text()).toBe('token-2');
  });

  it('waits for the next token when the last one is about to end', async () => {
    await text();
    desk.now = START + HOUR - 30_000;
    expect(await text()).toBe('token-2');
  });

  it('replaces a short token in the last fifth of its life', async () => {
    minter.lifeMs = 10_000;
    await text();
    desk.now = START + 7_999;
    expect(await text()).toBe('token-1');
    desk.now = START + 9_000;
    expect(await text()).toBe('token-2');
  });

  it('serves with a token until its end while the issuer fails', async () => {
    await text();
    minter.fails();
    desk.now = START + HOUR - 1;
    expect(await text()).toBe('token-1');
    expect(await text()).toBe('token-1');
    desk.now++;
    expect((await desk.refusal()).message).toBe('the issuer says no');
  });

  it('reads the vault for every mint, and needs it for no other request', async () => {
    await text();
    await text();
    expect(desk.reads).toEqual(['api']);
    desk.vault.clear();
    expect(await text()).toBe('token-1');
    desk.now = START + HOUR;
    expect((await desk.refusal()).message).toBe('api is not there');
  });

  it('tells only the kind of an error that is not its own', async () => {
    minter.instead = () => Promise.reject(new TypeError('from-the-vault-1 is odd'));
    expect((await desk.refusal()).message).toBe('credential "api": minting failed with TypeError');
    expect(desk.told()).not.toContain('from-the-vault-1');
  });

  it('refuses a session for which no request can be made, without asking anybody', async () => {
    minter.scope = () => {
      throw new VaultError('missing', 'no label');
    };
    expect((await desk.refusal()).message).toBe('no label');
    expect(desk.reads).toEqual([]);
    expect(known()).toEqual([]);
  });

  it('runs mints that replace their secret one after the other, failed ones too', async () => {
    minter.rotates = true;
    minter.instead = async ({ from, rotate, now }) => {
      await new Promise(setImmediate);
      if (minter.scopes.length === 2) throw new VaultError('unavailable', 'busy');
      rotate(new Secret('next', `${from.reveal()}+`));
      return { secret: new Secret('token', `token-${minter.scopes.length}`), expiresAt: now + HOUR };
    };
    const who = ['a', 'b', 'c'].map(repo => principal(repo, { repo }));
    const done = await Promise.allSettled(who.map(text));
    expect(done.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(minter.most).toBe(1);
    expect(minter.from).toEqual(['from-the-vault-1', 'from-the-vault-1+', 'from-the-vault-1+']);
  });
});

describe('remint', () => {
  it('mints once for all who were refused, and not again for a while', async () => {
    const first = await desk.get();
    const all = await Promise.all([1, 2, 3].map(() => desk.cache.remint('api', some, first)));
    expect(all.map(secret => secret.reveal())).toEqual(['token-2', 'token-2', 'token-2']);
    expect((await desk.cache.remint('api', some, first)).reveal()).toBe('token-2');
    const second = await desk.get();
    desk.now = START + 4_999;
    expect(await desk.cache.remint('api', some, second)).toBe(second);
    desk.now++;
    expect((await desk.cache.remint('api', some, second)).reveal()).toBe('token-3');
  });

  it('mints less and less often for an upstream that always says 401, until a new token is due', async () => {
    let minted = await desk.get();
    const at: number[] = [];
    for (let second = 0; second < 3_500; second++) {
      desk.now = START + second * 1_000;
      const next = await desk.cache.remint('api', some, minted);
      if (next !== minted) at.push(second);
      minted = next;
    }
    expect(at).toEqual([0, 5, 15, 35, 75, 155, 315, 635, 1_275, 2_555]);
    // All of them still work.
    expect(known()).toHaveLength(11);
    desk.now = START + 2 * HOUR;
    minted = await desk.get();
    expect(await desk.cache.remint('api', some, minted)).not.toBe(minted);
  });

  it('gives the refused token again if there is no other', async () => {
    const first = await desk.get();
    minter.fails();
    expect(await desk.cache.remint('api', some, first)).toBe(first);
  });
});

describe('known', () => {
  it('holds a replaced token for an hour, and a version tells of each change', async () => {
    const { version } = desk.cache;
    const first = await desk.get();
    expect(desk.cache.version).not.toBe(version);
    const before = desk.cache.version;
    await desk.cache.remint('api', some, first);
    expect(desk.cache.version).not.toBe(before);
    expect(known()).toEqual(['token-2', 'token-1']);
    desk.now = START + HOUR - 1;
    expect(known()).toContain('token-1');
    desk.now++;
    expect(known()).toEqual(['token-2']);
  });

  it('holds the newest 16 of tokens that have ended', async () => {
    minter.lifeMs = 1_000;
    for (let i = 0; i < 100; i++) {
      await text();
      desk.now = START + (i + 1) * 1_000;
    }
    expect(known()).toEqual(['token-100', ...Array.from({ length: 16 }, (_, i) => `token-${84 + i}`)]);
  });

  it('holds a replaced token that lives longer until it ends', async () => {
    minter.lifeMs = 2 * HOUR;
    await desk.cache.remint('api', some, await desk.get());
    desk.now = START + 2 * HOUR - 1;
    expect(known()).toContain('token-1');
  });

  it('is of the session’s own tokens, and of those that it would be given', async () => {
    const [a, alsoA, b] = [
      principal('1', { repo: 'a' }),
      principal('2', { repo: 'a' }),
      principal('3', { repo: 'b' }),
    ];
    await text(a);
    await text(b);
    expect(known(a)).toEqual(['token-1']);
    expect(known(alsoA)).toEqual(['token-1']);
    expect(known(b)).toEqual(['token-2']);
    expect(known(principal('4', { repo: 'c' }))).toEqual([]);
  });

  it('keeps what a session was given when there are more tokens than are kept for new sessions', async () => {
    const first = principal('first', { repo: 'first' });
    await text(first);
    for (let i = 0; i < 1000; i++) await text(principal(`${i}`, { repo: `${i}` }));
    expect(known(first)).toEqual(['token-1']);
    expect(await text(first)).toBe('token-1');
    expect(desk.cache.current('api', first)?.reveal()).toBe('token-1');
    // Another session with those labels gets a token of its own.
    const same = principal('same', { repo: 'first' });
    expect(await text(same)).toBe('token-1002');
    expect(known(same)).toEqual(['token-1002']);
  });
});

describe('a new configuration', () => {
  const take = (...sources: ReturnType<typeof source>[]): void =>
    desk.cache.reconfigure(new Map(sources.map(one => [one.name, one])));

  it('leaves a token in use if nothing about it changed', async () => {
    await text();
    take(source(new TestMinter()));
    expect(await text()).toBe('token-1');
  });

  it('forgets a failure', async () => {
    minter.fails();
    await desk.refusal();
    minter.instead = undefined;
    take(source(minter));
    expect(await text()).toBe('token-2');
  });

  it('mints anew if something changed; the old token is looked for, in sessions that were never given it too', async () => {
    await text();
    const other = new TestMinter();
    take(source(other, '2'));
    expect(known(principal('other'))).toEqual(['token-1']);
    other.instead = async ({ now }) => ({ secret: new Secret('token', 'other-1'), expiresAt: now + HOUR });
    expect(await text()).toBe('other-1');
    expect(known().toSorted()).toEqual(['other-1', 'token-1']);
  });

  it('mints nothing for a credential that is gone; its token is looked for', async () => {
    await text();
    take();
    expect((await desk.refusal()).message).toBe('credential "api" is not minted');
    expect(known()).toEqual(['token-1']);
    expect(known(principal('other'))).toEqual(['token-1']);
    desk.now = START + 2 * HOUR;
    take();
    expect(known(principal('other'))).toEqual([]);
  });

  it('looks for a token that comes after it', async () => {
    const held = minter.holds();
    const late = text();
    take(source(new TestMinter(), '2'));
    held.resolve({ secret: new Secret('token', 'late-token'), expiresAt: START + HOUR });
    expect(await late).toBe('late-token');
    expect(known()).toContain('late-token');
  });

  it('keeps what the issuer put in place of the vault’s secret', async () => {
    minter.rotates = true;
    minter.instead = async ({ rotate, now }) => {
      rotate(new Secret('next', 'rotated-1'));
      return { secret: new Secret('token', 'token-x'), expiresAt: now + HOUR };
    };
    await text();
    const other = new TestMinter();
    take(source(other, '2'));
    await text();
    expect(other.from).toEqual(['rotated-1']);
    expect(known(principal('other'))).toContain('rotated-1');
  });
});
