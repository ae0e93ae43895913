import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { testCa } from '../support/pki.ts';
import { spawnTestGate } from '../support/process.ts';
import { request } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import { CLIENT, fail, startAzure, TENANT } from '../support/upstreams/azure.ts';
import { serviceAccount, startSecretManager } from '../support/upstreams/secret-manager.ts';
import { closing, ECHO_HOST, enter } from './scene.ts';

interface Cloud {
  /** Under `vaults`, in a configuration. */
  readonly vault: object;
  readonly from: string;
  /** What the gate holds to log in with, and what it logged in for. */
  readonly secrets: () => readonly string[];
  rotate(value: string): void;
  deny(): void;
  readonly denied: string;
  /** Values that were read. */
  readonly reads: () => number;
}

async function azureCloud(value: string): Promise<Cloud> {
  const clientSecret = canary('cs~');
  const secret_file = join(tempFolder('azure'), 'client-secret');
  writeFileSync(secret_file, clientSecret, { mode: 0o600 });
  const azure = closing(await startAzure({ secrets: { api: [{ version: 'v1', value }] }, clientSecret }));
  const { file: ca_file } = await testCa();
  const auth = { method: 'client-secret', tenant: TENANT, client_id: CLIENT, secret_file };
  return {
    vault: { type: 'azure-key-vault', vault_url: azure.url, authority: azure.url, ca_file, auth },
    from: 'cloud:api',
    secrets: () => [clientSecret, ...azure.tokens],
    rotate: next => azure.secrets['api']?.push({ version: 'v2', value: next }),
    deny: () => {
      azure.fault = ({ url, headers }, response) => {
        if (!url.startsWith('/secrets/') || !headers.authorization) return false;
        fail(response, 403, 'Forbidden', headers.authorization, { code: 'ForbiddenByRbac' });
        return true;
      };
    },
    denied: 'give it the role "Key Vault Secrets User"',
    reads: () => azure.asked('/secrets/').length - 1,
  };
}

async function googleCloud(value: string): Promise<Cloud> {
  const account = serviceAccount();
  const credentials_file = join(tempFolder('google'), 'key.json');
  writeFileSync(credentials_file, account.json, { mode: 0o600 });
  const name = 'projects/my-project/secrets/api';
  const manager = closing(await startSecretManager({ secrets: { [name]: [{ data: value }] } }));
  manager.robot = account.publicKey;
  const { file: ca_file } = await testCa();
  const sent = () =>
    manager.calls.map(fields => String(fields.get('authorization')[0]).replace('Bearer ', ''));
  return {
    vault: {
      type: 'gcp-secret-manager',
      endpoint: manager.url,
      project: 'my-project',
      credentials_file,
      ca_file,
    },
    from: 'cloud:api',
    secrets: () => [account.pem.split('\n')[5] ?? '', ...sent()],
    rotate: next => manager.secrets[name]?.push({ data: next }),
    deny: () => {
      manager.fault = (_, callback) => {
        callback({ code: grpc.status.PERMISSION_DENIED, details: `no ${sent().join(' ')}` });
        return true;
      };
    },
    denied: 'grant it roles/secretmanager.secretAccessor',
    reads: () => manager.asked.length,
  };
}

/** A gate in a process of its own, as an operator configures it. */
async function gateWith(cloud: Cloud, upstream: Awaited<ReturnType<typeof startHttp>>) {
  return enter(
    await spawnTestGate({
      rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
      upstreams: { [ECHO_HOST]: upstream },
      config: {
        vaults: { cloud: cloud.vault },
        credentials: { api: { from: cloud.from, stub: { env: 'API_KEY' } } },
      },
    }),
  );
}

test.each([
  ['Azure Key Vault', azureCloud, ['v1', 'v2']],
  ['Google Secret Manager', googleCloud, ['1', '2']],
])('%s: read once for twenty first requests, and again after a 401', async (_, start, versions) => {
  const [first, second] = [canary('key-'), canary('key-')];
  let accepted = first;
  const upstream = closing(
    await startHttp({ hosts: [ECHO_HOST] }, ({ headers: { authorization = '' } }, response) => {
      response.statusCode = authorization === `Bearer ${accepted}` ? 200 : 401;
      response.end(`you sent ${authorization}`);
    }),
  );
  const cloud = await start(first);
  const { gate, session, env } = await gateWith(cloud, upstream);
  const stub = env['API_KEY'] ?? '';
  const head = `GET /me HTTP/1.1\r\nHost: ${ECHO_HOST}\r\nAuthorization: Bearer ${stub}`;
  const get = () => request(session.proxy, gate.ca, ECHO_HOST, head);

  const exchanges = await Promise.all(Array.from({ length: 20 }, get));
  for (const { reply } of exchanges) {
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toBe(`you sent Bearer ${stub}`);
  }
  expect(new Set(upstream.requests.map(({ headers }) => headers.authorization))).toEqual(
    new Set([`Bearer ${first}`]),
  );
  expect(cloud.reads()).toBe(1);

  cloud.rotate(second);
  accepted = second;
  const rotated = await get();
  expect(rotated.reply.status).toBe(200);
  expect(rotated.reply.body.toString()).toBe(`you sent Bearer ${stub}`);
  expect(upstream.requests.at(-1)?.headers.authorization).toBe(`Bearer ${second}`);
  expect(cloud.reads()).toBe(2);

  const lines = await gate.audit(21);
  expect([...new Set(lines.map(({ injected }) => injected[0]?.version))]).toEqual(versions);
  const told = gate.auditText() + JSON.stringify(gate.logs);
  const seen = Buffer.concat([...exchanges, rotated].map(({ bytes }) => bytes));
  for (const secret of [first, second, ...cloud.secrets()]) {
    expect(leaks(told, secret)).toEqual([]);
    expect(leaks(seen, secret)).toEqual([]);
  }
});

test.each([
  ['Azure Key Vault', azureCloud],
  ['Google Secret Manager', googleCloud],
])('%s denies: told to the operator, not to the sandbox', async (_, start) => {
  const upstream = closing(
    await startHttp({ hosts: [ECHO_HOST] }, (_request, response) => void response.end()),
  );
  const cloud = await start(canary());
  cloud.deny();
  const { gate, session, env } = await gateWith(cloud, upstream);
  const head = `GET /me HTTP/1.1\r\nHost: ${ECHO_HOST}\r\nAuthorization: Bearer ${env['API_KEY']}`;
  const { reply, bytes } = await request(session.proxy, gate.ca, ECHO_HOST, head);
  expect(reply.status).toBe(503);
  expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code: 'credential_unavailable' } });
  expect(bytes.toString()).not.toMatch(/vault|role|secretmanager|cloud/i);
  const told = JSON.stringify(gate.logs);
  expect(gate.logs.map(({ fields }) => String(fields['cause'])).join()).toContain(cloud.denied);
  for (const secret of cloud.secrets()) expect(leaks(told, secret)).toEqual([]);
  expect(upstream.requests).toEqual([]);
});
