import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { cleanEnv, needs, runOk } from '../support/clients.ts';
import { testCa } from '../support/pki.ts';
import { tempFolder } from '../support/temp.ts';
import { startVault } from '../support/upstreams/vault.ts';

const test = needs('python3-hvac');

/** What an independent client sees in our server. */
const SCRIPT = `
import json, sys, hvac
url, ca = sys.argv[1:]
client = hvac.Client(url=url, verify=ca)
client.auth_approle('role-1', 'sesame-secret-id')
seen = {'authenticated': client.is_authenticated()}
kv2 = client.secrets.kv.v2
newest = kv2.read_secret_version(path='ci/github')['data']
seen['newest'] = [newest['data'], newest['metadata']['version']]
seen['first'] = kv2.read_secret_version(path='ci/github', version=1)['data']['data']
seen['flat'] = client.secrets.kv.v1.read_secret(path='a', mount_point='kv1')['data']
seen['renewed'] = client.renew_token()['auth']['lease_duration']
seen['token'] = client.lookup_token()['data']['id'] == client.token
for name, read in [
    ('deleted', lambda: kv2.read_secret_version(path='ci/github', version=2)),
    ('denied', lambda: kv2.read_secret_version(path='denied')),
    ('wrong', lambda: hvac.Client(url=url, verify=ca).auth_approle('role-1', 'wrong')),
    ('stranger', lambda: hvac.Client(url=url, verify=ca, token='hvs.none').secrets.kv.v2.read_secret_version(path='ci/github')),
]:
    try:
        read()
        seen[name] = 'nothing'
    except hvac.exceptions.VaultError as error:
        seen[name] = type(error).__name__
jwt = hvac.Client(url=url, verify=ca)
jwt.auth_kubernetes('stubgate', 'sesame-jwt')
seen['kubernetes'] = jwt.is_authenticated()
print(json.dumps(seen))
`;

test('our Vault server satisfies hvac', async () => {
  const vault = await startVault({
    hosts: ['127.0.0.1'],
    secrets: { 'ci/github': [{ token: 'sesame-1' }, undefined, { token: 'sesame-3' }] },
    flat: { a: { key: 'sesame-flat' } },
  });
  onTestFinished(() => vault.close());
  const script = join(tempFolder('hvac'), 'read.py');
  writeFileSync(script, SCRIPT);
  const { file } = await testCa();
  const ran = await runOk('python3', ['-W', 'ignore', script, `https://127.0.0.1:${vault.port}`, file], {
    env: cleanEnv(),
  });
  expect(JSON.parse(ran.stdout)).toEqual({
    authenticated: true,
    newest: [{ token: 'sesame-3' }, 3],
    first: { token: 'sesame-1' },
    flat: { key: 'sesame-flat' },
    renewed: 3600,
    token: true,
    deleted: 'InvalidPath',
    denied: 'Forbidden',
    wrong: 'InvalidRequest',
    stranger: 'Forbidden',
    kubernetes: true,
  });
});
