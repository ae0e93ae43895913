import { readFileSync, rmSync, statSync } from 'node:fs';
import { type OutgoingHttpHeaders, request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Admin, startAdmin } from '../../src/admin/server.ts';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import type { SessionAnswer } from '../../src/admin/wiring.ts';
import { type Gate, startGate } from '../../src/app.ts';
import type { Log } from '../../src/types.ts';
import { type GateFiles, writeGate } from '../support/setup.ts';

const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
let files: GateFiles;
let gate: Gate;
let admin: Admin;
let token: string;

beforeAll(async () => {
  files = await writeGate({
    credentials: {
      api: { secret: 'real-secret-of-the-api', env: 'API_TOKEN' },
      git: { secret: 'real-secret-of-git', env: 'GIT_TOKEN' },
    },
    rules: [
      {
        name: 'api',
        hosts: ['api.example.test', 'localhost'],
        inject: [{ credential: 'api', as: 'bearer' }],
      },
      { name: 'git', hosts: ['git.example.test'], inject: [{ credential: 'git', as: 'basic' }] },
    ],
    profiles: { default: { rules: ['api', 'git'], ttl: '1h' }, small: { rules: ['api'], ttl: '1m' } },
  });
  gate = await startGate({ configFile: files.configFile, log: silent });
  admin = await startAdmin(gate, writeTrustFiles(gate.caFile, gate.bundleFile), silent);
  token = readFileSync(join(files.caDir, 'admin-token'), 'utf8').trim();
});

afterAll(async () => {
  await admin.close();
  await gate.stop();
  rmSync(files.dir, { recursive: true });
});

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  json: () => Record<string, unknown>;
}

interface Call {
  headers?: OutgoingHttpHeaders;
  body?: string;
  /** Sends no token. */
  anonymous?: boolean;
}

function call(method: string, path: string, { headers = {}, body, anonymous }: Call = {}): Promise<Answer> {
  const url = new URL(`http://${admin.address}${path}`);
  const authorization = anonymous ? {} : { authorization: `Bearer ${token}` };
  const typed =
    body === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers: { ...authorization, ...typed, ...headers } }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        const json = () => JSON.parse(text) as Record<string, unknown>;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const codeOf = (answer: Answer) => (answer.json()['error'] as { code: string }).code;
const create = async (wanted: object = {}) =>
  (await call('POST', '/v1/sessions', { body: JSON.stringify(wanted) })).json() as unknown as SessionAnswer;

describe('who is let in', () => {
  it.each([
    ['GET', '/healthz', 200],
    ['GET', '/readyz', 200],
    ['GET', '/metrics', 401],
    ['GET', '/v1/sessions', 401],
    ['POST', '/v1/sessions', 401],
    ['GET', '/v1/sessions/x', 401],
    ['DELETE', '/v1/sessions/x', 401],
    ['GET', '/nowhere', 401],
    ['POST', '/healthz', 401],
  ])('without a token: %s %s gets %i', async (method, path, status) => {
    const answer = await call(method, path, { anonymous: true });
    expect(answer.status).toBe(status);
    if (status === 401)
      expect([codeOf(answer), answer.headers['www-authenticate']]).toEqual(['unauthenticated', 'Bearer']);
  });

  it.each(['Bearer', 'Bearer x', 'Basic x', ''])('not with "%s"', async authorization => {
    expect((await call('GET', '/metrics', { headers: { authorization } })).status).toBe(401);
  });

  it('not with a token that is longer or shorter', async () => {
    for (const wrong of [`${token}x`, token.slice(0, -1), `x${token}`]) {
      const answer = await call('GET', '/metrics', { headers: { authorization: `Bearer ${wrong}` } });
      expect(answer.status).toBe(401);
    }
    expect((await call('GET', '/metrics', { headers: { authorization: `bearer ${token}` } })).status).toBe(
      200,
    );
  });

  it('keeps the token where only its owner reads it', () => {
    expect(statSync(join(files.caDir, 'admin-token')).mode & 0o777).toBe(0o600);
  });
});

