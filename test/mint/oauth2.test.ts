import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import type http from 'node:http';
import { describe, expect, it } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { canary, leaks } from '../support/canary.ts';
import { type HttpUpstream, type Received, startHttp } from '../support/upstream.ts';
import { type Desk, deskOf, principal } from './desk.ts';
import { type Json, reply, verified } from './github.ts';

interface Server extends HttpUpstream {
  readonly url: string;
  readonly tokens: readonly string[];
}

/** A token endpoint; `answer` may replace what is in its answers, or answer by itself. */
async function startServer(
  answer: (request: Received, response: http.ServerResponse) => Json | void = () => ({}),
): Promise<Server> {
  const tokens: string[] = [];
  const upstream = closing(
    await startHttp({}, (request, response) => {
      const more = answer(request, response);
      if (!more) return;
      const token = canary('at_');
      tokens.push(token);
      reply(response, 200, { access_token: token, token_type: 'Bearer', expires_in: 3600, ...more });
    }),
  );
  return { ...upstream, tokens, url: `http://${upstream.address}/oauth/token` };
}

const form = (request: Received | undefined): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(request?.body.toString() ?? ''));

function expectUntold(desk: Desk, secrets: readonly string[]): void {
  for (const secret of secrets) expect(leaks(desk.told(), secret)).toEqual([]);
}

describe('client_credentials', () => {
  it('sends the client secret as Basic, form-encoded', async () => {
    const server = await startServer();
    const desk = deskOf('oauth2', {
      grant: 'client_credentials',
      token_url: server.url,
      client_id: 'my client',
      scope: 'read write',
      audience: 'https://api.test',
    });
    desk.vault.set('api', 'p:ss word+%/1');
    const token = await desk.get();
    expect(token.reveal()).toBe(server.tokens[0]);
    expect(token.name).toBe('api');
    const [request] = server.requests;
    const basic = Buffer.from('my+client:p%3Ass+word%2B%25%2F1').toString('base64');
    expect(request).toMatchObject({
      method: 'POST',
      url: '/oauth/token',
      headers: {
        authorization: `Basic ${basic}`,
        'content-type': 'application/x-www-form-urlencoded',
        host: server.address,
      },
    });
    expect(form(request)).toEqual({
      grant_type: 'client_credentials',
      audience: 'https://api.test',
      scope: 'read write',
    });
  });

  it('sends it in the body with client_auth: post', async () => {
    const server = await startServer();
    const desk = deskOf('oauth2', {
      grant: 'client_credentials',
      token_url: server.url,
      client_id: 'me',
      client_auth: 'post',
    });
    await desk.get();
    expect(server.requests[0]?.headers.authorization).toBeUndefined();
    expect(form(server.requests[0])).toEqual({
      grant_type: 'client_credentials',
      client_id: 'me',
      client_secret: 'from-the-vault-1',
    });
  });

  it('uses a token without expires_in for the ttl of the credential', async () => {
    const server = await startServer(() => ({ expires_in: undefined }));
    const desk = deskOf('oauth2', {
      grant: 'client_credentials',
      token_url: server.url,
      client_id: 'me',
    });
    desk.now = Date.UTC(2026, 0, 1);
    expect((await desk.get()).version).toBe('expires 2026-01-01T00:05:00Z');
    desk.now += 239_999;
    await desk.get();
    expect(server.tokens).toHaveLength(1);
    desk.now += 60_001;
    await desk.get();
    expect(server.tokens).toHaveLength(2);
  });
});

