import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { createCa, testCa } from '../support/pki.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp, type Upstream } from '../support/upstream.ts';
import { type Azure, type AzureSetup, CLIENT, fail, startAzure, TENANT } from '../support/upstreams/azure.ts';
import { answer } from '../support/upstreams/vault.ts';

const dir = tempFolder('azure');
const ref = (id = 'api', rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'kv', id, ...rest });
const soon = () => AbortSignal.timeout(8_000);
const SECRETS = {
  api: [
    { version: 'a1', value: 'sesame-1' },
    { version: 'a2', value: 'sesame-2' },
  ],
  json: [{ version: 'j1', value: '{"github":{"token":"sesame-json"}}' }],
  off: [
    { version: 'o1', value: 'sesame-on' },
    { version: 'o2', value: 'sesame-off', enabled: false },
  ],
};
const BY_SECRET = { method: 'client-secret', tenant: TENANT, client_id: CLIENT, secret_env: 'T_AZURE' };
function closing<T extends Upstream>(server: T): T {
  onTestFinished(() => server.close());
  return server;
}

async function azureWith(setup: Partial<AzureSetup> = {}): Promise<Azure> {
  vi.stubEnv('T_AZURE', 'sesame-client');
  return closing(
    await startAzure({ secrets: structuredClone(SECRETS), clientSecret: 'sesame-client', ...setup }),
  );
}

async function vaultAt(azure: Azure, options: object = {}): Promise<Vault> {
  const { file: ca_file } = await testCa();
  return vaultTypes.build('azure-key-vault', {
    vault_url: azure.url,
    authority: azure.url,
    ca_file,
    auth: BY_SECRET,
    ...options,
  });
}

const value = async (vault: Vault, source = ref()) => (await vault.read(source, soon())).reveal();

/** The error, which holds nothing of what was sent, and no cause that could. */
async function failure(vault: Vault, source = ref(), signal = soon()): Promise<VaultError> {
  const error: unknown = await vault.read(source, signal).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(message.startsWith('kv:')).toBe(true);
  expect(`${message} ${stack}`).not.toMatch(/sesame|eyJ/);
  expect(cause).toBeUndefined();
  return error as VaultError;
}

afterEach(() => vi.unstubAllEnvs());

