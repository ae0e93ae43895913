import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { crc32c } from '../../src/vaults/google/crc32c.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { closing } from '../e2e/scene.ts';
import { createCa, testCa } from '../support/pki.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import {
  castagnoli,
  details,
  type SecretManager,
  type SecretManagerSetup,
  serviceAccount,
  startGce,
  startSecretManager,
  startSts,
} from '../support/upstreams/secret-manager.ts';

const dir = tempFolder('google');
const NAME = 'projects/my-project/secrets/api';
const SECRETS = {
  [NAME]: [{ data: 'sesame-1' }, { data: 'sesame-2' }],
  'projects/my-project/secrets/json': [{ data: '{"github":{"token":"sesame-json"}}' }],
  'projects/my-project/secrets/off': [{ data: 'sesame', state: 'DISABLED' as const }],
  'projects/my-project/secrets/gone': [{ data: 'sesame', state: 'DESTROYED' as const }],
  'projects/my-project/secrets/bytes': [{ data: Buffer.from([0x73, 0xff, 0xfe, 0x00, 0x80, 0x81, 0x82]) }],
  'projects/my-project/locations/europe-west1/secrets/api': [{ data: 'sesame-regional' }],
};
const ref = (id = NAME, rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'gcp', id, ...rest });
const soon = () => AbortSignal.timeout(8_000);
const account = serviceAccount();
const keyFile = join(dir, 'key.json');
writeFileSync(keyFile, account.json, { mode: 0o600 });

beforeEach(() => {
  // No test looks for the metadata of the machine that it runs on, nor for gcloud's file in somebody's HOME.
  vi.stubEnv('METADATA_SERVER_DETECTION', 'none');
  vi.stubEnv('CLOUDSDK_CONFIG', dir);
});
afterEach(() => vi.unstubAllEnvs());

async function managerWith(setup: Partial<SecretManagerSetup> = {}): Promise<SecretManager> {
  const manager = closing(await startSecretManager({ secrets: structuredClone(SECRETS), ...setup }));
  manager.robot = account.publicKey;
  return manager;
}

async function vaultAt(manager: SecretManager, options: object = {}): Promise<Vault> {
  const { file: ca_file } = await testCa();
  const base = { endpoint: manager.url, credentials_file: keyFile, ca_file };
  return vaultTypes.build('gcp-secret-manager', { ...base, ...options });
}

const value = async (vault: Vault, source = ref()) => (await vault.read(source, soon())).reveal();

async function failure(vault: Vault, source = ref(), signal = soon()): Promise<VaultError> {
  const error: unknown = await vault.read(source, signal).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(message.startsWith('gcp:')).toBe(true);
  expect(`${message} ${stack}`).not.toMatch(/sesame|eyJ|ya29/);
  expect(cause).toBeUndefined();
  return error as VaultError;
}

