import { Buffer } from 'node:buffer';
import { describe, expect, it, onTestFinished, test, vi } from 'vitest';
import type { Minter } from '../../src/mint/minter.ts';
import { Secret } from '../../src/secret.ts';
import { closing } from '../e2e/scene.ts';
import { canary, leaks } from '../support/canary.ts';
import { startTestGate } from '../support/gate.ts';
import { request } from '../support/raw-client.ts';
import { type Received, startEcho, startHttp } from '../support/upstream.ts';
import { type Desk, deskOf, openDesk, principal } from './desk.ts';
import { APP_ID, appKey, type Github, INSTALLATION, reply, startGithub } from './github.ts';

const { pem, publicKey } = appKey();

async function githubDesk(options: object = {}): Promise<{ desk: Desk; github: Github }> {
  const github = closing(await startGithub({}, publicKey));
  const desk = deskOf('github-app', {
    app_id: APP_ID,
    installation_id: INSTALLATION,
    permissions: { contents: 'read' },
    api: `http://${github.address}`,
    ...options,
  });
  desk.vault.set('api', pem);
  return { desk, github };
}

const tokens = ({ issued }: Github): string[] => issued.map(({ token }) => token);

describe('a token of a GitHub App', () => {
  it('is revoked when the last session that was given it ends', async () => {
    const { desk, github } = await githubDesk();
    const [one, other] = [principal('one'), principal('other')];
    await desk.get(one);
    await desk.get(other);
    desk.cache.release(one);
    desk.cache.release(one);
    await desk.get(other);
    expect(github.revoked).toEqual([]);
    desk.cache.release(other);
    await vi.waitFor(() => expect(github.revoked).toEqual(tokens(github)));
    // It is still looked for, and the next session has another one.
    const third = principal('third');
    const [first] = tokens(github);
    expect((await desk.get(third)).reveal()).not.toBe(first);
    expect(desk.cache.known(['api'], third).map(secret => secret.reveal())).toContain(first);
    expect(leaks(desk.told(), first ?? '')).toEqual([]);
  });

  it('is revoked with those that it replaced and that have not ended', async () => {
    const { desk, github } = await githubDesk();
    const one = principal('one');
    const first = await desk.get(one);
    await desk.cache.remint('api', one, first);
    desk.cache.release(one);
    await vi.waitFor(() => expect(github.revoked.toSorted()).toEqual(tokens(github).toSorted()));
    expect(github.issued).toHaveLength(2);
  });

  it('is not revoked once it has ended', async () => {
    const { desk, github } = await githubDesk();
    await desk.get(principal('one'));
    const who = principal('two');
    await desk.get(who);
    desk.now = Date.now() + 2 * 3_600_000;
    desk.cache.release(who);
    await desk.cache.close();
    expect(github.requests.filter(({ method }) => method === 'DELETE')).toEqual([]);
  });

  it('that is being minted when its session ends is revoked as soon as it is there', async () => {
    const { desk, github } = await githubDesk();
    const held: (() => void)[] = [];
    github.answer = (response, json) => held.push(() => reply(response, 201, json));
    const who = principal('one');
    const got = desk.get(who);
    await vi.waitFor(() => expect(held).toHaveLength(1));
    desk.cache.release(who);
    held[0]?.();
    await got;
    await vi.waitFor(() => expect(github.revoked).toEqual(tokens(github)));
    // Nor can a request of an ended session cause another.
    expect((await desk.refusal(who)).message).toBe('the session has ended');
  });

  it('is revoked by `close`, which ends even if the issuer hangs', async () => {
    const { desk, github } = await githubDesk();
    await desk.get(principal('one'));
    await desk.cache.close();
    expect(github.revoked).toEqual(tokens(github));

    const hung = closing(await startHttp({}, () => {}));
    const minter: Minter = {
      rotates: false,
      scope: () => '',
      mint: async (_, { now }) => ({
        secret: new Secret('x', canary('at_'), 'v'),
        expiresAt: now + 3_600_000,
      }),
      revoke: async (_, { post }) => {
        await post(new URL(`http://${hung.address}/x`), {}, '', 'revoke by DELETE');
      },
    };
    const other = openDesk(minter);
    await other.get(principal('one'));
    const start = performance.now();
    await other.cache.close();
    expect(performance.now() - start).toBeLessThan(5_000);
    expect(other.told()).toContain('could not be revoked');
  });

  it.each([
    ['401', 401, undefined],
    ['404', 404, 'answered 404'],
    ['500', 500, 'answered 500'],
    ['302', 302, 'no redirect is followed'],
  ])('whose revocation is answered %s', async (_, status, words) => {
    const { desk, github } = await githubDesk();
    await desk.get(principal('one'));
    const [token = ''] = tokens(github);
    github.fault = response => {
      response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end(`no ${token}`);
    };
    await desk.cache.close();
    if (words === undefined) expect(desk.told()).not.toContain('could not be revoked');
    else expect(desk.told()).toContain(words);
    expect(leaks(desk.told(), token)).toEqual([]);
  });
});

