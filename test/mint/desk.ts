import { inspect } from 'node:util';
import type { Refusal } from '../../src/errors.ts';
import { MintCache } from '../../src/mint/cache.ts';
import { minters, REF_KEYS } from '../../src/mint/index.ts';
import type { Minter, MintSource } from '../../src/mint/minter.ts';
import { Secret } from '../../src/secret.ts';
import { type Log, type Principal, VaultError } from '../../src/types.ts';

export const principal = (session = 's', labels: Readonly<Record<string, string>> = {}): Principal => ({
  session,
  profile: 'default',
  labels,
});

export const source = (minter: Minter, id = '1', further: readonly string[] = []): MintSource => ({
  name: 'api',
  type: 'test',
  minter,
  isVaulted: true,
  id,
  further: new Map(further.map(option => [option, `api/${option}`])),
  ttlMs: 300_000,
});

/** A cache with one minted credential, `api`, whose vault and clock are the test's. */
export interface Desk {
  readonly cache: MintCache;
  /** Name → value in the vault. */
  readonly vault: Map<string, string>;
  /** Names that were read from the vault. */
  readonly reads: string[];
  /** ms since the epoch; the real one until it is set. */
  now: number | undefined;
  /** Everything that was logged, and thrown to the callers of `refusal`. */
  told(): string;
  /** `type: done` of each mint. */
  readonly minted: string[];
  get(who?: Principal): Promise<Secret>;
  /** What the operator is told of a `get` that fails. */
  refusal(who?: Principal): Promise<VaultError>;
}

export function openDesk(of: Minter | MintSource, timeoutMs = 10_000): Desk {
  const vault = new Map([['api', 'from-the-vault-1']]);
  const reads: string[] = [];
  const minted: string[] = [];
  const told: unknown[] = [];
  const read = async (name: string): Promise<Secret> => {
    reads.push(name);
    const value = vault.get(name);
    if (value === undefined) throw new VaultError('missing', `${name} is not there`);
    return new Secret(name, value);
  };
  const log = new Proxy({} as Log, {
    get:
      () =>
      (...said: unknown[]) =>
        told.push(said),
  });
  const one = 'minter' in of ? of : source(of);
  const clock: { now: number | undefined } = { now: undefined };
  const desk: Desk = {
    vault,
    reads,
    minted,
    get now() {
      return clock.now;
    },
    set now(now) {
      clock.now = now;
    },
    told: () => inspect(told, { depth: 12 }),
    cache: new MintCache({
      mints: new Map([['api', one]]),
      vaulted: { get: read, refetch: read },
      dial: () => Promise.reject(new Error('only loopback is dialled here')),
      now: () => clock.now ?? Date.now(),
      log,
      onMint: (type, done) => minted.push(`${type}: ${done}`),
      timeoutMs,
    }),
    get: async (who = anybody) => desk.cache.get('api', who),
    refusal: async (who = anybody) => {
      const refusal = await desk.get(who).then(
        () => Promise.reject(new Error('there is a token')),
        (error: unknown) => error as Refusal,
      );
      told.push(refusal);
      if (refusal.code !== 'credential_unavailable') throw refusal;
      return refusal.cause as VaultError;
    },
  };
  return desk;
}

const anybody = principal();

/** A desk whose minter is built as the configuration would. */
export function deskOf(type: string, options: object, timeoutMs?: number): Desk {
  const further = REF_KEYS.filter(key => key in options);
  return openDesk(source(minters.build(type, options), '1', further), timeoutMs);
}
