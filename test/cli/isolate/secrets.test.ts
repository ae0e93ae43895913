import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { sandboxFiles } from '../../../src/cli/isolate/files.ts';
import { secretFolders } from '../../../src/cli/isolate/secrets.ts';
import { compileConfig } from '../../../src/config/compile.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { tempFolder } from '../../support/temp.ts';

afterEach(() => vi.unstubAllEnvs());

test('every folder that the configuration keeps secrets in is found, behind links too', () => {
  const dir = tempFolder('secrets');
  for (const name of ['mounted', 'vault', 'real', 'named']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'real/token'), 'a-secret-of-this-test', { mode: 0o600 });
  symlinkSync('../real/token', join(dir, 'named/token'));
  const file = join(dir, 'stubgate.yaml');
  writeFileSync(
    file,
    `version: 1
listen: { admin: "unix:./control/admin.sock" }
ca: { dir: ./certs, cert: ./own/ca.pem, key: ./keys/ca.key }
vaults: { mounted: { type: file, dir: ./mounted } }
alarms: { webhook_file: ./hooks/url, secret_file: ./signs/key }
credentials:
  a: { from: "mounted:a" }
  b: { from: "file:./named/token" }
  c: { from: "env:C", mint: { type: github-app, app_id: 1, installation_id: 2, permissions: { contents: read } } }
rules: []
`,
  );
  const found = secretFolders(compileConfig(loadConfig(file))).map(({ path }) => path.slice(dir.length + 1));
  expect(found.toSorted()).toEqual([
    'certs',
    'control',
    'hooks',
    'keys',
    'mounted',
    'named',
    'real',
    'signs',
  ]);
});

test('the files of a vault’s login are found, and those that it reads by default', () => {
  const dir = tempFolder('secrets');
  const file = join(dir, 'stubgate.yaml');
  writeFileSync(
    file,
    `version: 1
ca: { dir: ${dir}/certs }
vaults:
  a: { type: hashicorp-vault, address: "https://a.test", ca_file: ./public/ca.pem, auth: { method: approle, role_id: a, secret_id_file: ./login/id } }
  b: { type: hashicorp-vault, address: "https://b.test", auth: { method: kubernetes, role: b } }
`,
  );
  const found = secretFolders(compileConfig(loadConfig(file))).map(({ path }) => path);
  expect(found).toEqual([
    join(dir, 'certs'),
    join(dir, 'login'),
    '/var/run/secrets/kubernetes.io/serviceaccount',
  ]);
});

test('files that variables name as the gate’s AWS identity are hidden', () => {
  onTestFinished(() => void vi.unstubAllEnvs());
  const dir = tempFolder('secrets');
  const file = join(dir, 'stubgate.yaml');
  writeFileSync(file, `version: 1\nca: { dir: ${dir}/certs }\n`);
  const compiled = compileConfig(loadConfig(file));
  // Not in a temporary folder, which no sandbox sees anyway.
  const identity = join(import.meta.dirname, 'secrets.test.ts');
  const shows = () => {
    const { view } = sandboxFiles({ compiled, caFile: join(dir, 'sandbox-ca.pem'), writable: [] });
    return view.shows(identity);
  };
  expect(shows()).toBe(true);
  for (const name of ['AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE', 'AWS_WEB_IDENTITY_TOKEN_FILE']) {
    vi.stubEnv(name, identity);
    expect(shows()).toBe(false);
    vi.stubEnv(name, undefined);
  }
});

test('files that a vault’s login finds by a variable of the gate are found', () => {
  const dir = tempFolder('secrets');
  const file = join(dir, 'stubgate.yaml');
  for (const name of ['azure', 'google']) {
    mkdirSync(join(dir, name));
    writeFileSync(join(dir, name, 'token'), 'a-secret-of-this-test');
  }
  vi.stubEnv('AZURE_FEDERATED_TOKEN_FILE', join(dir, 'azure/token'));
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', join(dir, 'google/token'));
  vi.stubEnv('AZURE_CLIENT_CERTIFICATE_PATH', join(dir, 'gone/pem'));
  vi.stubEnv('AZURE_CLIENT_SECRET', '/no/path');
  writeFileSync(
    file,
    `version: 1
ca: { dir: ${dir}/certs }
vaults:
  kv: { type: azure-key-vault, vault_url: "https://a.vault.azure.net" }
  gcp: { type: gcp-secret-manager }
`,
  );
  const found = secretFolders(compileConfig(loadConfig(file))).map(({ path }) => path);
  expect(found).toEqual([join(dir, 'certs'), join(dir, 'azure'), join(dir, 'google')]);
});

test('the files of the shared state are found', () => {
  const dir = tempFolder('secrets');
  const file = join(dir, 'stubgate.yaml');
  writeFileSync(
    file,
    `version: 1
ca: { dir: ./certs }
state:
  url: rediss://redis.test
  password_file: ./password/redis
  key_file: ./key/state
  ca_file: ./public/ca.pem
  cert_file: ./public/client.pem
  cert_key_file: ./client/client.key
`,
  );
  const found = secretFolders(compileConfig(loadConfig(file))).map(({ path }) => path.slice(dir.length + 1));
  expect(found.toSorted()).toEqual(['certs', 'client', 'key', 'password']);
});
