import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import type { Vault, VaultError } from '../../src/types.ts';
import { envNames } from '../../src/vaults/env.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { isolateAws, useKeys } from '../support/aws-environment.ts';
import { type AwsKeys, awsKeys } from '../support/upstreams/aws.ts';
import { startVault, type VaultAws, type VaultServer } from '../support/upstreams/vault.ts';

beforeEach(() => isolateAws());
afterEach(() => vi.unstubAllEnvs());

const REF = { vault: 'corp', id: 'ci/github', field: 'token' };

async function server(keys: AwsKeys, more: Partial<VaultAws> = {}): Promise<VaultServer> {
  const aws = { keys: new Map([[keys.AccessKeyId, keys]]), ...more };
  const started = await startVault({ secrets: { 'ci/github': [{ token: 'sesame-1' }] }, aws });
  onTestFinished(() => started.close());
  return started;
}

function vaultAt({ address }: VaultServer, auth: object = {}): Vault {
  return vaultTypes.build('hashicorp-vault', {
    address: `http://${address}`,
    auth: { method: 'aws', role: 'stubgate', ...auth },
  });
}

const read = async (vault: Vault): Promise<string> =>
  (await vault.read(REF, AbortSignal.timeout(10_000))).reveal();

async function failure(vault: Vault): Promise<VaultError> {
  return vault.read(REF, AbortSignal.timeout(10_000)).then(
    () => expect.unreachable(),
    (error: unknown) => error as VaultError,
  );
}

it.each([
  ['the global STS', {}, {}, false],
  ['a region', { region: 'eu-west-1' }, { region: 'eu-west-1' }, false],
  ['a server id', { server_id: 'vault.corp' }, { serverId: 'vault.corp' }, false],
  ['keys with a session token', { region: 'eu-west-1' }, { region: 'eu-west-1' }, true],
] as const)('logs in with a signed GetCallerIdentity: %s', async (_, auth, setup, temporary) => {
  const keys = awsKeys(temporary);
  useKeys(keys);
  const vault = await server(keys, setup);
  expect(await read(vaultAt(vault, auth))).toBe('sesame-1');
  expect(vault.iamFaults).toEqual(['none']);
  const [login] = vault.requests;
  expect(login).toMatchObject({ method: 'POST', url: '/v1/auth/aws/login' });
  const sent = JSON.parse(String(login?.body)) as Record<string, string>;
  for (const text of [
    ...Object.values(sent),
    Buffer.from(sent['iam_request_headers'] ?? '', 'base64').toString(),
  ])
    expect(text).not.toContain(keys.SecretAccessKey);
});

it('asks no STS, wherever AWS_ENDPOINT_URL leads, and signs for AWS’s own', async () => {
  const keys = awsKeys();
  useKeys(keys);
  const vault = await server(keys);
  vi.stubEnv('AWS_ENDPOINT_URL', 'http://127.0.0.1:1');
  vi.stubEnv('AWS_ENDPOINT_URL_STS', 'http://127.0.0.1:1');
  vi.stubEnv('AWS_REGION', 'ap-southeast-2');
  expect(await read(vaultAt(vault))).toBe('sesame-1');
});

it.each([
  ['another role', { role: 'other' }, {}, 'another role'],
  ['no server id', {}, { serverId: 'vault.corp' }, 'another server id'],
  ['another region', { region: 'eu-west-1' }, {}, 'another URL'],
])('tells of %s', async (_, auth, setup, fault) => {
  const keys = awsKeys();
  useKeys(keys);
  const vault = await server(keys, setup);
  const { message, kind } = await failure(vaultAt(vault, auth));
  expect(vault.iamFaults).toEqual([fault]);
  expect(message).toContain('Vault refused the login with aws (400); check auth.role, the IAM principal');
  expect(kind).toBe('unavailable');
});

it('tells of keys that are not known, or wrong, and of none; and logs in with new ones', async () => {
  const keys = awsKeys();
  const vault = await server(keys);
  const client = vaultAt(vault);
  expect((await failure(client)).message).toContain('the gate’s own AWS identity cannot be had');
  expect(vault.requests).toEqual([]);
  useKeys({ ...keys, SecretAccessKey: awsKeys().SecretAccessKey });
  const { message } = await failure(client);
  useKeys(awsKeys());
  await failure(client);
  expect(vault.iamFaults).toEqual(['InvalidSignatureException', 'UnrecognizedClientException']);
  for (const text of ['sesame', keys.AccessKeyId, keys.SecretAccessKey]) expect(message).not.toContain(text);
  useKeys(keys);
  expect(await read(client)).toBe('sesame-1');
});

it('names the variables of the gate’s identity, for no sandbox to inherit', () => {
  const vault = vaultTypes.build('hashicorp-vault', {
    address: 'https://vault.corp.test:8200',
    auth: { method: 'aws', role: 'r' },
  });
  expect(envNames([], new Map([['corp', vault]]))).toContain('AWS_SECRET_ACCESS_KEY');
});