describe('reading', () => {
  it('gives the version that Secret Manager names', async () => {
    const manager = await managerWith();
    const vault = await vaultAt(manager, { project: 'my-project' });
    const secret = await vault.read(ref(), soon());
    expect([secret.reveal(), secret.version]).toEqual(['sesame-2', '2']);
    const old = await vault.read(ref('api', { version: '1' }), soon());
    expect([old.reveal(), old.version]).toEqual(['sesame-1', '1']);
    expect(await value(vault, ref('json', { field: 'github.token' }))).toBe('sesame-json');
    const regional = 'projects/my-project/locations/europe-west1/secrets/api';
    expect(await value(vault, ref(regional))).toBe('sesame-regional');
    expect(manager.asked).toEqual([
      `${NAME}/versions/latest`,
      `${NAME}/versions/1`,
      'projects/my-project/secrets/json/versions/latest',
      `${regional}/versions/latest`,
    ]);
    manager.secrets[NAME]?.push({ data: 'sesame-3' });
    expect(await value(vault)).toBe('sesame-3');
  });

  it('goes without TLS to loopback alone', async () => {
    const manager = await managerWith({ plain: true });
    expect(await value(await vaultAt(manager))).toBe('sesame-2');
    expect(() => vaultTypes.build('gcp-secret-manager', { endpoint: 'http://sm.test' })).toThrow(
      'plain http',
    );
  });

  it.each([
    ['no such secret', ref('projects/my-project/secrets/x'), '(NOT_FOUND); check project, name and version'],
    ['no such version', ref(NAME, { version: '9' }), '(NOT_FOUND)'],
    ['a disabled version', ref('projects/my-project/secrets/off'), 'is disabled or destroyed'],
    ['a destroyed version', ref('projects/my-project/secrets/gone'), 'is disabled or destroyed'],
    ['bytes', ref('projects/my-project/secrets/bytes'), 'is not UTF-8 text'],
    ['no project', ref('api'), 'names no project; write projects/PROJECT/secrets/NAME'],
    ['a path', ref('projects/p/secrets/a/versions/1'), 'is not a secret'],
    ['a path out', ref('../x'), 'is not a secret'],
    ['an odd project', ref('projects/P%2f/secrets/a'), 'no valid project'],
    ['an odd version', ref(NAME, { version: '1/../2' }), 'is not a version'],
  ])('tells of %s', async (_, source, words) => {
    const error = await failure(await vaultAt(await managerWith()), source);
    expect(error.kind).toBe('missing');
    expect(error.message).toContain(words);
  });

  it.each([
    ['PERMISSION_DENIED', 'missing', 'grant it roles/secretmanager.secretAccessor', undefined],
    [
      'PERMISSION_DENIED',
      'missing',
      'the Secret Manager API is not enabled',
      details({ reason: 'SERVICE_DISABLED' }),
    ],
    ['INVALID_ARGUMENT', 'missing', 'refuses the name', undefined],
    ['UNAUTHENTICATED', 'missing', 'refuses the gate’s login', undefined],
    ['RESOURCE_EXHAUSTED', 'unavailable', 'throttles', details({ retrySeconds: 60 })],
    ['INTERNAL', 'unavailable', 'failed (gRPC status 13)', undefined],
    ['UNAVAILABLE', 'unavailable', 'cannot be reached', undefined],
    ['DATA_LOSS', 'unavailable', 'failed (gRPC status 15)', undefined],
  ] as const)('tells of %s', async (code, kind, words, metadata) => {
    const manager = await managerWith();
    manager.fault = (name, callback) => {
      callback({ code: grpc.status[code], details: `no ${name} sesame`, ...(metadata && { metadata }) });
      return true;
    };
    const error = await failure(await vaultAt(manager));
    expect(error.kind).toBe(kind);
    expect(error.message).toContain(words);
    const tries = { INTERNAL: 4, UNAVAILABLE: 4, UNAUTHENTICATED: 2 } as Record<string, number>;
    expect(manager.asked).toHaveLength(tries[code] ?? 1);
  });

  it.each([
    ['a wrong checksum', { data: Buffer.from('sesame-2'), data_crc32c: '1' }, 'was damaged on its way'],
    ['no checksum', { data: Buffer.from('sesame-2') }, 'holds no payload with a checksum'],
    ['no payload', undefined, 'holds no payload with a checksum'],
  ])('refuses an answer with %s', async (_, payload, words) => {
    const manager = await managerWith();
    manager.fault = (name, callback) => {
      callback(null, { name, ...(payload && { payload }) });
      return true;
    };
    expect((await failure(await vaultAt(manager))).message).toContain(words);
  });

  it('refuses an answer that is too large', async () => {
    const manager = await managerWith();
    manager.fault = (name, callback) => {
      const data = Buffer.alloc(1_100_000, 'sesame');
      callback(null, { name, payload: { data, data_crc32c: String(castagnoli(Buffer.alloc(0))) } });
      return true;
    };
    expect((await failure(await vaultAt(manager))).kind).toBe('unavailable');
  });

  it('tries again what may pass, after the pause that was asked for', async () => {
    const manager = await managerWith();
    const times: number[] = [];
    manager.fault = (_, callback) => {
      if (times.push(performance.now()) > 2) return false;
      const code = times.length === 1 ? grpc.status.RESOURCE_EXHAUSTED : grpc.status.UNAVAILABLE;
      callback({
        code,
        details: 'sesame',
        ...(times.length === 1 && { metadata: details({ retrySeconds: 1 }) }),
      });
      return true;
    };
    expect(await value(await vaultAt(manager))).toBe('sesame-2');
    expect(times).toHaveLength(3);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(990);
  });

  it('does not outlive its signal', async () => {
    const manager = await managerWith();
    manager.fault = () => true;
    const error = await failure(await vaultAt(manager), ref(), AbortSignal.timeout(300));
    expect(error.message).toContain('no answer in time');
  });

  it('trusts no other CA, and obeys no proxy variable', async () => {
    const manager = await managerWith();
    const proxy = closing(await startHttp({}, (_, response) => void response.end()));
    for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'GRPC_PROXY', 'https_proxy', 'http_proxy', 'grpc_proxy'])
      vi.stubEnv(name, `http://${proxy.address}`);
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const { file: ca_file } = await createCa('Another');
    const error = await failure(await vaultAt(manager, { ca_file }));
    expect(error.message).toContain('name its CA in "ca_file"');
    expect(manager.asked).toEqual([]);
    expect(await value(await vaultAt(manager))).toBe('sesame-2');
    expect(proxy.requests).toEqual([]);
  });

  it('says that nobody is there', async () => {
    const gone = await startSecretManager({ secrets: {} });
    await gone.close();
    expect((await failure(await vaultAt(gone))).message).toContain('cannot be reached (UNAVAILABLE)');
  });
});

