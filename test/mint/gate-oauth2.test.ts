import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { canary, leaks } from '../support/canary.ts';
import { startTestGate } from '../support/gate.ts';
import { request } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { startEcho, startHttp } from '../support/upstream.ts';
import { reply } from './github.ts';

const HOST = 'api.corp.test';

test('a token from a refresh token: the client secret and what the issuer rotates to stay inside, too', async () => {
  const secrets = {
    refresh: canary('rt_'),
    rotated: canary('rt_'),
    client: canary('cs_'),
    token: canary('at_'),
  };
  const clientFile = join(tempFolder('oauth2'), 'client-secret');
  writeFileSync(clientFile, secrets.client, { mode: 0o600 });
  const issuer = closing(
    await startHttp({}, (_, response) => {
      const json = { access_token: secrets.token, refresh_token: secrets.rotated, expires_in: 600 };
      reply(response, 200, { ...json, token_type: 'bearer' });
    }),
  );
  let told = '';
  const upstream = closing(
    await startHttp({ hosts: [HOST] }, ({ headers }, response) => {
      response.end(`${headers.authorization} ${told}`);
    }),
  );
  const gate = await startTestGate({
    credentials: {
      api: {
        secret: secrets.refresh,
        env: 'API_TOKEN',
        mint: {
          type: 'oauth2',
          grant: 'refresh_token',
          token_url: `http://${issuer.address}/token`,
          client_id: 'me',
          client_secret: `file:${clientFile}`,
        },
      },
    },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  onTestFinished(() => gate.stop());
  const session = await gate.session();
  const stub = session.stubs['API_TOKEN'] ?? '';
  const get = (more = '') => {
    const head = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${stub}${more}`;
    return request(session.proxy, gate.ca, HOST, head);
  };

  const { reply: answer, bytes } = await get();
  expect(answer.status).toBe(200);
  expect(upstream.requests[0]?.headers.authorization).toBe(`Bearer ${secrets.token}`);
  expect(answer.body.toString()).toBe(`Bearer ${stub} `);
  expect(leaks(bytes, secrets.token)).toEqual([]);
  const basic = Buffer.from(`me:${secrets.client}`).toString('base64');
  expect(issuer.requests.map(({ headers }) => headers.authorization)).toEqual([`Basic ${basic}`]);

  for (const secret of Object.values(secrets)) {
    told = secret;
    const echoed = await get();
    expect(echoed.reply.body.toString()).toBe(`Bearer ${stub} ${stub}`);
    expect(leaks(echoed.bytes, secret)).toEqual([]);
    const found = await get(`\r\nX-Other: ${secret}`);
    expect(JSON.parse(found.reply.body.toString())).toMatchObject({ error: { code: 'secret_in_request' } });
  }
  const shown = gate.auditText() + inspect(gate.logs, { depth: 12 });
  for (const secret of Object.values(secrets)) expect(leaks(shown, secret)).toEqual([]);
  expect(issuer.requests).toHaveLength(1);
});

test('an issuer that fails is told to the operator, not to the sandbox', async () => {
  const issuer = closing(await startHttp({}, (_, response) => reply(response, 500, {})));
  const upstream = closing(await startEcho({ hosts: [HOST] }));
  const secret = canary('cs_');
  const mint = { type: 'oauth2', grant: 'client_credentials', client_id: 'me' };
  const gate = await startTestGate({
    credentials: {
      api: { secret, env: 'API_TOKEN', mint: { ...mint, token_url: `http://${issuer.address}/token` } },
    },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  onTestFinished(() => gate.stop());
  const session = await gate.session();
  const head = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${session.stubs['API_TOKEN']}`;
  const { reply: answer, bytes } = await request(session.proxy, gate.ca, HOST, head);
  expect(answer.status).toBe(503);
  expect(bytes.toString()).toContain('credential_unavailable');
  expect(bytes.toString()).not.toContain(issuer.address);
  expect(inspect(gate.logs, { depth: 12 })).toContain(`http://${issuer.address}/token answered 500`);
  expect(upstream.requests).toEqual([]);
  expect(leaks(inspect(gate.logs, { depth: 12 }), secret)).toEqual([]);
});

test('an issuer at an address that may not be dialled is not dialled', async () => {
  const issuer = closing(
    await startHttp({ hosts: ['127.0.0.1'] }, (_, response) => reply(response, 200, {})),
  );
  const upstream = closing(await startEcho({ hosts: [HOST] }));
  const mint = { type: 'oauth2', grant: 'client_credentials', client_id: 'me' };
  const gate = await startTestGate({
    credentials: {
      api: {
        secret: canary(),
        env: 'API_TOKEN',
        mint: { ...mint, token_url: `https://${issuer.address}/t` },
      },
    },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  onTestFinished(() => gate.stop());
  const session = await gate.session();
  const head = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${session.stubs['API_TOKEN']}`;
  expect((await request(session.proxy, gate.ca, HOST, head)).reply.status).toBe(503);
  expect(inspect(gate.logs, { depth: 12 })).toContain('no answer: forbidden_address');
  expect(issuer.requests).toEqual([]);
});