describe('reading', () => {
  it('answers the challenge, and gives the version that Key Vault names', async () => {
    const azure = await azureWith();
    const vault = await vaultAt(azure);
    const secret = await vault.read(ref(), soon());
    expect([secret.reveal(), secret.version]).toEqual(['sesame-2', 'a2']);
    expect(azure.asked()).toEqual([
      'GET /secrets/api/',
      `GET /${TENANT}/v2.0/.well-known/openid-configuration`,
      `POST /${TENANT}/oauth2/v2.0/token`,
      'GET /secrets/api/',
    ]);
    expect(azure.requests[0]?.headers.authorization).toBeUndefined();
    const form = new URLSearchParams(azure.requests[2]?.body.toString());
    expect(form.get('scope')).toContain('https://vault.azure.net/.default');
    expect(await value(vault, ref('api', { version: 'a1' }))).toBe('sesame-1');
    expect(await value(vault, ref('json', { field: 'github.token' }))).toBe('sesame-json');
    expect(await value(vault, ref('off', { version: 'o1' }))).toBe('sesame-on');
    expect(azure.asked('token')).toHaveLength(1);
  });

  it('sees a new version', async () => {
    const azure = await azureWith();
    const vault = await vaultAt(azure);
    await value(vault);
    azure.secrets['api']?.push({ version: 'a3', value: 'sesame-3' });
    expect(await value(vault)).toBe('sesame-3');
  });

  it.each([
    ['no such secret', ref('gone'), 'there is no such secret or version (404)'],
    ['no such version', ref('api', { version: 'zz' }), 'there is no such secret or version (404)'],
    ['a disabled version', ref('off'), '(403, SecretDisabled); the secret is disabled; enable it'],
    ['a path', ref('a/b'), 'is not the name of a secret'],
    ['a path out', ref('..'), 'is not the name of a secret'],
    ['an odd version', ref('api', { version: '../x' }), 'is not a version'],
  ])('tells of %s', async (_, source, words) => {
    const error = await failure(await vaultAt(await azureWith()), source);
    expect(error.kind).toBe('missing');
    expect(error.message).toContain(words);
  });

  it.each([
    [403, 'ForbiddenByRbac', 'missing', 'give it the role "Key Vault Secrets User"'],
    [403, 'AccessDenied', 'missing', 'give it "get" for secrets in the access policy'],
    [403, 'ForbiddenByFirewall', 'missing', 'firewall refuses this machine'],
    [403, 'sesame', 'missing', 'denies it (403); give the gate’s identity the role'],
    [400, 'BadParameter', 'missing', '(400)'],
    [429, 'Throttled', 'unavailable', 'throttles (429); raise the ttl'],
    [500, 'InternalError', 'unavailable', 'answered 500'],
    [302, 'Found', 'unavailable', 'answered 302'],
  ])('tells of %i %s', async (status, code, kind, words) => {
    const azure = await azureWith();
    azure.fault = ({ url, headers }, response) => {
      if (!url.startsWith('/secrets/') || !headers.authorization) return false;
      response.setHeader('location', 'https://127.0.0.1:1/');
      fail(response, status, 'Forbidden', headers.authorization, { code });
      return true;
    };
    const error = await failure(await vaultAt(azure));
    expect(error.kind).toBe(kind);
    expect(error.message).toContain(words);
  });

  it.each([
    ['text', 200, 'sesame no JSON'],
    ['another document', 200, '{"sesame":1}'],
    ['a list', 200, '["sesame"]'],
    ['nothing', 204, ''],
    ['a number', 200, '{"value":4711,"id":"https://x/secrets/api/1"}'],
    ['a megabyte', 200, `{"value":"sesame${'x'.repeat(1_100_000)}"}`],
  ])('refuses %s for an answer', async (_, status, body) => {
    const azure = await azureWith();
    azure.fault = ({ url, headers }, response) => {
      if (!url.startsWith('/secrets/') || !headers.authorization) return false;
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body);
      return true;
    };
    expect((await failure(await vaultAt(azure))).kind).toBe('unavailable');
  });

  it('tries again what may pass, after the pause that was asked for', async () => {
    const azure = await azureWith();
    const times: number[] = [];
    azure.fault = ({ url, headers }, response) => {
      if (!url.startsWith('/secrets/') || !headers.authorization) return false;
      if (times.push(performance.now()) > 2) return false;
      answer(response, times.length === 1 ? 429 : 503, {}, times.length === 1 ? { 'retry-after': '1' } : {});
      return true;
    };
    expect(await value(await vaultAt(azure))).toBe('sesame-2');
    expect(times).toHaveLength(3);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(990);
  });

  it('waits for no pause that a request cannot wait for', async () => {
    const azure = await azureWith();
    azure.fault = ({ url, headers }, response) => {
      if (!url.startsWith('/secrets/') || !headers.authorization) return false;
      answer(response, 429, {}, { 'retry-after': '60' });
      return true;
    };
    const start = performance.now();
    expect((await failure(await vaultAt(azure))).message).toContain('throttles (429)');
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it.each(['/secrets/', 'openid-configuration', 'oauth2'])('does not outlive its signal: %s', async part => {
    const azure = await azureWith();
    azure.fault = ({ url }) => url.includes(part);
    const error = await failure(await vaultAt(azure), ref(), AbortSignal.timeout(300));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toContain('no answer in time');
  });

  it('does not outlive its signal: half an answer', async () => {
    const azure = await azureWith();
    azure.fault = ({ headers }, response) => {
      if (!headers.authorization) return false;
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
      response.write('{"value":"sesame');
      return true;
    };
    const error = await failure(await vaultAt(azure), ref(), AbortSignal.timeout(500));
    expect(error.message).toContain('no answer in time');
  });

  it('follows the login to no other place', async () => {
    const azure = await azureWith();
    const other = closing(await startHttp({ hosts: ['127.0.0.1'] }, (_, response) => void response.end()));
    azure.fault = ({ url }, response) => {
      if (!url.includes('oauth2')) return false;
      response.writeHead(307, { location: `https://${other.address}/` });
      response.end();
      return true;
    };
    expect((await failure(await vaultAt(azure))).message).toContain('was refused (307)');
    expect(other.requests).toEqual([]);
  });

  it('trusts no other CA, and no proxy variable', async () => {
    const azure = await azureWith();
    const proxy = closing(await startHttp({}, (_, response) => void response.end()));
    for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'https_proxy', 'http_proxy'])
      vi.stubEnv(name, `http://${proxy.address}`);
    expect(await value(await vaultAt(azure))).toBe('sesame-2');
    expect(proxy.requests).toEqual([]);
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const { file: ca_file } = await createCa('Another');
    const asked = azure.requests.length;
    const error = await failure(await vaultAt(azure, { ca_file }));
    expect(error.message).toContain('name its CA in "ca_file"');
    expect(azure.requests).toHaveLength(asked);
  });
});

