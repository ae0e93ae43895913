import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { testCa } from '../support/pki.ts';
import { spawnTestGate } from '../support/process.ts';
import { request } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import { startVault, type VaultServer } from '../support/upstreams/vault.ts';
import { closing, ECHO_HOST, enter } from './scene.ts';

/** A gate whose one credential is in that Vault, as an operator configures it. */
async function gateWith(vault: VaultServer, upstream: Awaited<ReturnType<typeof startHttp>>) {
  const secretId = join(tempFolder('approle'), 'secret-id');
  writeFileSync(secretId, 'sesame-secret-id', { mode: 0o600 });
  const auth = { method: 'approle', role_id: 'role-1', secret_id_file: secretId };
  const address = `https://${vault.address}`;
  const { file: ca_file } = await testCa();
  return enter(
    await spawnTestGate({
      rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
      upstreams: { [ECHO_HOST]: upstream },
      config: {
        vaults: { corp: { type: 'hashicorp-vault', address, ca_file, auth } },
        credentials: { api: { from: 'corp:ci/api#token', stub: { env: 'API_KEY' } } },
      },
    }),
  );
}

test('a credential in Vault is read once for fifty first requests, and again after a 401', async () => {
  const [first, second] = [canary('key-'), canary('key-')];
  let accepted = first;
  const upstream = closing(
    await startHttp({ hosts: [ECHO_HOST] }, ({ headers: { authorization = '' } }, response) => {
      response.statusCode = authorization === `Bearer ${accepted}` ? 200 : 401;
      response.end(`you sent ${authorization}`);
    }),
  );
  const vault = closing(
    await startVault({ hosts: ['127.0.0.1'], secrets: { 'ci/api': [{ token: first }] } }),
  );
  const { gate, session, env } = await gateWith(vault, upstream);
  const stub = env['API_KEY'] ?? '';
  const get = () =>
    request(
      session.proxy,
      gate.ca,
      ECHO_HOST,
      `GET /me HTTP/1.1\r\nHost: ${ECHO_HOST}\r\nAuthorization: Bearer ${stub}`,
    );

  const exchanges = await Promise.all(Array.from({ length: 50 }, get));
  for (const { reply } of exchanges) {
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toBe(`you sent Bearer ${stub}`);
  }
  expect(upstream.requests.map(({ headers }) => headers.authorization)).toEqual(
    Array.from({ length: 50 }, () => `Bearer ${first}`),
  );
  expect(vault.asked()).toEqual(['POST /v1/auth/approle/login', 'GET /v1/secret/data/ci/api']);

  vault.secrets['ci/api'] = [{ token: first }, { token: second }];
  accepted = second;
  const rotated = await get();
  expect(rotated.reply.status).toBe(200);
  expect(rotated.reply.body.toString()).toBe(`you sent Bearer ${stub}`);
  expect(upstream.requests.slice(50).map(({ headers }) => headers.authorization)).toEqual([
    `Bearer ${first}`,
    `Bearer ${second}`,
  ]);
  expect(vault.asked('secret')).toHaveLength(2);

  const lines = await gate.audit(51);
  expect(lines.map(({ injected }) => injected[0]?.version)).toEqual([
    ...Array.from({ length: 50 }, () => '1'),
    '2',
  ]);
  const told = gate.auditText() + JSON.stringify(gate.logs);
  const seen = Buffer.concat([...exchanges, rotated].map(({ bytes }) => bytes));
  for (const secret of [first, second, 'sesame-secret-id', ...vault.tokens]) {
    expect(leaks(told, secret)).toEqual([]);
    expect(leaks(seen, secret)).toEqual([]);
  }
});

test('a Vault that denies is told to the operator, not to the sandbox', async () => {
  const upstream = closing(await startHttp({ hosts: [ECHO_HOST] }, (_, response) => void response.end()));
  const vault = closing(await startVault({ hosts: ['127.0.0.1'] }));
  vault.fault = ({ url }, response) => {
    if (url.includes('login')) return false;
    response.writeHead(url.includes('lookup') ? 200 : 403);
    response.end('{"errors":["sesame"]}');
    return true;
  };
  const { gate, session, env } = await gateWith(vault, upstream);
  const { reply, bytes } = await request(
    session.proxy,
    gate.ca,
    ECHO_HOST,
    `GET /me HTTP/1.1\r\nHost: ${ECHO_HOST}\r\nAuthorization: Bearer ${env['API_KEY']}`,
  );
  expect(reply.status).toBe(503);
  expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code: 'credential_unavailable' } });
  expect(bytes.toString()).not.toMatch(/vault|policy|secret\/data/i);
  const told = JSON.stringify(gate.logs);
  expect(told).toContain(
    "corp:ci/api#token: Vault denies it (403); let the gate's policy read below secret/data/",
  );
  for (const secret of ['sesame', ...vault.tokens]) expect(told).not.toContain(secret);
  expect(upstream.requests).toEqual([]);
});
