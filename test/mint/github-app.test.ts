import { createAppAuth } from '@octokit/auth-app';
import { request } from '@octokit/request';
import { describe, expect, it } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { leaks } from '../support/canary.ts';
import { type Desk, deskOf, principal } from './desk.ts';
import { APP_ID, appKey, type Github, INSTALLATION, type Json, reply, startGithub } from './github.ts';

const { pem, publicKey } = appKey();

async function scene(mint: object = {}): Promise<{ github: Github; desk: Desk }> {
  const github = closing(await startGithub({}, publicKey));
  const desk = deskOf('github-app', {
    app_id: APP_ID,
    installation_id: INSTALLATION,
    permissions: { contents: 'read', issues: 'write' },
    api: `http://${github.address}`,
    ...mint,
  });
  desk.vault.set('api', pem);
  return { github, desk };
}

describe('github-app', () => {
  it('asks as GitHub documents it, and uses the token until it ends', async () => {
    const { github, desk } = await scene();
    github.lifeMs = 600_000;
    const before = Date.now();
    const token = await desk.get();
    expect(token.reveal()).toBe(github.issued[0]?.token);
    const end = Date.parse(token.version?.replace('expires ', '') ?? '');
    expect(Math.abs(end - before - 600_000)).toBeLessThan(5_000);
    const [{ headers, body } = { headers: {}, body: Buffer.alloc(0) }] = github.requests;
    expect(headers).toMatchObject({
      accept: 'application/vnd.github+json',
      'content-type': 'application/json',
      'x-github-api-version': '2022-11-28',
      'user-agent': 'stubgate',
      host: github.address,
    });
    expect(body.toString()).toBe('{"permissions":{"contents":"read","issues":"write"}}');
  });

  it('asks what GitHub’s own library asks', async () => {
    const { github, desk } = await scene();
    await desk.get();
    const auth = createAppAuth({
      appId: APP_ID,
      privateKey: pem,
      installationId: INSTALLATION,
      request: request.defaults({ baseUrl: `http://${github.address}` }),
    });
    const { token, permissions } = await auth({
      type: 'installation',
      permissions: { contents: 'read', issues: 'write' },
    });
    expect(github.issued.map(one => one.token).at(-1)).toBe(token);
    const [ours, theirs] = github.requests;
    expect([theirs?.method, theirs?.url, JSON.parse(String(theirs?.body))]).toEqual([
      ours?.method,
      ours?.url,
      JSON.parse(String(ours?.body)),
    ]);
    expect(permissions).toEqual({ contents: 'read', issues: 'write' });
  });

  it('takes a client ID for the issuer, and an api below a path', async () => {
    const { github, desk } = await scene();
    const other = deskOf('github-app', {
      app_id: 'Iv23.abc',
      installation_id: 1,
      permissions: { contents: 'read' },
      api: `http://${github.address}/api/v3/`,
    });
    other.vault.set('api', pem);
    await other.refusal();
    expect(github.requests.map(({ url }) => url)).toContain('/api/v3/app/installations/1/access_tokens');
    expect(desk.reads).toEqual([]);
  });

  it('shares a token among sessions whose labels give the same repositories', async () => {
    const { github, desk } = await scene({ repositories: ['svc-{label.team}.{label.name}'] });
    await desk.get(principal('1', { team: 'a', name: 'x', run: '1' }));
    await desk.get(principal('2', { team: 'a', name: 'x', run: '2' }));
    await desk.get(principal('3', { team: 'b', name: 'x' }));
    expect(github.issued.map(({ repositories }) => repositories)).toEqual([['svc-a.x'], ['svc-b.x']]);
  });

  it.each<[string, Readonly<Record<string, string>>, string]>([
    ['none', {}, 'the session has no label "repo"'],
    ['one that every object has', { constructor: 'x' }, 'the session has no label "repo"'],
    ['one with an owner', { repo: 'acme/widgets' }, 'give no name of a repository'],
    ['a path', { repo: '..' }, 'give no name of a repository'],
    ['a template', { repo: '{label.other}', other: 'x' }, 'give no name of a repository'],
  ])('refuses a label: %s', async (_, labels, message) => {
    const { github, desk } = await scene({ repositories: ['{label.repo}'] });
    const refusal = await desk.refusal(principal('s', labels));
    expect(refusal.kind).toBe('missing');
    expect(refusal.message).toContain(message);
    expect(github.requests).toEqual([]);
  });

  it('tries the key that the vault holds by now, once', async () => {
    const { github, desk } = await scene();
    const next = appKey();
    github.publicKey = next.publicKey;
    const held = [pem, next.pem];
    desk.vault.get = () => held.shift();
    expect((await desk.get()).reveal()).toBe(github.issued[0]?.token);
    expect(github.requests).toHaveLength(2);
  });

  it('asks once with a key that the vault still holds', async () => {
    const { github, desk } = await scene();
    github.publicKey = appKey().publicKey;
    expect(await desk.refusal()).toMatchObject({
      kind: 'missing',
      message: expect.stringMatching(/ answered 401$/) as string,
    });
    expect(github.requests).toHaveLength(1);
  });

  type Fault = (json: Json) => [status: number, json: Json];
  it.each<[string, Fault, string]>([
    ['no expiry', json => [201, { ...json, expires_at: undefined }], 'has no "expires_at"'],
    ['an odd expiry', json => [201, { ...json, expires_at: 'tomorrow' }], 'has no "expires_at"'],
    [
      'an end that has been',
      json => [201, { ...json, expires_at: '2020-01-01T00:00:00Z' }],
      'has ended already',
    ],
    ['no token', json => [201, { ...json, token: undefined }], 'no usable "token"'],
    ['a short token', json => [201, { ...json, token: 'ghs_123' }], 'no usable "token"'],
    ['every repository', json => [201, { ...json, repository_selection: 'all' }], 'for other repositories'],
    ['another status', json => [202, json], 'answered 202'],
    ['422 that quotes', json => [422, { message: json['token'] }], 'answered 422'],
  ])('refuses an answer with %s', async (_, fault, message) => {
    const { github, desk } = await scene({ repositories: ['widgets'] });
    github.answer = (response, json) => reply(response, ...fault(json));
    expect((await desk.refusal()).message).toContain(message);
    for (const { token } of github.issued) expect(leaks(desk.told(), token)).toEqual([]);
    for (const line of pem.split('\n').filter(one => /^[^-]{9,}/.test(one)))
      expect(desk.told()).not.toContain(line);
  });
});
