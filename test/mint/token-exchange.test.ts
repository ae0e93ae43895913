import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, it, onTestFinished } from 'vitest';
import { minters } from '../../src/mint/index.ts';
import { closing } from '../e2e/scene.ts';
import { canary, leaks } from '../support/canary.ts';
import { startTestGate } from '../support/gate.ts';
import { request } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpOptions, type HttpUpstream, startEcho, startHttp } from '../support/upstream.ts';
import { idToken } from '../support/upstreams/secret-manager.ts';
import { deskOf } from './desk.ts';
import { type Json, reply } from './github.ts';

const TYPE = 'urn:ietf:params:oauth:token-type:';
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** An authorization server; `json` replaces what is in its answers. */
async function startSts(
  json: (token: string) => Json = () => ({}),
  options: HttpOptions = {},
): Promise<HttpUpstream & { readonly token: string; readonly url: string }> {
  const token = canary('tx_');
  const upstream = closing(
    await startHttp(options, ({ method, url, body }, response) => {
      const form = new URLSearchParams(body.toString());
      if (
        method !== 'POST' ||
        url !== '/token' ||
        form.get('grant_type') !== GRANT ||
        !form.get('subject_token_type')
      )
        return reply(response, 400, { error: 'invalid_request', error_description: body.toString() });
      const usual = { access_token: token, issued_token_type: `${TYPE}access_token`, token_type: 'Bearer' };
      reply(response, 200, { ...usual, expires_in: 600, ...json(token) });
    }),
  );
  return { ...upstream, token, url: `http://${upstream.address}/token` };
}

const pairs = (upstream: HttpUpstream): [string, string][] => [
  ...new URLSearchParams(upstream.requests[0]?.body.toString()),
];

it('exchanges the subject’s token, and nothing more by itself', async () => {
  const sts = await startSts();
  const desk = deskOf('token-exchange', { token_url: sts.url });
  const secret = await desk.get();
  expect(secret.reveal()).toBe(sts.token);
  expect(secret.version).toMatch(/^expires \S+Z$/);
  expect(sts.requests[0]?.headers.authorization).toBeUndefined();
  expect(pairs(sts)).toEqual([
    ['grant_type', GRANT],
    ['subject_token', 'from-the-vault-1'],
    ['subject_token_type', `${TYPE}access_token`],
  ]);
});

it('sends all that RFC 8693 knows, and proves the client', async () => {
  const sts = await startSts(() => ({ issued_token_type: `${TYPE}jwt`, token_type: 'N_A' }));
  const desk = deskOf('token-exchange', {
    token_url: sts.url,
    subject_token_type: 'id_token',
    actor_token: 'env:ACTOR',
    actor_token_type: 'jwt',
    requested_token_type: 'jwt',
    audience: ['https://a.test', 'https://b.test'],
    resource: 'https://a.test/v1',
    scope: 'read write',
    client_id: 'gate',
    client_secret: 'env:SECRET',
  });
  desk.vault.set('api/actor_token', 'actor-token-1');
  desk.vault.set('api/client_secret', 'client-secret-1');
  expect((await desk.get()).reveal()).toBe(sts.token);
  const basic = Buffer.from('gate:client-secret-1').toString('base64');
  expect(sts.requests[0]?.headers).toMatchObject({
    authorization: `Basic ${basic}`,
    'content-type': 'application/x-www-form-urlencoded',
  });
  expect(pairs(sts)).toEqual([
    ['grant_type', GRANT],
    ['subject_token', 'from-the-vault-1'],
    ['subject_token_type', `${TYPE}id_token`],
    ['actor_token', 'actor-token-1'],
    ['actor_token_type', `${TYPE}jwt`],
    ['requested_token_type', `${TYPE}jwt`],
    ['audience', 'https://a.test'],
    ['audience', 'https://b.test'],
    ['resource', 'https://a.test/v1'],
    ['scope', 'read write'],
  ]);
});

it('takes the subject’s newest token when the old one is refused', async () => {
  let told = 0;
  const sts = closing(
    await startHttp({}, ({ body }, response) => {
      told++;
      if (new URLSearchParams(body.toString()).get('subject_token') !== 'subject-2') {
        desk.vault.set('api', 'subject-2');
        return reply(response, 400, { error: 'invalid_request' });
      }
      reply(response, 200, {
        access_token: 'abcdefghijk',
        issued_token_type: `${TYPE}access_token`,
        token_type: 'Bearer',
      });
    }),
  );
  const desk = deskOf('token-exchange', { token_url: `http://${sts.address}/token` });
  expect((await desk.get()).reveal()).toBe('abcdefghijk');
  expect(told).toBe(2);
});

it.each<[string, Json, object, string]>([
  ['no issued_token_type', { issued_token_type: undefined }, {}, 'another type than was asked for'],
  ['a refresh token', { issued_token_type: `${TYPE}refresh_token` }, {}, 'another type than was asked for'],
  ['what was not asked for', {}, { requested_token_type: 'jwt' }, 'another type than was asked for'],
  ['no token_type', { token_type: undefined }, {}, 'another type than Bearer or N_A'],
  ['a bound token', { token_type: 'DPoP' }, {}, 'another type than Bearer or N_A'],
  ['no token', { access_token: undefined }, {}, 'no usable "access_token"'],
  ['a split token', { access_token: 'abcdefgh\r\nX: y' }, {}, 'no usable "access_token"'],
  ['an odd lifetime', { expires_in: -1 }, {}, 'no usable "expires_in"'],
])('refuses an answer with %s', async (_, json, options, words) => {
  const sts = await startSts(() => json);
  const desk = deskOf('token-exchange', { token_url: sts.url, ...options });
  expect(await desk.refusal()).toMatchObject({
    kind: 'unavailable',
    message: expect.stringContaining(words) as string,
  });
  expect(leaks(desk.told(), sts.token)).toEqual([]);
});