describe('a browser', () => {
  it.each([
    [{ origin: 'https://evil.test' }, 'from_a_browser'],
    [{ origin: 'null' }, 'from_a_browser'],
    [{ 'sec-fetch-site': 'cross-site' }, 'from_a_browser'],
    [{ 'sec-fetch-site': 'same-origin' }, 'from_a_browser'],
    [{ host: 'evil.test' }, 'unknown_host'],
    [{ host: 'evil.test:8081' }, 'unknown_host'],
    [{ host: 'localhost.evil.test' }, 'unknown_host'],
    [{ host: '127.0.0.1.evil.test' }, 'unknown_host'],
  ])('is refused: %j', async (headers, code) => {
    for (const path of ['/healthz', '/v1/sessions', '/metrics']) {
      const answer = await call('GET', path, { headers });
      expect([answer.status, codeOf(answer)]).toEqual([403, code]);
    }
  });

  it.each(['localhost', 'localhost:1', 'LOCALHOST', '127.0.0.1', '[::1]:8081', '10.0.0.7:80'])(
    'is no program that asks %s',
    async host => {
      expect((await call('GET', '/healthz', { headers: { host } })).status).toBe(200);
    },
  );

  it('may neither read nor keep an answer', async () => {
    const { headers } = await call('GET', '/v1/sessions');
    expect(Object.keys(headers).filter(name => name.startsWith('access-control-'))).toEqual([]);
    expect(headers['cache-control']).toBe('no-store');
    const preflight = await call('OPTIONS', '/v1/sessions', { headers: { origin: 'https://evil.test' } });
    expect(preflight.status).toBe(403);
  });
});

describe('a new session', () => {
  it('is all that a sandbox needs', async () => {
    const answer = await create({
      profile: 'default',
      ttl: '30m',
      sub: 'alice',
      act: 'a-1',
      labels: { run: '7' },
    });
    expect(answer.id).toMatch(/^s_/);
    expect(answer.proxy).toMatch(
      new RegExp(`^http://${answer.id}:sgt_[A-Za-z0-9]{43}@127\\.0\\.0\\.1:${gate.address.port}$`),
    );
    expect(readFileSync(answer.ca_file, 'utf8')).toBe(gate.authority.rootPem);
    expect(Date.parse(answer.expires_at) - Date.now()).toBeGreaterThan(29 * 60_000);
    expect(Date.parse(answer.expires_at) - Date.now()).toBeLessThanOrEqual(30 * 60_000);
    expect(answer.env).toMatchObject({ HTTPS_PROXY: answer.proxy, NODE_EXTRA_CA_CERTS: answer.ca_file });
    expect(answer.env['API_TOKEN']).toMatch(/^sgs_\w{40}$/);
    expect(answer.env['GIT_TOKEN']).toMatch(/^sgs_\w{40}$/);
  });

  it('has a bundle, a Java store and a wgetrc that are there', async () => {
    const { env } = await create();
    for (const name of ['SSL_CERT_FILE', 'WGETRC'])
      expect(statSync(env[name] ?? '').mode & 0o044).toBe(0o044);
    const store = /trustStore=(\S+)/.exec(env['JAVA_TOOL_OPTIONS'] ?? '')?.[1] ?? '';
    expect(statSync(store).size).toBeGreaterThan(1000);
  });

  it('lets no host that its rules name go around the gate', async () => {
    expect((await create()).env['NO_PROXY']).toBe('127.0.0.1,::1');
  });

  it('gives git the stub of the host that takes Basic, in its profile only', async () => {
    const values = Object.entries((await create()).env).filter(([name]) => name.startsWith('GIT_CONFIG_KEY'));
    expect(values.map(([, value]) => value)).toContain('credential.https://git.example.test.helper');
    expect(values.map(([, value]) => value)).not.toContain('credential.https://api.example.test.helper');
    const { env } = await create({ profile: 'small' });
    expect(env['GIT_CONFIG_COUNT']).toBe('1');
    expect(env).not.toHaveProperty('GIT_TOKEN');
  });

  it('lives no longer than its profile allows', async () => {
    const { expires_at } = await create({ profile: 'small', ttl: '1h' });
    expect(Date.parse(expires_at) - Date.now()).toBeLessThanOrEqual(60_000);
  });

  it('holds no real secret', async () => {
    expect(JSON.stringify(await create())).not.toMatch(/real-secret/);
  });

  it.each([
    ['', /./],
    ['{', /./],
    ['[]', /expected object/i],
    ['null', /expected object/i],
    ['{"profil":"x"}', /profil/],
    ['{"profile":"nope"}', /there is none of that name; write one of default, small/],
    ['{"profile":7}', /^profile: /],
    ['{"ttl":"soon"}', /^ttl: is no duration; write "30m" or "1h"$/],
    ['{"ttl":30}', /^ttl: /],
    ['{"sub":""}', /^sub must be 1 to 256 printable/],
    ['{"sub":"a\\nb"}', /^sub must be/],
    ['{"labels":{"a":1}}', /^labels: a: /],
    ['{"labels":{"__proto__ ":"x"}}', /label's name/],
  ])('is not made of %s', async (body, says) => {
    const answer = await call('POST', '/v1/sessions', { body });
    expect([answer.status, codeOf(answer)]).toEqual([400, 'invalid_request']);
    expect((answer.json()['error'] as { message: string }).message).toMatch(says);
  });

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    '',
    'application/jsonp',
  ])('is not made of "%s"', async type => {
    const answer = await call('POST', '/v1/sessions', { body: '{}', headers: { 'content-type': type } });
    expect([answer.status, codeOf(answer)]).toEqual([415, 'not_json']);
  });

  it('is not made of more than 64 KB, nor of chunks', async () => {
    const body = JSON.stringify({ sub: 'x'.repeat(65_536) });
    expect(codeOf(await call('POST', '/v1/sessions', { body }))).toBe('body_too_large');
    const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
    expect(codeOf(await call('POST', '/v1/sessions', { headers }))).toBe('length_required');
  });
});