describe('refresh_token', () => {
  const options = (server: Server) => ({
    grant: 'refresh_token',
    token_url: server.url,
    client_id: 'me',
    client_secret: 'env:CLIENT_SECRET',
  });

  it('uses the refresh token that the last answer held, each once, and looks for all of them', async () => {
    const rotated = [canary('rt_'), canary('rt_')];
    const server = await startServer(() => ({ refresh_token: rotated[server.tokens.length] }));
    const desk = deskOf('oauth2', options(server));
    desk.vault.set('api/client_secret', 'client-secret-1');
    desk.now = Date.now();
    for (let i = 0; i < 3; i++) {
      await Promise.all([desk.get(), desk.get(), desk.get()]);
      desk.now += 3_590_000;
    }
    expect(server.requests.map(request => form(request)['refresh_token'])).toEqual([
      'from-the-vault-1',
      ...rotated,
    ]);
    const basic = Buffer.from('me:client-secret-1').toString('base64');
    expect(server.requests[2]?.headers.authorization).toBe(`Basic ${basic}`);
    const known = desk.cache.known(['api'], { session: 'other', profile: 'default', labels: {} });
    const texts = known.map(secret => secret.reveal());
    expect(texts).toContain(rotated[1]);
    expect(texts).toContain(server.tokens[2]);
    expect(new Set(known.map(({ name }) => name))).toEqual(new Set(['api']));
  });

  it('takes the vault’s refresh token again once it is another one', async () => {
    const server = await startServer(() => ({ refresh_token: canary('rt_') }));
    const desk = deskOf('oauth2', options(server));
    desk.vault.set('api/client_secret', 'client-secret-1');
    desk.now = Date.now();
    await desk.get();
    desk.vault.set('api', 'from-the-vault-2');
    desk.now += 3_600_000;
    await desk.get();
    expect(form(server.requests[1])['refresh_token']).toBe('from-the-vault-2');
  });

  it('asks the vault once more when the server refuses the token', async () => {
    const server = await startServer((request, response) => {
      if (form(request)['refresh_token'] === 'from-the-vault-2') return {};
      desk.vault.set('api', 'from-the-vault-2');
      return reply(response, 400, { error: 'invalid_grant' });
    });
    const desk = deskOf('oauth2', options(server));
    desk.vault.set('api/client_secret', 'client-secret-1');
    expect((await desk.get()).reveal()).toBe(server.tokens[0]);
    expect(server.requests).toHaveLength(2);
  });

  it('looks for a refresh token for an hour after it was used', async () => {
    const rotated = [canary('rt_'), canary('rt_')];
    const server = await startServer(() => ({ refresh_token: rotated[server.tokens.length] }));
    const desk = deskOf('oauth2', { grant: 'refresh_token', token_url: server.url, client_id: 'me' });
    const isLookedFor = (text = ''): boolean =>
      desk.cache.known(['api'], principal()).some(secret => secret.reveal() === text);
    desk.now = Date.now();
    await desk.get();
    desk.now += 3_590_000;
    await desk.get();
    expect(rotated.map(isLookedFor)).toEqual([true, true]);
    desk.now += 3_599_999;
    expect(rotated.map(isLookedFor)).toEqual([true, true]);
    desk.now += 1;
    expect(rotated.map(isLookedFor)).toEqual([false, true]);
  });

  it('keeps the refresh token of an answer whose access token is of no use', async () => {
    const next = canary('rt_');
    const server = await startServer(() =>
      server.requests.length === 1 ? { refresh_token: next, token_type: 'DPoP' } : {},
    );
    const desk = deskOf('oauth2', { grant: 'refresh_token', token_url: server.url, client_id: 'me' });
    desk.now = Date.now();
    expect((await desk.refusal()).message).toContain('another type than Bearer');
    expect(desk.cache.known(['api'], principal()).map(secret => secret.reveal())).toEqual([next]);
    desk.now += 2_001;
    await desk.get();
    expect(form(server.requests[1])['refresh_token']).toBe(next);
    expectUntold(desk, [next, ...server.tokens]);
  });

  it('says who it is without a client secret', async () => {
    const server = await startServer();
    const desk = deskOf('oauth2', { grant: 'refresh_token', token_url: server.url, client_id: 'me' });
    await desk.get();
    expect(form(server.requests[0])).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'from-the-vault-1',
      client_id: 'me',
    });
  });

  it('refuses a refresh token that could not be found in a response', async () => {
    const server = await startServer(() => ({ refresh_token: 'short' }));
    const desk = deskOf('oauth2', { grant: 'refresh_token', token_url: server.url, client_id: 'me' });
    expect((await desk.refusal()).message).toContain('no usable "refresh_token"');
  });
});

describe('jwt-bearer', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });

  it.each([
    ['RS256', rsa, (pem: string) => pem],
    ['ES256', ec, (pem: string) => pem],
    // As a variable often holds it.
    ['RS256', rsa, (pem: string) => pem.replaceAll('\n', String.raw`\n`)],
  ] as const)('signs an assertion (%s)', async (algorithm, { privateKey }, stored) => {
    const server = await startServer();
    const desk = deskOf('oauth2', {
      grant: 'jwt-bearer',
      token_url: server.url,
      client_id: 'robot@project.test',
      subject: 'user@corp.test',
      scope: 'https://www.test/auth/devstorage.read_only',
      key_id: 'k1',
    });
    desk.vault.set('api', stored(privateKey.export({ type: 'pkcs8', format: 'pem' })));
    await desk.get();
    const { assertion = '', ...others } = form(server.requests[0]);
    expect(others).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      scope: 'https://www.test/auth/devstorage.read_only',
    });
    const { header, claims } = verified(assertion, createPublicKey(privateKey), algorithm);
    expect(header).toEqual({ alg: algorithm, typ: 'JWT', kid: 'k1' });
    const { iat, exp, jti, ...said } = claims as Record<string, number | string>;
    expect(said).toEqual({
      iss: 'robot@project.test',
      sub: 'user@corp.test',
      aud: server.url,
      scope: 'https://www.test/auth/devstorage.read_only',
    });
    expect(Math.abs(Date.now() / 1000 - 60 - Number(iat))).toBeLessThan(5);
    expect(Number(exp) - Number(iat)).toBe(600);
    expect(jti).toMatch(/^[0-9a-f-]{36}$/);
  });

  it.each([
    ['text', 'no key at all', 'holds no private key in PEM'],
    ['another curve', generateKeyPairSync('ec', { namedCurve: 'secp384r1' }), 'holds another kind of key'],
    ['a short RSA key', generateKeyPairSync('rsa', { modulusLength: 1024 }), 'holds another kind of key'],
    ['Ed25519', generateKeyPairSync('ed25519'), 'holds another kind of key'],
  ] as const)('refuses %s for a key, and tells nothing of it', async (_, key, message) => {
    const server = await startServer();
    const pem = typeof key === 'string' ? key : key.privateKey.export({ type: 'pkcs8', format: 'pem' });
    const desk = deskOf('oauth2', { grant: 'jwt-bearer', token_url: server.url, client_id: 'me' });
    desk.vault.set('api', pem);
    expect(await desk.refusal()).toMatchObject({
      kind: 'missing',
      message: expect.stringContaining(message) as string,
    });
    expectUntold(
      desk,
      pem.split('\n').filter(line => /^[^-]{9,}/.test(line)),
    );
    expect(server.requests).toEqual([]);
  });
});

