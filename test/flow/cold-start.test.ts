import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Profile } from '../../src/config/types.ts';
import { Keyring } from '../../src/flow/keyring.ts';
import type { Secrets } from '../../src/flow/secrets.ts';
import { MintCache } from '../../src/mint/cache.ts';
import type { Log } from '../../src/types.ts';
import { type CredentialSource, SecretCache } from '../../src/vaults/cache.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { closing } from '../e2e/scene.ts';
import { sessionOf } from '../inject/make.ts';
import { tempFolder } from '../support/temp.ts';
import { startVault } from '../support/upstreams/vault.ts';

const ROLE = 'database/creds/readonly';
const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

test('ten thousand requests at once read a secret, and make a lease, once', async () => {
  const server = closing(
    await startVault({ secrets: { a: [{ token: 'sesame-token' }] }, dynamic: { [ROLE]: { seconds: 3600 } } }),
  );
  const secretId = join(tempFolder('cold'), 'secret-id');
  writeFileSync(secretId, 'sesame-secret-id', { mode: 0o600 });
  const vault = vaultTypes.build('hashicorp-vault', {
    address: `http://${server.address}`,
    auth: { method: 'approle', role_id: 'role-1', secret_id_file: secretId },
    dynamic: ['database'],
  });
  const source = (name: string, id: string, field: string): CredentialSource => ({
    name,
    ref: { vault: 'corp', id, field },
    ttlMs: 60_000,
  });
  const list = [
    source('a', 'a', 'token'),
    source('user', ROLE, 'username'),
    source('word', ROLE, 'password'),
  ];
  const vaulted = new SecretCache({
    credentials: new Map(list.map(one => [one.name, one])),
    vaults: new Map([['corp', vault]]),
  });
  const mints = new MintCache({ mints: new Map(), vaulted, dial: () => Promise.reject(new Error()), log });
  const keyring = new Keyring({ vaulted, mints } as Secrets, [], log);
  const names = list.map(({ name }) => name);
  const profile = {
    name: 'default',
    credentials: names,
    vaulted: names,
    placements: new Map(),
  } as unknown as Profile;
  const sessions = Array.from({ length: 10_000 }, () => sessionOf({ a: 'stub' }));

  await Promise.all(sessions.map(async session => keyring.open(profile, names, session)));
  const [word, ...others] = new Set(sessions.map(session => keyring.secret('word', session)));
  expect([word?.reveal(), others]).toEqual([server.leases[0]?.password, []]);
  expect(server.asked().toSorted()).toEqual([
    `GET /v1/${ROLE}`,
    'GET /v1/secret/data/a',
    'POST /v1/auth/approle/login',
  ]);
  expect(server.leases).toHaveLength(1);
  vaulted.close();
  await vault.close?.(AbortSignal.timeout(5_000));
});
