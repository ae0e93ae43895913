import { expect, it, vi } from 'vitest';
import { vaultTypes } from '../../src/vaults/index.ts';
import { closing } from '../e2e/scene.ts';
import { testCa } from '../support/pki.ts';
import { CLIENT, startAzure, startMachine, TENANT } from '../support/upstreams/azure.ts';

// MSAL keeps the kind of machine, and its address, for the whole process: one file for each.
it('logs in with the identity of a virtual machine, system-assigned or not', async () => {
  const azure = closing(await startAzure({ secrets: { api: [{ version: 'a1', value: 'sesame-1' }] } }));
  const imds = closing(await startMachine(azure, [CLIENT]));
  vi.stubEnv('AZURE_POD_IDENTITY_AUTHORITY_HOST', `http://${imds.address}`);
  const read = async (auth?: object) => {
    const { file: ca_file } = await testCa();
    const vault = vaultTypes.build('azure-key-vault', { vault_url: azure.url, ca_file, auth });
    return vault.read({ vault: 'kv', id: 'api' }, AbortSignal.timeout(8_000));
  };
  expect((await read()).reveal()).toBe('sesame-1');
  expect((await read({ method: 'managed-identity', client_id: CLIENT })).reveal()).toBe('sesame-1');
  const asked = imds.requests.map(({ url }) => new URL(url, 'http://x').searchParams.get('client_id'));
  expect(asked).toEqual([null, CLIENT]);
  const error: unknown = await read({ method: 'managed-identity', client_id: TENANT }).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({
    kind: 'unavailable',
    message:
      'kv:api: the login with managed-identity was refused (400); check that an identity is assigned to this machine, and client_id',
    cause: undefined,
  });
  expect(azure.asked('token')).toEqual([]);
});
