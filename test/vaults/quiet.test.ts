import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { canary } from '../support/canary.ts';
import { cleanEnv, runOk } from '../support/clients.ts';
import { testCa } from '../support/pki.ts';
import { tempFolder } from '../support/temp.ts';
import { CLIENT, startAzure, TENANT } from '../support/upstreams/azure.ts';
import { serviceAccount, startSecretManager } from '../support/upstreams/secret-manager.ts';

const INDEX = join(import.meta.dirname, '../../src/vaults/index.ts');
/** All that the SDKs take for a wish to see everything. */
const LOUD = {
  AZURE_LOG_LEVEL: 'verbose',
  DEBUG: '*',
  DEBUG_AUTH: '1',
  GOOGLE_SDK_NODE_LOGGING: 'all',
  GRPC_TRACE: 'all',
  GRPC_NODE_TRACE: 'all',
  GRPC_VERBOSITY: 'DEBUG',
  GRPC_NODE_VERBOSITY: 'DEBUG',
};

/** What a process that reads a secret writes, to stdout and stderr. */
async function written(type: string, options: object, id: string): Promise<string> {
  const code = `
    const { vaultTypes } = await import('${INDEX}');
    const vault = vaultTypes.build('${type}', ${JSON.stringify(options)});
    const secret = await vault.read({ vault: 'v', id: '${id}' }, AbortSignal.timeout(8000));
    console.log(secret.length);
  `;
  const env = { ...cleanEnv(), ...LOUD };
  const { stdout, stderr } = await runOk(process.execPath, ['--input-type=module', '-e', code], { env });
  return stdout + stderr;
}

it('no SDK of a cloud logs what it sends and receives', async () => {
  const value = canary('', 40);
  const dir = tempFolder('quiet');
  const { file: ca_file } = await testCa();
  const secret_file = join(dir, 'client-secret');
  writeFileSync(secret_file, 'sesame-client', { mode: 0o600 });
  const azure = closing(
    await startAzure({ secrets: { api: [{ version: 'v1', value }] }, clientSecret: 'sesame-client' }),
  );
  const auth = { method: 'client-secret', tenant: TENANT, client_id: CLIENT, secret_file };
  const ofAzure = { vault_url: azure.url, authority: azure.url, ca_file, auth };
  expect(await written('azure-key-vault', ofAzure, 'api')).toBe('40\n');

  const account = serviceAccount();
  const credentials_file = join(dir, 'key.json');
  writeFileSync(credentials_file, account.json, { mode: 0o600 });
  const name = 'projects/my-project/secrets/api';
  const manager = closing(await startSecretManager({ secrets: { [name]: [{ data: value }] } }));
  manager.robot = account.publicKey;
  const ofGoogle = { endpoint: manager.url, credentials_file, ca_file };
  expect(await written('gcp-secret-manager', ofGoogle, name)).toBe('40\n');
});