describe('sessions', () => {
  it('are listed and shown without token and stubs', async () => {
    const made = await create({ sub: 'bob', labels: { run: '9' } });
    const shown = await call('GET', `/v1/sessions/${made.id}`);
    expect(shown.json()).toEqual({
      id: made.id,
      state: 'live',
      profile: 'default',
      sub: 'bob',
      act: null,
      labels: { run: '9' },
      created_at: expect.any(String),
      expires_at: made.expires_at,
      revoked_at: null,
      usage: { allowed: 0, denied: 0, injected: 0, scrubbed: 0 },
    });
    const list = await call('GET', '/v1/sessions');
    expect(list.json()['sessions']).toContainEqual(shown.json());
    for (const secret of [new URL(made.proxy).password, made.env['API_TOKEN'] ?? '']) {
      expect(list.text + shown.text).not.toContain(secret);
    }
  });

  it('end when they are deleted, and stay to be seen', async () => {
    const { id } = await create();
    const first = await call('DELETE', `/v1/sessions/${id}`);
    expect([first.status, first.json()['state']]).toEqual([200, 'revoked']);
    expect((await gate.sessions.get(id))?.revokedAt).toBeTypeOf('number');
    const again = await call('DELETE', `/v1/sessions/${id}`);
    expect([again.status, again.json()]).toEqual([200, first.json()]);
    expect((await call('GET', `/v1/sessions/${id}`)).json()['state']).toBe('revoked');
  });

  it.each(['GET', 'DELETE'])('that are not there: %s gets 404', async method => {
    const answer = await call(method, '/v1/sessions/s_unknown');
    expect([answer.status, codeOf(answer)]).toEqual([404, 'not_found']);
  });
});

it.each([
  ['PUT', '/v1/sessions', 'GET, POST'],
  ['DELETE', '/v1/sessions', 'GET, POST'],
  ['PATCH', '/v1/sessions/x', 'GET, DELETE'],
])('%s %s is not allowed', async (method, path, allow) => {
  const answer = await call(method, path);
  expect([answer.status, answer.headers['allow'], codeOf(answer)]).toEqual([
    405,
    allow,
    'method_not_allowed',
  ]);
});

it('answers 404 in the shape of every refusal', async () => {
  const answer = await call('GET', '/nowhere');
  expect(answer.status).toBe(404);
  expect(answer.json()).toEqual({
    error: { code: 'not_found', message: 'No such resource', hint: expect.any(String) },
  });
});

it('shows metrics as Prometheus reads them', async () => {
  const { id } = await create();
  const before = await call('GET', '/metrics');
  expect(before.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  const live = Number(/^stubgate_sessions (\d+)$/m.exec(before.text)?.[1]);
  await call('DELETE', `/v1/sessions/${id}`);
  expect((await call('GET', '/metrics')).text).toContain(`\nstubgate_sessions ${live - 1}\n`);
  expect(before.text).toContain('\nstubgate_audit_healthy 1\n');
});

it('is never dialled by the proxy', async () => {
  const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
  const guard = vi.spyOn(gate, 'guard');
  const other = await startAdmin(gate, trust, silent);
  expect(guard.mock.calls).toEqual([['127.0.0.1', Number(new URL(`http://${other.address}`).port)]]);
  guard.mockRestore();
  await other.close();
});

it('is not ready any more while it drains', async () => {
  const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
  const other = await startAdmin(gate, trust, silent);
  other.drain();
  const answer = await fetch(`http://${other.address}/readyz`);
  expect([answer.status, await answer.json()]).toEqual([
    503,
    { ok: false, checks: { audit: true, state: true, serving: false } },
  ]);
  expect((await fetch(`http://${other.address}/healthz`)).status).toBe(200);
  await other.close();
});
