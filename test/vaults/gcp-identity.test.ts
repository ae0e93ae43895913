import { afterEach, expect, it, vi } from 'vitest';
import { type SecretRef, VaultError } from '../../src/types.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { closing } from '../e2e/scene.ts';
import { startHttp } from '../support/upstream.ts';
import { idToken, startGce } from '../support/upstreams/secret-manager.ts';

const AUDIENCE = 'https://api.corp.test/x';
const ref = (id = AUDIENCE, rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'gce', id, ...rest });
const read = (source = ref()) =>
  vaultTypes.build('gcp-identity', {}).read(source, AbortSignal.timeout(5_000));

afterEach(() => vi.unstubAllEnvs());

it('gives a token for the audience, and tells when it ends', async () => {
  const gce = closing(await startGce());
  vi.stubEnv('GCE_METADATA_HOST', gce.address);
  const secret = await read();
  expect(secret.reveal()).toBe(gce.issued[0]);
  expect(secret.version).toMatch(/^expires 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(gce.requests.map(({ url }) => url)).toEqual([
    '/computeMetadata/v1/instance/service-accounts/default/identity?audience=https%3A%2F%2Fapi.corp.test%2Fx&format=full',
  ]);
  gce.life = -5;
  await expect(read()).rejects.toThrow('has ended already');
});

it.each([
  ['another audience', idToken({ aud: 'https://other.test', exp: 4_000_000_000 })],
  ['no end', idToken({ aud: AUDIENCE })],
  ['no JWT', 'sesame'],
  ['no claims', 'eyJ9.sesame.x'],
])('refuses a token of %s', async (_, token) => {
  const server = closing(
    await startHttp({}, (_request, response) => {
      response.setHeader('metadata-flavor', 'Google');
      response.end(token);
    }),
  );
  vi.stubEnv('GCE_METADATA_HOST', server.address);
  const error: unknown = await read().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(VaultError);
  expect((error as VaultError).message).toBe(
    `gce:${AUDIENCE}: the metadata server gave no token for this audience`,
  );
});

it.each([
  [ref(AUDIENCE, { version: '1' }), 'has no versions and fields'],
  [ref(AUDIENCE, { field: 'x' }), 'has no versions and fields'],
  [ref('a b'), 'is not an audience'],
])('refuses the ref %j', async (source, words) => {
  await expect(read(source)).rejects.toThrow(words);
});