const form = (received: Received | undefined): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(received?.body.toString() ?? ''));

describe('an OAuth 2.0 token', () => {
  async function oauthDesk(options: object, answer = 200) {
    const token = canary('at_');
    const server = closing(
      await startHttp({}, ({ url }, response) => {
        if (url === '/token')
          reply(response, 200, { access_token: token, token_type: 'Bearer', expires_in: 3600 });
        // RFC 7009, section 2.2: what is in the body is ignored.
        else response.writeHead(answer).end(`ignored ${token}`);
      }),
    );
    const url = `http://${server.address}`;
    const urls = { token_url: `${url}/token`, revocation_url: `${url}/revoke` };
    const desk = deskOf('oauth2', { client_id: 'me', ...urls, ...options });
    desk.vault.set('api/client_secret', 'client-secret-1');
    const who = principal('one');
    await desk.get(who);
    desk.cache.release(who);
    await desk.cache.close();
    return { desk, token, asked: server.requests.filter(one => one.url === '/revoke') };
  }

  it.each([
    [
      'client_credentials, Basic',
      { grant: 'client_credentials' },
      {},
      `Basic ${Buffer.from('me:from-the-vault-1').toString('base64')}`,
    ],
    [
      'client_credentials, post',
      { grant: 'client_credentials', client_auth: 'post' },
      { client_id: 'me', client_secret: 'from-the-vault-1' },
      undefined,
    ],
    [
      'refresh_token, with a client secret',
      { grant: 'refresh_token', client_secret: 'env:X_Y' },
      {},
      `Basic ${Buffer.from('me:client-secret-1').toString('base64')}`,
    ],
    ['refresh_token, without', { grant: 'refresh_token' }, { client_id: 'me' }, undefined],
  ])('is revoked as RFC 7009 has it: %s', async (_, options, more, authorization) => {
    const { asked, token, desk } = await oauthDesk(options);
    expect(asked).toHaveLength(1);
    expect([asked[0]?.method, asked[0]?.headers.authorization]).toEqual(['POST', authorization]);
    expect(form(asked[0])).toEqual({ token, token_type_hint: 'access_token', ...more });
    expect(leaks(desk.told(), token)).toEqual([]);
    expect(desk.told()).not.toContain('could not be revoked');
  });

  it('is left to end where there is no revocation_url, or the server refuses', async () => {
    const none = await oauthDesk({ grant: 'client_credentials', revocation_url: undefined });
    expect(none.asked).toEqual([]);
    const refused = await oauthDesk({ grant: 'client_credentials' }, 503);
    expect(refused.desk.told()).toContain('answered 503');
    for (const secret of [refused.token, 'from-the-vault-1'])
      expect(leaks(refused.desk.told(), secret)).toEqual([]);
  });
});

test('a gate revokes a session’s token when the session ends, and the others when it stops', async () => {
  const [host, issuer] = ['api.github.test', 'issuer.github.test'];
  const github = closing(await startGithub({ hosts: [issuer] }, publicKey));
  const upstream = closing(await startEcho({ hosts: [host] }));
  const mint = {
    type: 'github-app',
    app_id: APP_ID,
    installation_id: INSTALLATION,
    api: `https://${issuer}`,
  };
  const gate = await startTestGate({
    credentials: {
      gh: {
        secret: pem,
        env: 'GH_TOKEN',
        mint: { ...mint, permissions: { contents: 'read' }, repositories: ['{label.repo}'] },
      },
    },
    rules: [{ name: 'api', hosts: [host], inject: [{ credential: 'gh', as: 'bearer' }] }],
    upstreams: { [host]: upstream, [issuer]: github },
  });
  onTestFinished(() => gate.stop());
  const sessions = [
    await gate.session({ labels: { repo: 'widgets' } }),
    await gate.session({ labels: { repo: 'gadgets' } }),
  ];
  for (const { proxy, stubs } of sessions) {
    const head = `GET / HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${stubs['GH_TOKEN']}`;
    expect((await request(proxy, gate.ca, host, head)).reply.status).toBe(200);
  }
  const [first = '', second = ''] = tokens(github);
  await gate.revoke(sessions[0]?.id ?? '');
  await vi.waitFor(() => expect(github.revoked).toEqual([first]));
  await gate.stop();
  expect(github.revoked).toEqual([first, second]);
  for (const token of [first, second]) {
    expect(leaks(gate.auditText(), token)).toEqual([]);
    expect(leaks(JSON.stringify(gate.logs), token)).toEqual([]);
  }
});
