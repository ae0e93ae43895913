import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test as always } from 'vitest';
import nodeVault from 'node-vault';
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
made = client.secrets.database.generate_credentials(name='readonly')
seen['made'] = [sorted(made['data']), made['lease_duration'], made['renewable']]
seen['lease renewed'] = client.sys.renew_lease(lease_id=made['lease_id'])['lease_duration']
client.sys.revoke_lease(made['lease_id'])
try:
    client.sys.renew_lease(lease_id=made['lease_id'])
    seen['lease revoked'] = 'nothing'
except hvac.exceptions.VaultError as error:
    seen['lease revoked'] = type(error).__name__
client.auth.token.revoke_self()
seen['token revoked'] = not client.is_authenticated()
jwt = hvac.Client(url=url, verify=ca)
jwt.auth_kubernetes('stubgate', 'sesame-jwt')
seen['kubernetes'] = jwt.is_authenticated()
print(json.dumps(seen))
`;

async function server() {
  const vault = await startVault({
    hosts: ['127.0.0.1'],
    secrets: { 'ci/github': [{ token: 'sesame-1' }, undefined, { token: 'sesame-3' }] },
    flat: { a: { key: 'sesame-flat' } },
    dynamic: { 'database/creds/readonly': { seconds: 600, maxSeconds: 3600 } },
  });
  onTestFinished(() => vault.close());
  return vault;
}

always('our Vault server satisfies node-vault', async () => {
  const vault = await server();
  const client = nodeVault({
    endpoint: `https://127.0.0.1:${vault.port}`,
    requestOptions: { ca: (await testCa()).cert, proxy: false },
    noCustomHTTPVerbs: true,
  });
  const login = await client.approleLogin({ role_id: 'role-1', secret_id: 'sesame-secret-id' });
  client.token = login.auth.client_token;
  const { data } = await client.read('secret/data/ci/github');
  expect([data.data, data.metadata.version]).toEqual([{ token: 'sesame-3' }, 3]);
  expect((await client.tokenLookupSelf()).data.id).toBe(client.token);
  const made = await client.read('database/creds/readonly');
  expect([made.lease_duration, made.renewable]).toEqual([600, true]);
  const works = () => vault.isValid(made.data.username, made.data.password);
  expect(works()).toBe(true);
  expect(await client.renew({ lease_id: made.lease_id })).toMatchObject({
    lease_id: made.lease_id,
    lease_duration: 600,
  });
  await client.revoke({ lease_id: made.lease_id });
  expect(works()).toBe(false);
  await expect(client.renew({ lease_id: made.lease_id })).rejects.toThrow('lease not found');
  // With a login end the leases that were made with it.
  const other = await client.read('database/creds/readonly');
  await client.tokenRevokeSelf();
  expect(vault.isValid(other.data.username, other.data.password)).toBe(false);
  await expect(client.read('secret/data/ci/github')).rejects.toThrow('permission denied');
});

test('our Vault server satisfies hvac', async () => {
  const vault = await server();
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
    made: [['password', 'username'], 600, true],
    'lease renewed': 600,
    'lease revoked': 'InvalidRequest',
    'token revoked': true,
  });
});
