import { createHmac } from 'node:crypto';
import { mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { JWTPayload } from 'jose';
import { describe, expect, test, vi } from 'vitest';
import { needs, runOk, cleanEnv } from '../support/clients.ts';
import { openTls, readReply } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { makeKey, type Mood, seconds } from '../support/upstreams/oidc.ts';
import {
  API,
  basic,
  bearer,
  identityScene,
  type IdentityScene,
  ISSUER,
  JWT,
  ownPage,
  told,
  verdict,
} from './identity.ts';

const DENIED = '407 unauthenticated';

/** Why the operator is told that a token was refused. */
const causes = ({ gate }: IdentityScene): string[] =>
  gate.logs.flatMap(({ fields }) => (fields['cause'] instanceof Error ? [fields['cause'].message] : []));

describe('a JWT as the credential of the proxy', () => {
  test('opens a session: what the upstream gets, what the sandbox gets, what is audited', async () => {
    const scene = await identityScene([
      { ...JWT, act: '/act/sub', labels: { repo: 'repository', run: 'run_id', env: '/deep/0/env' } },
    ]);
    const token = await scene.issuer.sign({
      sub: 'repo:acme/web',
      act: { sub: 'agent-7' },
      repository: 'acme/web',
      run_id: 4711,
      deep: [{ env: 'prod' }],
    });
    const mine = told(await scene.session(bearer(token)));
    expect(mine).toMatchObject({
      id: expect.stringMatching(/^s_[A-Za-z0-9]{12}$/) as string,
      profile: 'ci',
      sub: 'repo:acme/web',
      act: 'agent-7',
      labels: { repo: 'acme/web', run: '4711', env: 'prod' },
      ca: scene.gate.ca,
    });
    expect(Object.keys(mine.env)).toEqual(['API_KEY']);
    const stub = mine.env['API_KEY'] as string;
    const line = await scene.line(async () => {
      const reply = await scene.call(bearer(token), stub);
      expect(verdict(reply)).toBe('200 ok');
      expect(reply.body.toString()).toContain(`Bearer ${stub}`);
      expect(reply.body.toString()).not.toContain(scene.secret);
    });
    expect(scene.api.requests[0]?.headers.authorization).toBe(`Bearer ${scene.secret}`);
    expect(Object.keys(scene.api.requests[0]?.headers ?? {})).not.toContain('proxy-authorization');
    expect(line).toMatchObject({
      session: mine.id,
      sub: 'repo:acme/web',
      act: 'agent-7',
      labels: { repo: 'acme/web', run: '4711', env: 'prod' },
      rule: 'api',
      verdict: 'allow',
    });
    for (const text of [scene.gate.auditText(), JSON.stringify(scene.gate.logs)])
      for (const part of [token, token.split('.')[2] as string, stub]) expect(text).not.toContain(part);
  });

  test('is Bearer, or the password of the user jwt, and nothing else', async () => {
    const scene = await identityScene([JWT]);
    const token = await scene.issuer.sign();
    const { id } = told(await scene.session(bearer(token)));
    expect(told(await scene.session(basic(token))).id).toBe(id);
    for (const user of ['', 'JWT', id, 'x'])
      expect(verdict(await scene.session(basic(token, user))), user).toBe(DENIED);
    for (const other of [`Basic ${token}`, `JWT ${token}`, basic('', token), bearer(`${token}.`)])
      expect(verdict(await scene.session(other))).toBe(DENIED);
  });

  test('opens one session, however many connections come at once; another token another one', async () => {
    const scene = await identityScene([JWT]);
    const [one, other] = [await scene.issuer.sign({ jti: '1' }), await scene.issuer.sign({ jti: '2' })];
    const replies = await Promise.all(Array.from({ length: 20 }, () => scene.session(bearer(one))));
    expect(new Set(replies.map(reply => told(reply).id)).size).toBe(1);
    expect(new Set(replies.map(reply => told(reply).env['API_KEY'])).size).toBe(1);
    expect(told(await scene.session(bearer(other))).id).not.toBe(told(replies[0] as never).id);
    expect(scene.gate.gate.sessions.live).toBe(2);
    expect(scene.issuer.fetches).toBe(1);
  });

  test('ends with the token, and ttl after its issue at the latest', async () => {
    const scene = await identityScene([{ ...JWT, ttl: '10m' }]);
    const at = seconds();
    const cases: [JWTPayload, number][] = [
      [{ iat: at - 60, exp: at + 100 }, at + 100],
      [{ iat: at - 60, exp: at + 86_400 }, at - 60 + 600],
    ];
    for (const [claims, end] of cases) {
      const { expires_at } = told(await scene.session(bearer(await scene.issuer.sign(claims))));
      expect(Math.abs(Date.parse(expires_at) - end * 1000)).toBeLessThan(2000);
    }
    const old = await scene.issuer.sign({ iat: at - 601, exp: at + 86_400 });
    expect(verdict(await scene.session(bearer(old)))).toBe('407 session_expired');
    const past = await scene.issuer.sign({ iat: at - 100, exp: at - 50 });
    expect(verdict(await scene.session(bearer(past)))).toBe('407 session_expired');
    // Within the skew, but over.
    const just = await scene.issuer.sign({ iat: at - 100, exp: at - 2 });
    expect(verdict(await scene.session(bearer(just)))).toBe('407 session_expired');
  });

  test('is revoked by the session’s id, at once and for good', async () => {
    const scene = await identityScene([JWT]);
    const token = await scene.issuer.sign();
    const { id } = told(await scene.session(bearer(token)));
    const tunnel = await openTls(
      { port: scene.gate.proxyPort, authorization: bearer(token) },
      scene.gate.ca,
      API,
    );
    await scene.gate.revoke(id);
    await tunnel.end();
    tunnel.cut();
    for (const authorization of [bearer(token), basic(token)])
      expect(verdict(await scene.session(authorization))).toBe('407 session_revoked');
  });

  test('gets the profile that its claim says, and none for another value', async () => {
    const scene = await identityScene([
      { ...JWT, profile: { claim: 'repository', values: { 'acme/web': 'ci', 'acme/docs': 'closed' } } },
    ]);
    const profile = async (repository: unknown): Promise<string> => {
      const reply = await scene.session(bearer(await scene.issuer.sign({ repository })));
      return reply.status === 200 ? told(reply).profile : verdict(reply);
    };
    expect(await profile('acme/web')).toBe('ci');
    expect(await profile('acme/docs')).toBe('closed');
    for (const value of ['acme/other', '', 'constructor', '__proto__', undefined, ['acme/web'], { a: 1 }])
      expect(await profile(value), JSON.stringify(value)).toBe(DENIED);
  });

  test('is judged by entry after entry; the first that takes it decides', async () => {
    const scene = await identityScene([
      { ...JWT, match: { sub: 'a-*' }, profile: 'closed' },
      { ...JWT, match: { sub: ['b-*', 'a-*'], groups: 'dev' }, profile: 'ci' },
    ]);
    const profile = async (claims: JWTPayload): Promise<string> => {
      const reply = await scene.session(bearer(await scene.issuer.sign(claims)));
      return reply.status === 200 ? told(reply).profile : verdict(reply);
    };
    expect(await profile({ sub: 'a-1', groups: ['dev'] })).toBe('closed');
    expect(await profile({ sub: 'b-1', groups: ['ops', 'dev'] })).toBe('ci');
    expect(await profile({ sub: 'b-1', groups: 'dev' })).toBe('ci');
    expect(await profile({ sub: 'b-1', groups: ['ops'] })).toBe(DENIED);
    expect(await profile({ sub: 'b-1' })).toBe(DENIED);
    expect(await profile({ sub: 'c-1', groups: ['dev'] })).toBe(DENIED);
    expect(await profile({ sub: 'b-1', groups: [['dev']] })).toBe(DENIED);
  });
});

type Forge = (scene: IdentityScene) => Promise<string> | string;

const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const claims = (more: object = {}): object => ({
  iss: `https://${ISSUER}`,
  aud: 'stubgate',
  sub: 'robot',
  iat: seconds(),
  exp: seconds(300),
  ...more,
});

/** A token that no issuer signed so. */
function symmetric(alg: string, key: string | Buffer, kid = 'key-1'): string {
  const signed = `${b64({ alg, kid })}.${b64(claims())}`;
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}

const REFUSED: readonly (readonly [what: string, forge: Forge, why: RegExp])[] = [
  ['another audience', s => s.issuer.sign({ aud: 'other' }), /its aud is/],
  ['a list of other audiences', s => s.issuer.sign({ aud: ['a', 'Stubgate'] }), /its aud is/],
  ['no audience', s => s.issuer.sign({ aud: undefined }), /its aud is/],
  ['another issuer', s => s.issuer.sign({ iss: 'https://other.test' }), /no entry is of its issuer/],
  ['the issuer with a slash more', s => s.issuer.sign({ iss: `https://${ISSUER}/` }), /no entry/],
  ['no issuer', s => s.issuer.sign({ iss: undefined }), /no entry/],
  ['a list of issuers', s => s.issuer.sign({ iss: [`https://${ISSUER}`] }), /no entry/],
  ['a time from which on it is good', s => s.issuer.sign({ nbf: seconds(120) }), /its nbf is/],
  ['an issue in the future', s => s.issuer.sign({ iat: seconds(120) }), /in the future/],
  ['no end', s => s.issuer.sign({ exp: undefined }), /its exp is/],
  ['an end that is text', s => s.issuer.sign({ exp: '9999999999' }), /its exp is/],
  ['no time of issue', s => s.issuer.sign({ iat: undefined }), /its iat is/],
  ['no subject', s => s.issuer.sign({ sub: undefined }), /claim sub is missing/],
  ['an empty subject', s => s.issuer.sign({ sub: '' }), /claim sub is missing/],
  ['a subject of several', s => s.issuer.sign({ sub: ['a'] }), /sub/],
  ['a subject with a line end', s => s.issuer.sign({ sub: 'a\nb' }), /printable/],
  ['a subject of 300 characters', s => s.issuer.sign({ sub: 'a'.repeat(300) }), /printable/],
  [
    'a key of another issuer under the same name',
    async s => s.issuer.sign({}, {}, await makeKey('key-1')),
    /signature/,
  ],
  ['an unknown key', async s => s.issuer.sign({}, {}, await makeKey('key-9')), /no such key/],
  [
    'another algorithm than its key is for',
    async s => s.issuer.sign({}, {}, await makeKey('key-1', 'RS256')),
    /no such key/,
  ],
  ['no algorithm', () => `${b64({ alg: 'none', kid: 'key-1' })}.${b64(claims())}.AA`, /alg is not allowed/],
  ['NONE', () => `${b64({ alg: 'NONE' })}.${b64(claims())}.AA`, /alg is not allowed/],
  [
    'HS256 with the public key as the secret',
    s => symmetric('HS256', JSON.stringify(s.issuer.keys[0]?.publicJwk)),
    /alg is not allowed/,
  ],
  ['HS256 with an empty secret', () => symmetric('HS256', ''), /alg is not allowed/],
  [
    'a key of its own in the header',
    async s => {
      const key = await makeKey('mine');
      return s.issuer.sign({}, { jwk: key.publicJwk }, key);
    },
    /no such key/,
  ],
  [
    'an extension that must be understood',
    async s => {
      const [, payload, signature] = (await s.issuer.sign()).split('.');
      return `${b64({ alg: 'ES256', kid: 'key-1', crit: ['crit-canary'], 'crit-canary': 1 })}.${payload}.${signature}`;
    },
    /not supported/,
  ],
  [
    'claims that were changed',
    async s => {
      const [head, , signature] = (await s.issuer.sign()).split('.');
      return `${head}.${b64(claims({ sub: 'root' }))}.${signature}`;
    },
    /signature/,
  ],
  [
    'a signature of nothing',
    async s => `${(await s.issuer.sign()).split('.').slice(0, 2).join('.')}.AA`,
    /signature/,
  ],
  ['claims that are no JSON', async s => `${(await s.issuer.sign()).split('.')[0]}.AAAA.AAAA`, /no entry/],
  [
    'claims that are null',
    async s => `${(await s.issuer.sign()).split('.')[0]}.${b64(null)}.AAAA`,
    /no entry/,
  ],
];

describe('a JWT that is refused', () => {
  test.each(REFUSED)('%s', async (_, forge, why) => {
    const scene = await identityScene([JWT]);
    const token = await forge(scene);
    const line = await scene.line(async () => {
      const reply = await scene.call(bearer(token));
      expect(verdict(reply)).toBe(DENIED);
      expect(JSON.parse(reply.body.toString())).toMatchObject({
        error: { code: 'unauthenticated', message: 'No or wrong session token' },
      });
    });
    expect(line).toMatchObject({
      session: null,
      sub: null,
      verdict: 'deny',
      reason: 'unauthenticated',
      status: 407,
    });
    expect(causes(scene).join('\n')).toMatch(why);
    expect(scene.gate.gate.sessions.live).toBe(0);
    expect(scene.api.requests).toEqual([]);
    const kept = inspect(scene.gate.logs, { depth: 9 }) + scene.gate.auditText();
    for (const part of [token, 'crit-canary']) expect(kept).not.toContain(part);
  });

  test('is one without a signature, or with too many parts, or too long', async () => {
    const scene = await identityScene([JWT]);
    const token = await scene.issuer.sign();
    const [head, payload, signature] = token.split('.');
    const long = await scene.issuer.sign({ pad: 'x'.repeat(14_000) });
    const tries = [
      `${head}.${payload}.`,
      `${head}.${payload}`,
      `${token}.x.y`,
      `..${signature}`,
      long,
      `${token}=`,
    ];
    for (const wrong of tries) expect(verdict(await scene.session(bearer(wrong)))).toBe(DENIED);
    expect(verdict(await scene.session(bearer('a'.repeat(40_000))))).toBe('431 head_too_large');
    expect(scene.issuer.fetches).toBe(0);
  });

  test('is any where the gate has no identity', async () => {
    const scene = await identityScene([]);
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe(DENIED);
    expect(scene.issuer.requests).toEqual([]);
  });
});

describe('the keys of an issuer', () => {
  test('rotate: a token of the new key is good at once, and one of the old key no longer', async () => {
    const scene = await identityScene([JWT]);
    const old = await scene.issuer.sign({ jti: 'old' });
    const unused = await scene.issuer.sign({ jti: 'unused' });
    const { id } = told(await scene.session(bearer(old)));
    await scene.issuer.rotate('key-2', 'RS256');
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe('200 ok');
    expect(scene.issuer.fetches).toBe(2);
    expect(verdict(await scene.session(bearer(unused)))).toBe(DENIED);
    // A session that is open stays.
    expect(told(await scene.session(bearer(old))).id).toBe(id);
  });

  test('are not asked for at each token of an unknown key', async () => {
    const scene = await identityScene([JWT]);
    const key = await makeKey('unknown');
    const good = await scene.issuer.sign();
    const tokens = await Promise.all(
      Array.from({ length: 60 }, (_, i) => scene.issuer.sign({ jti: `${i}` }, { kid: `k${i}` }, key)),
    );
    for (const token of tokens) expect(verdict(await scene.session(bearer(token)))).toBe(DENIED);
    expect(scene.issuer.fetches).toBe(5);
    expect(verdict(await scene.session(bearer(good)))).toBe('200 ok');
  });

  const MOODS: readonly (readonly [Mood, RegExp])[] = [
    ['garbage', /is not JSON/],
    ['redirects', /no redirect is followed/],
    ['fails', /answered 503/],
    ['huge', /more than 262144 bytes/],
    ['resets', /no answer/],
    ['hangs', /within 5000 ms/],
  ];
  test.each(MOODS)('%s: nobody new comes in, who is in goes on', async (mood, why) => {
    const scene = await identityScene([JWT]);
    const before = scene.gate.gate;
    const local = await before.createSession({ profile: 'ci' });
    scene.issuer.mood = mood;
    const token = await scene.issuer.sign();
    const waiting = scene.session(bearer(token));
    // A known session does not wait for an issuer.
    expect(told(await scene.session(bearer(local.token))).id).toBe(local.session.session);
    expect(verdict(await waiting)).toBe('503 state_unavailable');
    expect(causes(scene).join('\n')).toMatch(why);
    scene.issuer.mood = 'well';
    const { id } = told(await scene.session(bearer(token)));
    scene.issuer.mood = mood;
    expect(told(await scene.session(bearer(token))).id).toBe(id);
  });

  test('stay as they were when the issuer is down', async () => {
    const scene = await identityScene([JWT]);
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe('200 ok');
    await scene.issuer.close().catch(() => {});
    expect(verdict(await scene.session(bearer(await scene.issuer.sign({ jti: '2' }))))).toBe('200 ok');
  });

  test('are not those of a document that names another issuer, nor behind plain http', async () => {
    const scene = await identityScene([JWT]);
    scene.issuer.named = 'https://other.test';
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe('503 state_unavailable');
    expect(causes(scene).join('\n')).toContain('is the document of another issuer');
  });

  test('are dialled as any upstream: no private address unless it is permitted', async () => {
    const scene = await identityScene([{ ...JWT, jwks_url: 'https://10.0.0.1/jwks' }]);
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe('503 state_unavailable');
    expect(causes(scene).join('\n')).toContain('no answer');
  });

  test('that are symmetric, private, too weak or broken are none', async () => {
    const scene = await identityScene([{ ...JWT, jwks_url: `https://${ISSUER}/jwks` }]);
    const [key] = scene.issuer.keys;
    scene.issuer.published = () => [
      { kty: 'oct', k: 'c2VjcmV0', kid: 'key-1', alg: 'HS256' },
      { ...key?.publicJwk, d: 'AAAA' },
      { kty: 'RSA', kid: 'key-1', n: 7, e: 'AQAB' },
      null as never,
      'x' as never,
      { kty: 'EC', kid: 7, crv: 'P-256' },
    ];
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe(DENIED);
    expect(verdict(await scene.session(bearer(symmetric('HS256', 'secret'))))).toBe(DENIED);
  });

  test('come from a file, which is read again when it changes', async () => {
    const file = join(tempFolder('jwks'), 'jwks.json');
    const key = await makeKey('file-key', 'EdDSA');
    writeFileSync(file, JSON.stringify({ keys: [key.publicJwk] }));
    const scene = await identityScene([{ ...JWT, jwks_file: file }]);
    expect(verdict(await scene.session(bearer(await scene.issuer.sign({}, {}, key))))).toBe('200 ok');
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe(DENIED);
    writeFileSync(file, JSON.stringify({ keys: scene.issuer.published() }));
    await expect
      .poll(async () => verdict(await scene.session(bearer(await scene.issuer.sign({ jti: '2' })))), {
        timeout: 5000,
      })
      .toBe('200 ok');
    expect(scene.issuer.requests).toEqual([]);
  });

  test('in a file that is none keep the gate from starting, and a reload from counting', async () => {
    const file = join(tempFolder('jwks'), 'jwks.json');
    writeFileSync(file, '{"keys": "hunter2"}');
    await expect(identityScene([{ ...JWT, jwks_file: file }])).rejects.toThrow(
      `identity[0].jwks_file ${file} is no JWK Set of at most 100 keys`,
    );
    const scene = await identityScene([JWT]);
    scene.gate.rewrite(text => text.replace('"match": "any"', `"match": "any", "jwks_file": "${file}"`));
    expect(scene.gate.logs.at(-1)?.message).toContain('not reloaded');
    expect(verdict(await scene.session(bearer(await scene.issuer.sign())))).toBe('200 ok');
  });
});

describe('a reload', () => {
  test('shuts out a token whose entry is gone, though its session is known', async () => {
    const scene = await identityScene([JWT]);
    const token = await scene.issuer.sign();
    expect(verdict(await scene.session(bearer(token)))).toBe('200 ok');
    scene.gate.rewrite(text => text.replace('"audience": "stubgate"', '"audience": "other"'));
    expect(verdict(await scene.session(bearer(token)))).toBe(DENIED);
  });

  test('that gives a token another profile does not change the session that it opened', async () => {
    const scene = await identityScene([JWT]);
    const [token, fresh] = [await scene.issuer.sign(), await scene.issuer.sign({ jti: '2' })];
    expect(told(await scene.session(bearer(token))).profile).toBe('ci');
    scene.gate.rewrite(text => text.replace('"profile": "ci"', '"profile": "closed"'));
    expect(verdict(await scene.session(bearer(token)))).toBe(DENIED);
    expect(causes(scene).join('\n')).toContain('it needs a new credential');
    expect(told(await scene.session(bearer(fresh))).profile).toBe('closed');
  });
});

describe('a Kubernetes service account', () => {
  const K8S = 'kubernetes.default.svc';
  const entry = {
    ...JWT,
    issuer: `https://${K8S}`,
    jwks_url: `https://${ISSUER}/jwks`,
    match: { sub: 'system:serviceaccount:ci:*', '/kubernetes.io/namespace': 'ci' },
    act: '/kubernetes.io/pod/name',
    labels: { namespace: '/kubernetes.io/namespace', pod: '/kubernetes.io/pod/uid' },
  };
  const token = (scene: IdentityScene, namespace = 'ci', sub = `system:serviceaccount:${namespace}:agent`) =>
    scene.issuer.sign({
      iss: `https://${K8S}`,
      aud: ['stubgate'],
      sub,
      jti: 'c2f3',
      nbf: seconds(),
      'kubernetes.io': {
        namespace,
        node: { name: 'node-1', uid: 'n' },
        pod: { name: 'agent-7d9', uid: '5b2c' },
        serviceaccount: { name: 'agent', uid: 'a1' },
      },
    });

  test('is who its projected token says', async () => {
    const scene = await identityScene([entry]);
    expect(told(await scene.session(basic(await token(scene))))).toMatchObject({
      sub: 'system:serviceaccount:ci:agent',
      act: 'agent-7d9',
      labels: { namespace: 'ci', pod: '5b2c' },
    });
    expect(verdict(await scene.session(basic(await token(scene, 'prod'))))).toBe(DENIED);
    const other = 'system:serviceaccount:prod:agent';
    expect(verdict(await scene.session(basic(await token(scene, 'ci', other))))).toBe(DENIED);
  });
});

describe('real clients with a JWT', () => {
  needs('curl')('curl, as a header of the proxy and as the password of its URL', async () => {
    const scene = await identityScene([JWT]);
    const token = await scene.issuer.sign();
    const port = scene.gate.proxyPort;
    const env = cleanEnv();
    const own = ['-sS', '--fail', '--proxy', `http://jwt:${token}@127.0.0.1:${port}`];
    const lines = (await runOk('curl', [...own, 'http://stubgate.invalid/env'], { env })).stdout;
    const stub = /^export API_KEY='([^']+)'\n$/.exec(lines)?.[1] ?? '';
    const common = [
      '--cacert',
      scene.gate.caFile,
      '-H',
      `Authorization: Bearer ${stub}`,
      `https://${API}/me`,
    ];
    const asHeader = [
      '--proxy',
      `http://127.0.0.1:${port}`,
      '--proxy-header',
      `Proxy-Authorization: Bearer ${token}`,
    ];
    for (const args of [own, ['-sS', '--fail', ...asHeader]]) {
      const { stdout } = await runOk('curl', [...args, ...common], { env });
      expect(JSON.parse(stdout)).toMatchObject({ headers: { authorization: `Bearer ${stub}` } });
    }
    expect(scene.api.requests.map(({ headers }) => headers.authorization)).toEqual(
      Array.from({ length: 2 }, () => `Bearer ${scene.secret}`),
    );
  });

  needs('python3-requests')('requests, with the token in HTTPS_PROXY', async () => {
    const scene = await identityScene([JWT]);
    const token = await scene.issuer.sign({ pad: 'x'.repeat(800) });
    const proxy = `http://jwt:${token}@127.0.0.1:${scene.gate.proxyPort}`;
    const program = `
import requests
mine = requests.get('http://stubgate.invalid/session').json()
answer = requests.get('https://${API}/me', headers={'Authorization': 'Bearer ' + mine['env']['API_KEY']})
print(answer.status_code, mine['sub'], answer.json()['headers']['authorization'] == 'Bearer ' + mine['env']['API_KEY'])
`;
    const env = cleanEnv({ HTTPS_PROXY: proxy, HTTP_PROXY: proxy, REQUESTS_CA_BUNDLE: scene.gate.caFile });
    const { stdout } = await runOk('/usr/bin/python3', ['-c', program], { env });
    expect(stdout).toBe('200 robot True\n');
    expect(scene.api.requests[0]?.headers.authorization).toBe(`Bearer ${scene.secret}`);
  });
});