describe('logging in', () => {
  it('is done with a service account’s key, read anew', async () => {
    const manager = await managerWith();
    const credentials_file = join(dir, 'rotated.json');
    const other = serviceAccount();
    writeFileSync(credentials_file, other.json, { mode: 0o600 });
    const vault = await vaultAt(manager, { credentials_file });
    expect((await failure(vault)).message).toContain('refuses the gate’s login (UNAUTHENTICATED)');
    writeFileSync(credentials_file, account.json);
    expect(await value(vault)).toBe('sesame-2');
    expect(vault.variables).toEqual([]);
  });

  it('is done with the file that the environment names', async () => {
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', keyFile);
    const vault = await vaultAt(await managerWith(), { credentials_file: undefined });
    expect(await value(vault)).toBe('sesame-2');
    expect(vault.variables).toContain('GOOGLE_APPLICATION_CREDENTIALS');
  });

  it('is done with the machine’s service account, and anew when its token is refused', async () => {
    const manager = await managerWith();
    const gce = closing(await startGce(token => manager.tokens.add(token)));
    vi.stubEnv('METADATA_SERVER_DETECTION', '');
    vi.stubEnv('GCE_METADATA_HOST', gce.address);
    const vault = await vaultAt(manager, { credentials_file: undefined });
    await Promise.all(Array.from({ length: 10 }, () => value(vault)));
    expect(gce.issued).toHaveLength(1);
    manager.tokens.clear();
    expect(await value(vault)).toBe('sesame-2');
    expect(gce.issued).toHaveLength(2);
  });

  it('is done with a federated identity', async () => {
    const manager = await managerWith();
    const sts = closing(await startSts('eyJ.sesame-subject', token => manager.tokens.add(token)));
    const subject = join(dir, 'subject');
    writeFileSync(subject, 'eyJ.sesame-subject');
    const credentials_file = join(dir, 'federated.json');
    const json = {
      type: 'external_account',
      audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `https://${sts.address}/v1/token`,
      credential_source: { file: subject },
    };
    writeFileSync(credentials_file, JSON.stringify(json), { mode: 0o644 });
    const vault = await vaultAt(manager, { credentials_file });
    expect(await value(vault)).toBe('sesame-2');
    expect(sts.requests).toHaveLength(1);
    writeFileSync(subject, 'eyJ.sesame-other');
    const error = await failure(await vaultAt(manager, { credentials_file }));
    expect(error.message).toContain('Google refused the login (400, invalid_grant); check that');
  });

  it('is not done over plain http, where a token is asked for', async () => {
    const sts = closing(await startHttp({}, (_, response) => void response.end('{}')));
    const subject = join(dir, 'subject-plain');
    writeFileSync(subject, 'eyJ.sesame-subject');
    const credentials_file = join(dir, 'plain.json');
    const json = {
      type: 'external_account',
      audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `http://${sts.address}/v1/token`,
      credential_source: { file: subject },
    };
    writeFileSync(credentials_file, JSON.stringify(json), { mode: 0o600 });
    const error = await failure(await vaultAt(await managerWith(), { credentials_file }));
    expect(error.message).toContain('is not asked over plain http');
    expect(sts.requests).toEqual([]);
  });

  it.each([
    ['no file', undefined, 'cannot be read (ENOENT)'],
    ['no JSON', 'sesame', 'is not JSON'],
    ['another kind', '{"type":"sesame"}', 'is of another kind'],
    ['no key', JSON.stringify({ type: 'service_account', client_email: 'x' }), 'cannot be used'],
  ])('tells of a file of credentials with %s', async (_, text, words) => {
    const credentials_file = join(dir, `bad-${String(text).length}.json`);
    if (text !== undefined) writeFileSync(credentials_file, text, { mode: 0o600 });
    expect((await failure(await vaultAt(await managerWith(), { credentials_file }))).message).toContain(
      words,
    );
  });

  it('refuses a key that everybody may read, and sees that ca_file has changed', async () => {
    const manager = await managerWith();
    const credentials_file = join(dir, 'open.json');
    writeFileSync(credentials_file, account.json, { mode: 0o644 });
    expect((await failure(await vaultAt(manager, { credentials_file }))).message).toContain('chmod 600 it');
    const ca_file = join(dir, 'ca.pem');
    writeFileSync(ca_file, '-----BEGIN CERTIFICATE-----\nsesame\n-----END CERTIFICATE-----\n');
    const vault = await vaultAt(manager, { ca_file });
    expect((await failure(vault)).message).toContain('its certificate is not trusted');
    writeFileSync(ca_file, (await testCa()).cert);
    expect(await value(vault)).toBe('sesame-2');
  });

  it.each([
    ['is switched off', 'none', undefined],
    ['does not answer', '', 'gone'],
    ['is not one of Google', '', 'http'],
  ])('tells of a machine whose metadata server %s', async (words, detection, kind) => {
    const other = closing(await startHttp({}, (_, response) => void response.end('{}')));
    vi.stubEnv('METADATA_SERVER_DETECTION', detection);
    vi.stubEnv('GCE_METADATA_HOST', kind === 'gone' ? '127.0.0.1:1' : other.address);
    const error = await failure(await vaultAt(await managerWith(), { credentials_file: undefined }));
    expect(error.message).toContain(`no identity on Google Cloud: the metadata server ${words}`);
  });
});

it('computes CRC-32C', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
  for (const text of ['', 'a', 'sesame'.repeat(99)])
    expect(crc32c(Buffer.from(text))).toBe(castagnoli(Buffer.from(text)));
});