describe('logging in', () => {
  it('is done once however many ask, and again, once, when the vault no longer takes the token', async () => {
    const azure = await azureWith();
    const vault = await vaultAt(azure);
    await Promise.all(Array.from({ length: 20 }, () => value(vault)));
    expect(azure.asked('token')).toHaveLength(1);
    azure.tokens.clear();
    expect(await value(vault)).toBe('sesame-2');
    expect(azure.asked('token')).toHaveLength(2);
  });

  it('is done anew with a rotated secret', async () => {
    const azure = await azureWith();
    const secret_file = join(dir, 'rotated');
    writeFileSync(secret_file, 'sesame-old\n', { mode: 0o600 });
    const { secret_env: _, ...by } = BY_SECRET;
    const vault = await vaultAt(azure, { auth: { ...by, secret_file } });
    const error = await failure(vault);
    expect(error.message).toContain(
      'with client-secret was refused (401, AADSTS7000215); the client secret is wrong',
    );
    expect(error.kind).toBe('missing');
    writeFileSync(secret_file, 'sesame-client\n');
    expect(await value(vault)).toBe('sesame-2');
  });

  it('is done with a certificate', async () => {
    const { cert, key } = await rsaIdentity();
    const certificate_file = join(dir, 'certificate.pem');
    writeFileSync(certificate_file, key + cert, { mode: 0o600 });
    const azure = await azureWith({ certificate: cert });
    const auth = { method: 'client-certificate', tenant: TENANT, client_id: CLIENT, certificate_file };
    expect(await value(await vaultAt(azure, { auth }))).toBe('sesame-2');
    azure.certificate = (await rsaIdentity()).cert;
    expect((await failure(await vaultAt(azure, { auth }))).message).toContain('AADSTS700027');
    writeFileSync(certificate_file, 'sesame');
    expect((await failure(await vaultAt(azure, { auth }))).message).toContain('lacks the certificate');
  });

  it('is done with the token that AKS mounts, read anew', async () => {
    const azure = await azureWith({ federatedToken: 'eyJ.sesame-federated' });
    const file = join(dir, 'federated');
    writeFileSync(file, 'eyJ.sesame-federated');
    vi.stubEnv('AZURE_FEDERATED_TOKEN_FILE', file);
    vi.stubEnv('AZURE_TENANT_ID', TENANT);
    vi.stubEnv('AZURE_CLIENT_ID', CLIENT);
    expect(await value(await vaultAt(azure, { auth: undefined }))).toBe('sesame-2');
    azure.federatedToken = 'eyJ.another';
    const error = await failure(await vaultAt(azure, { auth: undefined }));
    expect(error.message).toContain(
      'AADSTS700213); no federated credential of the application has this subject',
    );
    vi.stubEnv('AZURE_FEDERATED_TOKEN_FILE', join(dir, 'gone'));
    expect((await failure(await vaultAt(azure, { auth: undefined }))).message).toContain('could not begin');
  });

  it('is done with the secret of the environment', async () => {
    vi.stubEnv('AZURE_CLIENT_SECRET', 'sesame-client');
    vi.stubEnv('AZURE_TENANT_ID', TENANT);
    vi.stubEnv('AZURE_CLIENT_ID', CLIENT);
    expect(await value(await vaultAt(await azureWith(), { auth: { method: 'ambient' } }))).toBe('sesame-2');
  });

  it.each([
    ['another tenant', { tenant: TENANT.replaceAll('1', '9') }, 'belongs to another tenant'],
    ['a token for something else', { resource: 'https://management.azure.com' }, 'not for key vaults'],
    ['a token for anything', { resource: 'https://1' }, 'not for key vaults'],
  ])('gives a vault that asks for %s nothing', async (_, setup, words) => {
    const azure = await azureWith(setup);
    expect((await failure(await vaultAt(azure))).message).toContain(words);
    expect(azure.asked('token')).toEqual([]);
  });

  it('does not wait for an authority that is down, and says which', async () => {
    const azure = await azureWith();
    const gone = await startHttp({}, () => undefined);
    await gone.close();
    const vault = await vaultAt(azure, { authority: `https://${gone.address}` });
    expect((await failure(vault)).message).toContain(
      `the login with client-secret: https://${gone.address}: the server cannot be reached (ECONNREFUSED)`,
    );
  });
});

describe('options', () => {
  it.each([
    [{ vault_url: 'http://127.0.0.1:1' }, 'is not https'],
    [{ vault_url: 'https://x.vault.azure.net/secrets' }, 'holds more than an address'],
    [{ auth: { method: 'password' } }, 'is not known; write { method: ambient }'],
    [{ auth: { ...BY_SECRET, tenant: 'corp.example' } }, 'must be the tenant id'],
    [{ auth: { ...BY_SECRET, secret_file: '/x' } }, 'write one of secret_file and secret_env'],
    [{ auth: { ...BY_SECRET, secret: 'sesame' } }, 'nrecognized'],
  ])('refuses %j', (wrong, words) => {
    const options = { vault_url: 'https://x.vault.azure.net', auth: BY_SECRET, ...wrong };
    expect(() => vaultTypes.build('azure-key-vault', options)).toThrow(words);
  });

  it('names the variable of its secret, for no sandbox to inherit', () => {
    const options = { vault_url: 'https://x.vault.azure.net', auth: BY_SECRET };
    expect(vaultTypes.build('azure-key-vault', options).variables).toEqual(['T_AZURE']);
  });
});

async function rsaIdentity(): Promise<{ cert: string; key: string }> {
  const x509 = await import('@peculiar/x509');
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
  };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=gate',
    keys,
    signingAlgorithm: algorithm,
  });
  const key = await crypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: `${x509.PemConverter.encode(key, 'PRIVATE KEY')}\n`,
  };
}