describe('the gate’s own pages', () => {
  test('tell a session of itself, and are audited', async () => {
    const scene = await identityScene([JWT]);
    const { session, token } = await scene.gate.gate.createSession({ profile: 'ci', sub: 'me' });
    const line = await scene.line(async () => {
      const reply = await ownPage(scene.gate.proxyPort, bearer(token));
      expect(reply.headers).toEqual([
        ['content-type', 'application/json'],
        ['cache-control', 'no-store'],
        ['x-content-type-options', 'nosniff'],
        ['content-length', `${reply.body.length}`],
      ]);
      expect(told(reply)).toEqual({
        id: session.session,
        profile: 'ci',
        sub: 'me',
        act: null,
        labels: {},
        expires_at: new Date(session.expiresAt).toISOString(),
        env: scene.gate.gate.stubEnvironment(session),
        ca: scene.gate.ca,
      });
    });
    expect(line).toMatchObject({
      session: session.session,
      verdict: 'allow',
      rule: null,
      reason: null,
      scheme: 'http',
      host: 'stubgate.invalid',
      port: 80,
      method: 'GET',
      path: '/session',
      status: 200,
    });
    const pem = await ownPage(scene.gate.proxyPort, bearer(token), '/ca.pem');
    expect(pem.body.toString()).toBe(scene.gate.ca);
  });

  const port = ({ gate }: IdentityScene): number => gate.proxyPort;
  test.each<[string, string, readonly string[], string]>([
    ['another page', '/v1/sessions', [], '403 no_rule'],
    ['the root', '/', [], '403 no_rule'],
    ['a query', '/session?x=1', [], '403 no_rule'],
    ['another case', '/Session', [], '403 no_rule'],
    ['a property of every object', '/constructor', [], '403 no_rule'],
    ['a web page', '/session', ['Origin: http://evil.test'], '403 no_rule'],
    ['a script of a web page', '/session', ['Sec-Fetch-Site: cross-site'], '403 no_rule'],
    ['a body', '/session', ['Content-Length: 1', '', 'x'], '400 malformed_request'],
  ])('do not answer %s', async (_, page, lines, wanted) => {
    const scene = await identityScene([JWT]);
    const { token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const line = await scene.line(async () =>
      expect(verdict(await ownPage(port(scene), bearer(token), page, lines))).toBe(wanted),
    );
    expect(line).toMatchObject({ verdict: 'deny', host: 'stubgate.invalid', method: 'GET' });
  });

  test('are not read once the audit cannot be written, and the gate goes on', async () => {
    const scene = await identityScene([JWT], { config: { audit: { file: '/dev/full' } } });
    const written = vi.spyOn(scene.gate.gate.audit, 'write');
    const token = await scene.issuer.sign();
    for (const times of [1, 2]) {
      expect(verdict(await scene.session(bearer(token)))).toBe('503 audit_unavailable');
      expect(written).toHaveBeenCalledTimes(times);
    }
  });

  test('are read again once the audit can be written, whatever else is asked', async () => {
    const scene = await identityScene([JWT]);
    const { token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const { auditFile } = scene.gate.files;
    rmSync(auditFile);
    mkdirSync(auditFile);
    scene.gate.gate.audit.reopen();
    expect(verdict(await scene.session(bearer(token)))).toBe('503 audit_unavailable');
    rmdirSync(auditFile);
    await expect
      .poll(async () => verdict(await scene.session(bearer(token))), { timeout: 5000 })
      .toBe('200 ok');
  });

  test('answer nobody without a session, and nothing through a tunnel', async () => {
    const scene = await identityScene([JWT]);
    expect(verdict(await ownPage(port(scene), ''))).toBe(DENIED);
    expect(verdict(await ownPage(port(scene), bearer('x')))).toBe(DENIED);
    const { session, token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const proxy = { port: port(scene), authorization: bearer(token) };
    const peer = await openTls(proxy, scene.gate.ca, 'stubgate.invalid');
    await peer.send('GET /session HTTP/1.1\r\nHost: stubgate.invalid\r\n\r\n');
    expect(verdict(await readReply(peer))).toBe('403 no_rule');
    peer.cut();
    await scene.gate.revoke(session.session);
    expect(verdict(await ownPage(port(scene), bearer(token)))).toBe('407 session_revoked');
  });
});
