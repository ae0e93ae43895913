import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { secretFolders } from '../../../src/cli/isolate/secrets.ts';
import { compileConfig } from '../../../src/config/compile.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { tempFolder } from '../../support/temp.ts';

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
credentials:
  a: { from: "mounted:a" }
  b: { from: "file:./named/token" }
  c: { from: "env:C", mint: { type: github-app, app_id: 1, installation_id: 2, permissions: { contents: read } } }
rules: []
`,
  );
  const { config, sources } = compileConfig(loadConfig(file));
  const found = secretFolders({ config, sources }).map(({ path }) => path.slice(dir.length + 1));
  expect(found.toSorted()).toEqual(['certs', 'control', 'keys', 'mounted', 'named', 'real']);
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
  const { config, sources } = compileConfig(loadConfig(file));
  const found = secretFolders({ config, sources }).map(({ path }) => path);
  expect(found).toEqual([
    join(dir, 'certs'),
    join(dir, 'login'),
    '/var/run/secrets/kubernetes.io/serviceaccount',
  ]);
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
  const { config, sources } = compileConfig(loadConfig(file));
  const found = secretFolders({ config, sources }).map(({ path }) => path.slice(dir.length + 1));
  expect(found.toSorted()).toEqual(['certs', 'client', 'key', 'password']);
});