it.each([
  [400, 'invalid_target', 'missing', 'answered 400 (invalid_target)'],
  [400, 'from-the-vault-1', 'missing', 'answered 400'],
  [429, 'x', 'unavailable', 'answered 429'],
])('tells of %i %s', async (status, error, kind, words) => {
  const sts = closing(await startHttp({}, (_, response) => reply(response, status, { error })));
  const desk = deskOf('token-exchange', { token_url: `http://${sts.address}/token` });
  const refusal = await desk.refusal();
  expect(refusal.kind).toBe(kind);
  expect(refusal.message.endsWith(words)).toBe(true);
  expect(desk.told()).not.toContain('from-the-vault-1');
});

it.each<[string, unknown, string]>([
  [
    'a chain',
    { sub: 'agent-7', act: { sub: 'orchestrator', act: { sub: 'gate' } } },
    ', act agent-7 < orchestrator < gate',
  ],
  ['nobody', undefined, ''],
  ['text', 'agent', ''],
  ['names that could forge a line', { sub: 'a\n{"verdict":"allow"}', act: { sub: 'b c' } }, ', act ? < ?'],
  ['a secret', { sub: 'x-from-the-vault-1' }, ''],
])('tells the audit who acts: %s', async (_, act, words) => {
  const token = idToken({ sub: 'user-1', act });
  const sts = await startSts(() => ({ access_token: token }));
  const { version } = await deskOf('token-exchange', { token_url: sts.url }).get();
  expect(version?.replace(/^expires \S+Z/, '')).toBe(words);
});

it('cuts an endless chain', async () => {
  let act: object = { sub: 'x'.repeat(100) };
  for (let i = 0; i < 100; i++) act = { sub: 'y'.repeat(100), act };
  const sts = await startSts(() => ({ access_token: idToken({ act }) }));
  const { version = '' } = await deskOf('token-exchange', { token_url: sts.url }).get();
  expect(version.length).toBeLessThan(300);
});

it.each([
  [{ actor_token: 'env:A' }, 'write both, or none'],
  [{ actor_token_type: 'jwt' }, 'write both, or none'],
  [{ client_secret: 'env:A' }, '`client_secret` needs it'],
  [{ subject_token_type: 'cookie' }, 'is not a type of token'],
  [{ subject: 'alice' }, 'write session, or leave it out'],
  [{ requested_token_type: 'refresh_token' }, 'is no token that can be injected'],
  [{ token_url: 'http://issuer.test/token' }, 'https URL'],
])('refuses the options %j', (options, words) => {
  expect(() =>
    minters.build('token-exchange', { token_url: 'https://issuer.test/token', ...options }),
  ).toThrow(words);
});

it('is injected, dialled like an upstream, scrubbed, and told in the audit; the subject’s token never leaves', async () => {
  const [host, issuerHost] = ['api.corp.test', 'sts.corp.test'];
  const secrets = { subject: canary('st_'), actor: canary('ac_') };
  const actorFile = join(tempFolder('actor'), 'actor');
  writeFileSync(actorFile, secrets.actor, { mode: 0o600 });
  const token = idToken({ sub: 'user-1', act: { sub: 'agent-7' } });
  const sts = await startSts(() => ({ access_token: token }), { hosts: [issuerHost] });
  const upstream = closing(await startEcho({ hosts: [host] }));
  const gate = await startTestGate({
    credentials: {
      api: {
        secret: secrets.subject,
        env: 'API_TOKEN',
        mint: {
          type: 'token-exchange',
          token_url: `https://${issuerHost}/token`,
          actor_token: `file:${actorFile}`,
          actor_token_type: 'access_token',
        },
      },
    },
    rules: [{ name: 'api', hosts: [host], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [host]: upstream, [issuerHost]: sts },
  });
  onTestFinished(() => gate.stop());
  const session = await gate.session();
  const stub = session.stubs['API_TOKEN'] ?? '';
  const head = `GET / HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${stub}`;
  const { reply: answer, bytes } = await request(session.proxy, gate.ca, host, head);
  expect(answer.status).toBe(200);
  expect(upstream.requests[0]?.headers.authorization).toBe(`Bearer ${token}`);
  expect(JSON.parse(answer.body.toString())).toMatchObject({ headers: { authorization: `Bearer ${stub}` } });
  expect(Object.fromEntries(pairs(sts))).toMatchObject({
    subject_token: secrets.subject,
    actor_token: secrets.actor,
  });
  const [line] = await gate.audit(1);
  expect(line?.injected[0]?.version).toMatch(/^expires \S+Z, act agent-7$/);
  const told = gate.auditText() + inspect(gate.logs, { depth: 12 });
  for (const secret of [token, ...Object.values(secrets)]) {
    expect(leaks(bytes, secret)).toEqual([]);
    expect(leaks(told, secret)).toEqual([]);
  }
  for (const secret of Object.values(secrets)) {
    const found = await request(session.proxy, gate.ca, host, `${head}\r\nX-Other: ${secret}`);
    expect(JSON.parse(found.reply.body.toString())).toMatchObject({ error: { code: 'secret_in_request' } });
  }
});