describe('a server that fails', () => {
  type Fault = (request: Received, response: http.ServerResponse) => Json | void;
  const plain =
    (status: number, body: string, headers: http.OutgoingHttpHeaders = {}): Fault =>
    (_, response) => {
      response.writeHead(status, headers);
      response.end(body);
    };
  const echo = (request: Received): string => `${request.headers.authorization} ${request.body.toString()}`;

  it.each<[string, Fault, 'missing' | 'unavailable', string]>([
    [
      '401',
      (_, response) => reply(response, 401, { error: 'invalid_client' }),
      'missing',
      '401 (invalid_client)',
    ],
    [
      '403 that quotes',
      (request, response) => reply(response, 403, { error: echo(request) }),
      'missing',
      '403',
    ],
    ['404 in HTML', plain(404, '<html>'), 'missing', '404'],
    ['429', plain(429, ''), 'unavailable', '429'],
    ['500', plain(500, 'oops'), 'unavailable', '500'],
    [
      'a redirect',
      plain(302, '', { location: 'http://127.0.0.1:1/' }),
      'unavailable',
      'no redirect is followed',
    ],
    ['no JSON', plain(200, 'access_token=abcdefgh'), 'unavailable', 'is not a JSON object'],
    ['a list', plain(200, '["abcdefghijkl"]'), 'unavailable', 'is not a JSON object'],
    ['nothing', plain(204, ''), 'unavailable', 'is not a JSON object'],
    ['a wrong type', () => ({ token_type: 'DPoP' }), 'unavailable', 'another type than Bearer'],
    ['no token', () => ({ access_token: undefined }), 'unavailable', 'no usable "access_token"'],
    ['a short token', () => ({ access_token: '1234567' }), 'unavailable', 'no usable "access_token"'],
    ['a token with a line end', () => ({ access_token: 'abcdefgh\r\nX: y' }), 'unavailable', 'no usable'],
    ['a number for a token', () => ({ access_token: 1234567890 }), 'unavailable', 'no usable "access_token"'],
    ['a token that has ended', () => ({ expires_in: 0 }), 'unavailable', 'no usable "expires_in"'],
    ['an odd lifetime', () => ({ expires_in: 'soon' }), 'unavailable', 'no usable "expires_in"'],
    ['a null lifetime', () => ({ expires_in: null }), 'unavailable', 'no usable "expires_in"'],
    ['too much', () => ({ more: 'x'.repeat(300_000) }), 'unavailable', 'has more than 262144 bytes'],
    ['a cut', (_, response) => void response.destroy(), 'unavailable', 'no answer: ECONNRESET'],
    ['hang', () => undefined, 'unavailable', 'no token within 200 ms'],
  ])('%s', async (name, fault, kind, message) => {
    const server = await startServer(fault);
    const options = { grant: 'client_credentials', token_url: server.url, client_id: 'me' };
    const desk = deskOf('oauth2', options, name === 'hang' ? 200 : 10_000);
    desk.now = Date.now();
    const refusal = await desk.refusal();
    expect(refusal.kind).toBe(kind);
    expect(refusal.message).toContain(message);
    // For a while nobody asks again.
    const asked = server.requests.length;
    await desk.refusal();
    desk.now += kind === 'missing' ? 9_999 : 1_999;
    await desk.refusal();
    expect(server.requests).toHaveLength(asked);
    desk.now += 1;
    await desk.refusal();
    expect(server.requests.length).toBeGreaterThan(asked);
    expect(desk.minted).toEqual(['test: false', 'test: false']);
    expectUntold(desk, ['from-the-vault-1', ...server.tokens]);
  });

  it('nobody listens', async () => {
    const server = await startHttp({}, () => undefined);
    await server.close();
    const url = `http://${server.address}/token`;
    const desk = deskOf('oauth2', { grant: 'client_credentials', token_url: url, client_id: 'me' });
    expect((await desk.refusal()).message).toBe(`${url}: no answer: ECONNREFUSED`);
  });
});
