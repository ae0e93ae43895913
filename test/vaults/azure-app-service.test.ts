import { expect, it, vi } from 'vitest';
import { vaultTypes } from '../../src/vaults/index.ts';
import { closing } from '../e2e/scene.ts';
import { testCa } from '../support/pki.ts';
import { CLIENT, startAzure, startMachine } from '../support/upstreams/azure.ts';

// MSAL keeps the kind of machine, and its address, for the whole process: one file for each.
it('logs in with the identity of an App Service, whose variables are the gate’s', async () => {
  const azure = closing(await startAzure({ secrets: { api: [{ version: 'a1', value: 'sesame-1' }] } }));
  const app = closing(await startMachine(azure, [CLIENT]));
  vi.stubEnv('IDENTITY_ENDPOINT', `http://${app.address}/msi/token`);
  vi.stubEnv('IDENTITY_HEADER', 'sesame-header');
  const { file: ca_file } = await testCa();
  const auth = { method: 'ambient', client_id: CLIENT };
  const vault = vaultTypes.build('azure-key-vault', { vault_url: azure.url, ca_file, auth });
  const secret = await vault.read({ vault: 'kv', id: 'api' }, AbortSignal.timeout(8_000));
  expect([secret.reveal(), secret.version]).toEqual(['sesame-1', 'a1']);
  expect(app.requests.map(({ headers }) => headers['x-identity-header'])).toEqual(['sesame-header']);
  expect(vault.variables).toContain('IDENTITY_HEADER');
});
