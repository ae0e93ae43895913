import type http from 'node:http';
import { expect, it } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { leaks } from '../support/canary.ts';
import { startHttp } from '../support/upstream.ts';
import { idToken, serviceAccount } from '../support/upstreams/secret-manager.ts';
import { type Desk, deskOf } from './desk.ts';
import { type Json, reply, verified } from './github.ts';

const AUDIENCE = 'https://svc.run.test';
const account = serviceAccount();
const HOUR = 3_600;
const later = () => Math.floor(Date.now() / 1000) + HOUR;

/** Google's token endpoint, which gives an identity token to who signs for one. */
async function deskWith(answer: (response: http.ServerResponse, aud: string) => void, secret = account.json) {
  const issuer = closing(
    await startHttp({}, ({ method, url, body }, response) => {
      const form = new URLSearchParams(body.toString());
      const { header, claims } = verified(form.get('assertion') ?? '', account.publicKey);
      const { iss, sub, aud, target_audience: target, exp, iat } = claims as Record<string, string>;
      const isRight =
        method === 'POST' &&
        url === '/token' &&
        header['kid'] === 'key-1' &&
        iss === account.email &&
        sub === account.email &&
        aud === `http://${issuer.address}/token` &&
        Number(exp) - Number(iat) <= HOUR;
      if (isRight && target !== undefined) answer(response, target);
      else reply(response, 400, { error: 'invalid_grant', error_description: body.toString() });
    }),
  );
  const desk = deskOf('gcp-id-token', { audience: AUDIENCE, token_url: `http://${issuer.address}/token` });
  desk.vault.set('api', secret);
  return { desk, issuer };
}

const given =
  (json: (aud: string) => Json) =>
  (response: http.ServerResponse, aud: string): void =>
    reply(response, 200, json(aud));

function expectUntold(desk: Desk): void {
  const lines = account.pem.split('\n').filter(line => /^[^-]{9,}/.test(line));
  for (const line of lines) expect(leaks(desk.told(), line)).toEqual([]);
}

it('mints an identity token for the audience, which ends when it says', async () => {
  const exp = later();
  const token = idToken({ aud: AUDIENCE, exp });
  const { desk, issuer } = await deskWith(given(() => ({ id_token: token })));
  const secret = await desk.get();
  expect(secret.reveal()).toBe(token);
  expect(secret.version).toBe(`expires ${new Date(exp * 1000).toISOString().replace('.000', '')}`);
  await desk.get();
  expect(issuer.requests).toHaveLength(1);
});

it.each<[string, (aud: string) => Json, string]>([
  [
    'another audience',
    () => ({ id_token: idToken({ aud: 'https://other.test', exp: later() }) }),
    'no identity token for',
  ],
  ['no end', aud => ({ id_token: idToken({ aud }) }), 'no identity token for'],
  ['no JWT', () => ({ id_token: 'abcdefghijk' }), 'no identity token for'],
  ['an end in the past', aud => ({ id_token: idToken({ aud, exp: 4_711 }) }), 'has ended already'],
  ['an access token', () => ({ access_token: 'abcdefghijk' }), 'no usable "id_token"'],
])('refuses an answer with %s', async (_, json, words) => {
  const { desk } = await deskWith(given(json));
  expect((await desk.refusal()).message).toContain(words);
  expectUntold(desk);
});

it.each([
  ['a PEM alone', account.pem],
  ['JSON of something else', '{"token":"abcdefghijkl"}'],
  ['a key that is none', JSON.stringify({ client_email: 'a@b', private_key: 'sesame-key-1234' })],
])('refuses %s for a key, and tells nothing of it', async (_, secret) => {
  const { desk, issuer } = await deskWith(() => {}, secret);
  expect(await desk.refusal()).toMatchObject({ kind: 'missing' });
  expectUntold(desk);
  expect(desk.told()).not.toMatch(/sesame|abcdefghijkl/);
  expect(issuer.requests).toEqual([]);
});
