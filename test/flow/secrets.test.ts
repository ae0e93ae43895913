import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { Metrics } from '../../src/audit/metrics.ts';
import type { Compiled } from '../../src/config/types.ts';
import { Secrets } from '../../src/flow/secrets.ts';
import { Secret } from '../../src/secret.ts';
import type { Log, Session, Vault } from '../../src/types.ts';

/** Names of leased secrets; a further one of a minted credential is `<credential>/<option>`. */
const LEASED = ['db', 'api/client_secret', 'spare'];

/** What is given back when a session ends, while these are known still. */
async function released(known: readonly Partial<Session>[]): Promise<string[]> {
  const given: string[] = [];
  const vault: Vault = {
    read: async ({ id }) => new Secret(id, `sesame-${id}`),
    isLeased: () => true,
    release: async id => void given.push(id),
  };
  const compiled = {
    config: { vaults: new Map() },
    vaults: new Map([['v', vault]]),
    sources: new Map(LEASED.map(name => [name, { name, ref: { vault: 'v', id: name }, ttlMs: 60_000 }])),
    mints: new Map(),
    profiles: new Map([
      ['base', { credentials: ['db'] }],
      ['minting', { credentials: ['api'] }],
    ]),
  } as unknown as Compiled;
  let end: (session: Session) => void = () => {};
  const secrets = new Secrets(compiled, {
    metrics: { fetched: () => {} } as unknown as Metrics,
    log: new Proxy({} as Log, { get: () => () => {} }),
    dial: () => Promise.reject(new Error('nobody is dialled here')),
    sessions: {
      list: () => known as Session[],
      onEnd: listener => {
        end = listener;
        return () => {};
      },
    },
    store: undefined,
  });
  onTestFinished(() => secrets.close());
  end({ profile: 'base' } as Session);
  await vi.waitFor(() => expect(given).toContain('spare'));
  return given;
}

describe('when a session ends', () => {
  const expiresAt = Date.now() + 60_000;

  it.each([
    ['no other is there', [], ['db', 'api/client_secret', 'spare']],
    ['another uses its profile', [{ profile: 'base', expiresAt }], ['api/client_secret', 'spare']],
    ['another may mint from it', [{ profile: 'minting', expiresAt }], ['db', 'spare']],
    ['another was revoked', [{ profile: 'base', expiresAt, revokedAt: 1 }], LEASED],
    ['another has ended, which nobody noticed yet', [{ profile: 'base', expiresAt: 1 }], LEASED],
  ])('what no live one may use is given back: %s', async (_, known, expected) => {
    expect((await released(known)).toSorted()).toEqual(expected.toSorted());
  });
});
