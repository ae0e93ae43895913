import { constants, createHash, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { minters } from '../../src/mint/index.ts';
import { fieldToSecret } from '../../src/vaults/field.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { closing } from '../e2e/scene.ts';
import { canary } from '../support/canary.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import { serviceAccount } from '../support/upstreams/secret-manager.ts';
import { deskOf } from './desk.ts';
import { type Json, reply, verified } from './github.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const SHA1 = createHash('sha1').update('certificate').digest('hex');
const SHA256 = createHash('sha256').update('certificate').digest('hex');
const base64url = (hex: string): string => Buffer.from(hex, 'hex').toString('base64url');
const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

async function server() {
  const token = canary('at_');
  const upstream = closing(
    await startHttp({}, (_, response) =>
      reply(response, 200, { access_token: token, token_type: 'Bearer', expires_in: 600 }),
    ),
  );
  const form = () => Object.fromEntries(new URLSearchParams(upstream.requests[0]?.body.toString()));
  return { token, upstream, form, url: `http://${upstream.address}/tenant/oauth2/v2.0/token` };
}

it.each([
  ['RS256', rsa, { certificate_thumbprint: SHA1 }, { x5t: base64url(SHA1) }],
  ['PS256', rsa, { certificate_thumbprint: SHA256.toUpperCase() }, { 'x5t#S256': base64url(SHA256) }],
  ['RS256', rsa, { key_id: 'k1' }, { kid: 'k1' }],
  ['ES256', ec, { key_id: 'k1' }, { kid: 'k1' }],
] as const)('proves the client by an assertion (%s, %#)', async (algorithm, pair, options, named) => {
  const { upstream, form, url, token } = await server();
  const desk = deskOf('oauth2', {
    grant: 'client_credentials',
    token_url: url,
    client_id: 'app-1',
    client_auth: 'private_key_jwt',
    scope: 'https://vault.azure.net/.default',
    ...options,
  });
  desk.vault.set('api', pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  expect((await desk.get()).reveal()).toBe(token);
  const { client_assertion: assertion = '', ...others } = form();
  expect(others).toEqual({
    grant_type: 'client_credentials',
    scope: 'https://vault.azure.net/.default',
    client_id: 'app-1',
    client_assertion_type: TYPE,
  });
  expect(upstream.requests[0]?.headers.authorization).toBeUndefined();
  const key = createPublicKey(pair.privateKey);
  const { header, claims } =
    algorithm === 'PS256' ? pssVerified(assertion, key) : verified(assertion, key, algorithm);
  expect(header).toEqual({ alg: algorithm, typ: 'JWT', ...named });
  const { iat, nbf, exp, jti, ...said } = claims as Record<string, number | string>;
  expect(said).toEqual({ iss: 'app-1', sub: 'app-1', aud: url });
  expect(nbf).toBe(iat);
  expect(Number(exp) - Number(iat)).toBe(600);
  expect(jti).toMatch(/^[0-9a-f-]{36}$/);
});

it('proves the client of a refresh token with the key that client_secret names', async () => {
  const { form, url } = await server();
  const desk = deskOf('oauth2', {
    grant: 'refresh_token',
    token_url: url,
    client_id: 'app-1',
    client_secret: 'env:KEY',
    client_auth: 'private_key_jwt',
  });
  desk.vault.set('api/client_secret', ec.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await desk.get();
  expect(form()).toMatchObject({ refresh_token: 'from-the-vault-1', client_assertion_type: TYPE });
  verified(form()['client_assertion'] ?? '', createPublicKey(ec.privateKey), 'ES256');
});

it('signs for a Google service account with the field of its key file', async () => {
  const { form, url, token } = await server();
  const account = serviceAccount();
  const file = join(tempFolder('robot'), 'robot.json');
  writeFileSync(file, account.json, { mode: 0o600 });
  const scope = 'https://www.googleapis.com/auth/devstorage.read_only';
  const desk = deskOf('oauth2', {
    grant: 'jwt-bearer',
    token_url: url,
    client_id: account.email,
    key_id: 'key-1',
    scope,
  });
  const ref = { vault: 'file', id: file, field: 'private_key' };
  const secret = await vaultTypes.build('file', {}).read(ref, AbortSignal.timeout(5_000));
  expect(secret.reveal()).toBe(
    fieldToSecret(ref, JSON.parse(account.json) as object, 'private_key').reveal(),
  );
  desk.vault.set('api', secret.reveal());
  expect((await desk.get()).reveal()).toBe(token);
  const { assertion = '', grant_type: grant } = form();
  expect(grant).toBe('urn:ietf:params:oauth:grant-type:jwt-bearer');
  const { header, claims } = verified(assertion, account.publicKey);
  expect(header).toEqual({ alg: 'RS256', typ: 'JWT', kid: 'key-1' });
  expect(claims).toMatchObject({ iss: account.email, aud: url, scope });
});

it.each([
  [{ grant: 'client_credentials', certificate_thumbprint: SHA1 }, 'is for private_key_jwt only'],
  [{ grant: 'client_credentials', key_id: 'k' }, 'is for jwt-bearer and private_key_jwt only'],
  [
    { grant: 'client_credentials', client_auth: 'private_key_jwt', certificate_thumbprint: 'ab:cd' },
    'is not a thumbprint',
  ],
])('refuses the options %j', (options, words) => {
  const base = { token_url: 'https://issuer.test/token', client_id: 'me' };
  expect(() => minters.build('oauth2', { ...base, ...options })).toThrow(words);
});

function pssVerified(jwt: string, key: ReturnType<typeof createPublicKey>): { header: Json; claims: Json } {
  const [header = '', claims = '', signature = ''] = jwt.split('.');
  const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  expect(verify('sha256', Buffer.from(`${header}.${claims}`), pss, Buffer.from(signature, 'base64url'))).toBe(
    true,
  );
  const read = (part: string): Json => JSON.parse(Buffer.from(part, 'base64url').toString()) as Json;
  return { header: read(header), claims: read(claims) };
}
