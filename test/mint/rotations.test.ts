import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { MintCache } from '../../src/mint/cache.ts';
import { minters } from '../../src/mint/index.ts';
import { Rotations } from '../../src/mint/rotations.ts';
import { Secret } from '../../src/secret.ts';
import { type Log, VaultError } from '../../src/types.ts';
import { type OneState, openOne, options } from '../state/redis/states.ts';
import { canary, leaks } from '../support/canary.ts';
import { dump, hasRedis, startRedis, tap, type TestRedis, until } from '../support/redis.ts';
import { principal, source } from './desk.ts';

/** An issuer that takes a refresh token once only; whoever shows one twice has lost all that came of it (RFC 9700, section 4.14.2). */
class Issuer {
  readonly used: string[] = [];
  readonly reused: string[] = [];
  current: string;
  /** Called before it answers. */
  before: () => Promise<unknown> = () => Promise.resolve();
  rotates = true;
  readonly #server: Server;

  constructor(first: string) {
    this.current = first;
    this.#server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on(
        'end',
        () =>
          void this.#answer(body).then(([status, json]) => {
            response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
          }),
      );
    });
  }

  async start(): Promise<string> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/token`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(body: string): Promise<[number, object]> {
    const shown = new URLSearchParams(body).get('refresh_token') ?? '';
    if (this.rotates && this.used.includes(shown)) this.reused.push(shown);
    if (shown !== this.current || this.reused.length > 0) return [400, { error: 'invalid_grant' }];
    this.used.push(shown);
    const more = this.rotates ? { refresh_token: (this.current = canary('rt_')) } : {};
    await this.before();
    return [200, { access_token: canary('at_'), expires_in: 600, token_type: 'bearer', ...more }];
  }
}

describe.skipIf(!hasRedis)('a refresh token that gates share', () => {
  let redis: TestRedis;
  let first: string;
  let issuer: Issuer;
  let url: string;
  const log = new Proxy({} as Log, { get: () => () => {} });

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());
  beforeEach(async () => {
    redis.signal('SIGCONT');
    await redis.admin.flushall();
    first = canary('rt_');
    issuer = new Issuer(first);
    url = await issuer.start();
    onTestFinished(() => issuer.close());
  });

  const state = (): Promise<OneState> => openOne(options(redis.port));

  /** What one gate has. */
  function gate(of: OneState, vaulted = first, waitMs = 10_000, settleMs = 50): MintCache {
    const secret = new Secret('api', vaulted);
    if (!of.store) throw new Error('no store');
    return new MintCache({
      mints: new Map([
        ['api', source(minters.build('oauth2', { grant: 'refresh_token', token_url: url, client_id: 'me' }))],
      ]),
      vaulted: { get: () => secret, refetch: async () => secret },
      dial: () => Promise.reject(new Error('only loopback is dialled here')),
      rotations: new Rotations({ store: of.store, log, waitMs, settleMs }),
      log,
    });
  }

  const minted = async (cache: MintCache): Promise<string> => (await cache.get('api', principal())).reveal();

  const failure = async (cache: MintCache): Promise<string> =>
    minted(cache).then(
      () => 'none',
      (error: unknown) => ((error as Error).cause as VaultError).message,
    );

  test('twelve gates at once never show one twice, and each has a token', async () => {
    const states = await Promise.all([state(), state(), state()]);
    const gates = Array.from({ length: 12 }, (_, i) => gate(states[i % 3] as OneState));
    const tokens = await Promise.all(gates.map(minted));
    expect(new Set(tokens).size).toBe(12);
    expect(issuer.reused).toEqual([]);
    expect(issuer.used).toHaveLength(12);
    expect(issuer.used[0]).toBe(first);
  });

  test('a gate that starts anew finds the newest', async () => {
    for (let i = 0; i < 5; i++) await minted(gate(await state()));
    expect(issuer.used).toHaveLength(5);
    expect(issuer.reused).toEqual([]);
  });

  test('without Redis none is shown', async () => {
    const one = gate(await state());
    redis.signal('SIGSTOP');
    expect(await failure(one)).toContain('the shared state does not answer');
    expect(issuer.used).toEqual([]);
  });

  test('while another gate has its turn none is shown, and a gate that died in it stops nobody for ever', async () => {
    const [one, other] = [await state(), await state()];
    let release: (value?: unknown) => void = () => {};
    issuer.before = () => new Promise(resolve => (release = resolve));
    const under = minted(gate(one));
    await until('it is asked', () => issuer.used.length === 1);
    expect(await failure(gate(other, first, 200))).toContain('another gate uses it for too long');
    expect(issuer.used).toHaveLength(1);
    for (const key of await redis.admin.keys('{stubgate}:lock:*')) {
      expect(await redis.admin.pttl(key)).toBeGreaterThan(0);
      expect(await redis.admin.pttl(key)).toBeLessThanOrEqual(25_000);
    }
    issuer.before = () => Promise.resolve();
    release();
    await under;
    await minted(gate(other));
    expect(issuer.reused).toEqual([]);
  });

  test('what could not be written while Redis was away is written when it is back', async () => {
    const [one, other] = [await state(), await state()];
    issuer.before = async () => redis.signal('SIGSTOP');
    await minted(gate(one));
    issuer.before = () => Promise.resolve();
    redis.signal('SIGCONT');
    await until('it goes on', () => one.sessions.healthy && other.sessions.healthy);
    // The lock of the turn that could not be given back ends by itself; here somebody takes it away.
    await until('it is written', async () => (await redis.admin.keys('{stubgate}:blob:*')).length === 1);
    await redis.admin.del(...(await redis.admin.keys('{stubgate}:lock:*')), 'nothing');
    await minted(gate(other));
    expect(issuer.reused).toEqual([]);
    expect(issuer.used).toHaveLength(2);
  });

  test('a Redis that has lost it gets it back from the gate that knows the newest', async () => {
    const [one, other] = [await state(), await state()];
    const [newest, older] = [gate(one), gate(other)];
    await minted(older);
    await minted(newest);
    await redis.admin.flushall();
    await until('it is back', async () => (await redis.admin.keys('{stubgate}:blob:*')).length === 1, 3000);
    await minted(gate(other));
    expect(issuer.reused).toEqual([]);
    expect(issuer.used).toHaveLength(3);
  });

  test('a full Redis takes what was rotated, all the same', async () => {
    const [one, other] = [await state(), await state()];
    issuer.before = () => redis.admin.config('SET', 'maxmemory', '1mb');
    onTestFinished(async () => void (await redis.admin.config('SET', 'maxmemory', '0')));
    await minted(gate(one));
    issuer.before = () => Promise.resolve();
    expect(await failure(gate(other))).toContain('the shared state does not answer');
    await redis.admin.config('SET', 'maxmemory', '0');
    await minted(gate(other));
    expect(issuer.reused).toEqual([]);
  });

  test('another secret in the vault begins anew, and does not disturb what gates do that still have the old one', async () => {
    const [one, other] = [await state(), await state()];
    await minted(gate(one));
    const before = issuer.current;
    issuer.current = canary('rt_');
    const replaced = issuer.current;
    await minted(gate(one, replaced));
    expect(issuer.used.at(-1)).toBe(replaced);
    issuer.current = before;
    await minted(gate(other));
    expect(issuer.reused).toEqual([]);
  });

  test('what a later turn wrote is not undone by one that was late', async () => {
    const { store } = await state();
    const [early, late] = [await store?.lock('x', 50), undefined];
    await until('it has ended', async () => (await redis.admin.keys('{stubgate}:lock:*')).length === 0);
    const next = await store?.lock('x', 1000);
    expect(next?.fence).toBeGreaterThan(early?.fence ?? Number.POSITIVE_INFINITY);
    expect(await store?.put('x', 'newer', 1000, next?.fence ?? 0)).toBe(true);
    expect(await store?.put('x', 'older', 1000, early?.fence ?? 0)).toBe(false);
    expect(await store?.get('x')).toBe('newer');
    // Nor does it give back a lock that is not its own any more.
    await early?.release();
    expect(await store?.lock('x', 1000)).toBe(late);
  });

  test('an issuer that does not rotate makes nobody wait more than once', async () => {
    issuer.rotates = false;
    const one = await state();
    await minted(gate(one, first, 10_000, 400));
    const from = performance.now();
    for (let i = 0; i < 3; i++) await minted(gate(one, first, 10_000, 400));
    expect(performance.now() - from).toBeLessThan(400);
    expect(issuer.used).toEqual([first, first, first, first]);
  });

  test('no secret stands in Redis, or goes there, in any spelling', async () => {
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    const one = await state();
    await minted(gate(one));
    await minted(gate(one));
    const said = `${tapped.text}${await dump(redis)}`;
    expect(said).toContain('{stubgate}:blob:');
    for (const secret of [first, ...issuer.used, issuer.current]) expect(leaks(said, secret)).toEqual([]);
  });
});
