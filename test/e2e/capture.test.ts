import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test as plain } from 'vitest';
import { canary } from '../support/canary.ts';
import { type Env, needs, run, runOk } from '../support/clients.ts';
import { tempFolder } from '../support/temp.ts';
import { ask, openH2, startH2 } from '../support/h2.ts';
import { startHttp } from '../support/upstream.ts';
import { type OAuthOptions, type OAuthServer, startOAuth } from '../support/upstreams/oauth.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const HOST = 'ghe.corp.test';
const both = (credential: string, name: string) => [
  { credential, at: 'json', pointer: `/${name}` },
  { credential, at: 'form', field: name },
];
const RULES = [
  {
    name: 'device',
    hosts: [HOST],
    methods: ['POST'],
    paths: ['/login/device/code'],
    capture: both('device', 'device_code'),
  },
  {
    name: 'token',
    hosts: [HOST],
    methods: ['POST'],
    paths: ['/login/oauth/access_token'],
    inject: [
      { credential: 'device', as: 'form', field: 'device_code' },
      { credential: 'refresh', as: 'form', field: 'refresh_token' },
    ],
    capture: [...both('user', 'access_token'), ...both('refresh', 'refresh_token')],
  },
  { name: 'login', hosts: [HOST], paths: ['/authorize'] },
  { name: 'api', hosts: [HOST], inject: [{ credential: 'user', as: 'bearer' }] },
];

interface Scene extends Sandbox {
  readonly upstream: OAuthServer;
  readonly env: Env;
}

async function scene(options: Omit<OAuthOptions, 'hosts'> = {}): Promise<Scene> {
  const upstream = closing(await startOAuth({ hosts: [HOST], ...options }));
  const box = await sandbox({
    captured: { device: 'generic', user: 'github-oauth', refresh: 'ghr_{36}' },
    rules: RULES,
    upstreams: { [HOST]: upstream },
  });
  return { ...box, upstream };
}

/** Nothing that was handed out came out on the sandbox's side, nor stands in what the operator keeps. */
function expectKept({ upstream, gate }: Scene, ...shown: readonly (string | Buffer)[]): void {
  expect(upstream.handedOut.length).toBeGreaterThan(0);
  for (const secret of upstream.handedOut)
    for (const text of [...shown, gate.auditText(), JSON.stringify(gate.logs)]) expectClean(text, secret);
}

needs('gh')(
  'gh logs in by device flow, and works with what it believes to be its token',
  async () => {
    const box = await scene();
    const home = tempFolder('gh');
    const env = {
      ...box.env,
      HOME: home,
      GH_HOST: HOST,
      GH_CONFIG_DIR: home,
      GH_NO_UPDATE_NOTIFIER: '1',
      BROWSER: 'true',
    };
    const login = await runOk(
      'gh',
      ['auth', 'login', '--hostname', HOST, '--web', '--git-protocol', 'https'],
      {
        env,
        input: '\n',
      },
    );
    expect(login.output).toContain('Logged in as octo');
    const kept = readFileSync(join(home, 'hosts.yml'), 'utf8');
    const [, stub = ''] = /oauth_token: (gho_\w{36})/.exec(kept) ?? [];
    const user = await runOk('gh', ['api', 'user'], { env });
    expect(JSON.parse(user.stdout)).toMatchObject({ login: 'octo', debug: `token ${stub}` });

    const [device, access] = box.upstream.handedOut;
    expect(box.upstream.requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/login/device/code', undefined],
      ['/login/oauth/access_token', undefined],
      ['/api/graphql', `token ${access}`],
      ['/api/v3/user', `token ${access}`],
    ]);
    expect(box.upstream.requests[1]?.body.toString()).toContain(`device_code=${device}&`);
    expect(stub).not.toBe(access);
    expectKept(box, login.output, kept, user.output);
    const lines = await box.gate.audit(4);
    expect(lines.map(({ captured, injected }) => [captured, injected.map(one => one.credential)])).toEqual([
      [[{ credential: 'device', at: 'form device_code' }], []],
      [
        [
          { credential: 'user', at: 'form access_token' },
          { credential: 'refresh', at: 'form refresh_token' },
        ],
        ['device'],
      ],
      [undefined, ['user']],
      [undefined, ['user']],
    ]);
  },
  30_000,
);

needs('curl')('curl polls for a device, which is told to wait, and refreshes what it got', async () => {
  const box = await scene({ confirmed: false });
  const shown: string[] = [];
  const post = async (path: string, ...fields: readonly string[]): Promise<Record<string, string>> => {
    const form = fields.flatMap(field => ['--data-urlencode', field]);
    const ran = await runOk(
      'curl',
      ['-sS', '-i', '-H', 'accept: application/json', ...form, `https://${HOST}${path}`],
      { env: box.env },
    );
    shown.push(ran.output);
    const body = ran.stdout.slice(ran.stdout.lastIndexOf('\r\n\r\n') + 4);
    expect(/content-length: (\d+)/i.exec(ran.stdout)?.[1]).toBe(String(body.length));
    return JSON.parse(body) as Record<string, string>;
  };
  const { device_code } = await post('/login/device/code', 'client_id=cli');
  const poll = () =>
    post(
      '/login/oauth/access_token',
      `device_code=${device_code}`,
      'grant_type=urn:ietf:params:oauth:grant-type:device_code',
    );
  expect(await poll()).toEqual({ error: 'authorization_pending', error_description: 'not yet' });
  box.upstream.confirm();
  const first = await poll();
  expect(first).toMatchObject({ token_type: 'bearer', scope: 'repo,read:org,gist', expires_in: 28_800 });
  expect(first['access_token']).toMatch(/^gho_\w{36}$/);
  expect(first['refresh_token']).toMatch(/^ghr_\w{36}$/);
  const refresh = (token = '') =>
    post('/login/oauth/access_token', `refresh_token=${token}`, 'grant_type=refresh_token');
  const second = await refresh(first['refresh_token']);
  expect(second['refresh_token']).not.toBe(first['refresh_token']);
  // It was good once.
  expect(await refresh(first['refresh_token'])).toEqual({ error: 'invalid_grant' });
  const third = await refresh(second['refresh_token']);
  for (const { access_token } of [first, second, third]) {
    const ran = await runOk(
      'curl',
      ['-sS', '-H', `authorization: Bearer ${access_token}`, `https://${HOST}/user`],
      { env: box.env },
    );
    shown.push(ran.output);
    expect(JSON.parse(ran.stdout)).toMatchObject({ login: 'octo', debug: `Bearer ${access_token}` });
  }
  const [device, ...tokens] = box.upstream.handedOut;
  expect(box.upstream.requests.slice(-3).map(({ headers }) => headers.authorization)).toEqual(
    [tokens[0], tokens[2], tokens[4]].map(token => `Bearer ${token}`),
  );
  expect(box.upstream.requests[2]?.body.toString()).toContain(`device_code=${device}&`);
  expectKept(box, ...shown);
});

const PKCE = `
import base64, hashlib, json, os, requests, secrets
host = 'https://${HOST}'
verifier = secrets.token_urlsafe(48)
challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b'=').decode()
session = requests.Session()
code = session.get(host + '/authorize', params={'code_challenge': challenge, 'code_challenge_method': 'S256'}, headers={'authorization': ''}).json()['code']
form = {'grant_type': 'authorization_code', 'code': code, 'code_verifier': verifier}
got = session.post(host + '/login/oauth/access_token', data=form, headers={'accept': 'application/json'})
tokens = got.json()
user = session.get(host + '/user', headers={'authorization': 'Bearer ' + tokens['access_token']}).json()
assert user['debug'] == 'Bearer ' + tokens['access_token'], user
again = session.post(host + '/login/oauth/access_token', data={'grant_type': 'refresh_token', 'refresh_token': tokens['refresh_token']}, headers={'accept': 'application/json'}).json()
assert again['refresh_token'] == tokens['refresh_token'], again
print(json.dumps([tokens, user, again, dict(got.headers)]))
`;

needs('python3-requests')(
  'requests exchanges a code with PKCE; a refresh token that stays keeps its stub',
  async () => {
    const box = await scene({ rotates: false });
    const ran = await runOk('/usr/bin/python3', ['-c', PKCE], { env: box.env });
    expectKept(box, ran.output);
    const [access, refresh] = box.upstream.handedOut;
    expect(box.upstream.requests.at(-2)?.headers.authorization).toBe(`Bearer ${access}`);
    expect(box.upstream.requests.at(-1)?.body.toString()).toBe(
      `grant_type=refresh_token&refresh_token=${refresh}`,
    );
  },
);

const REGISTRY = 'registry.corp.test';
const AUTH = 'auth.corp.test';

/** Distribution's token server: one token for each scope, in two members. */
async function registry(): Promise<Scene> {
  const handedOut: string[] = [];
  const upstream = closing(
    await startHttp({ hosts: [REGISTRY, AUTH] }, ({ url, headers }, response) => {
      response.setHeader('content-type', 'application/json');
      if (headers.host === AUTH) {
        const scope = new URL(url, 'https://x').searchParams.get('scope') ?? '';
        const jwt = `eyJhbGciOiJSUzI1NiJ9.${Buffer.from(scope + canary('')).toString('base64url')}.${canary('s')}`;
        handedOut.push(jwt);
        response.end(JSON.stringify({ token: jwt, access_token: jwt, expires_in: 300 }));
        return;
      }
      const repository = /^\/v2\/(\w+)\//.exec(url)?.[1] ?? '';
      const isRight =
        headers.authorization ===
        `Bearer ${handedOut.find(jwt => scopeOf(jwt).startsWith(`repository:${repository}:`))}`;
      response.writeHead(isRight ? 200 : 401);
      response.end('{}');
    }),
  );
  const box = await sandbox({
    captured: { registry: 'generic' },
    rules: [
      {
        name: 'token',
        hosts: [AUTH],
        methods: ['GET'],
        paths: ['/token'],
        capture: [
          { credential: 'registry', at: 'json', pointer: '/token', ttl: '5m' },
          { credential: 'registry', at: 'json', pointer: '/access_token', ttl: '5m' },
        ],
      },
      {
        name: 'pull',
        hosts: [REGISTRY],
        methods: ['GET'],
        inject: [{ credential: 'registry', as: 'bearer' }],
      },
    ],
    upstreams: { [REGISTRY]: upstream, [AUTH]: upstream },
  });
  return { ...box, upstream: { ...upstream, handedOut, confirm: () => undefined } };
}
const scopeOf = (jwt: string): string => Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString();

needs('curl')('a registry hands out a token for each scope, and each stub stands for its own', async () => {
  const box = await registry();
  const get = async (url: string, ...more: readonly string[]): Promise<string> =>
    (await runOk('curl', ['-sS', '--fail', '--compressed', ...more, url], { env: box.env })).stdout;
  const tokens: Record<string, string>[] = [];
  for (const name of ['one', 'two'])
    tokens.push(
      JSON.parse(await get(`https://${AUTH}/token?service=r&scope=repository:${name}:pull`)) as Record<
        string,
        string
      >,
    );
  for (const { token, access_token } of tokens) expect(token).toBe(access_token);
  for (const [i, name] of ['one', 'two', 'one'].entries())
    await get(
      `https://${REGISTRY}/v2/${name}/manifests/latest`,
      '-H',
      `authorization: Bearer ${tokens[i % 2]?.['token']}`,
    );
  const wrong = await run(
    'curl',
    [
      '-sS',
      '--fail',
      `https://${REGISTRY}/v2/two/manifests/latest`,
      '-H',
      `authorization: Bearer ${tokens[0]?.['token']}`,
    ],
    { env: box.env },
  );
  expect(wrong.code).toBe(22);
  expectKept(box, JSON.stringify(tokens));
});

plain('over HTTP/2, on both legs', async () => {
  const secret = canary('gho_');
  const seen: string[] = [];
  const upstream = closing(
    await startH2({ hosts: [HOST] }, (stream, { headers }) => {
      seen.push(String(headers['authorization']));
      const isToken = headers[':path'] === '/token';
      stream.respond({ ':status': 200, 'content-type': 'application/json', etag: '"x"' });
      stream.end(
        isToken
          ? JSON.stringify({ a: secret, access_token: secret, b: Buffer.from(secret).toString('base64') })
          : '{}',
      );
    }),
  );
  const { gate, session } = await sandbox({
    captured: { user: 'github-oauth' },
    rules: [
      {
        name: 'token',
        hosts: [HOST],
        paths: ['/token'],
        capture: [{ credential: 'user', at: 'json', pointer: '/access_token' }],
      },
      { name: 'api', hosts: [HOST], inject: [{ credential: 'user', as: 'bearer' }] },
    ],
    upstreams: { [HOST]: upstream },
  });
  const client = await openH2(session.proxy, gate.ca, HOST);
  onTestFinished(() => client.destroy());
  const token = await ask(client, { ':path': '/token' });
  const { access_token: stub, a } = JSON.parse(token.body.toString()) as Record<string, string>;
  expect(stub).toMatch(/^gho_\w{36}$/);
  expect(a).toBe(stub);
  expect(token.headers['content-length']).toBe(String(token.body.length));
  expect(token.headers['etag']).toBeUndefined();
  expectClean(token.body, secret);
  await ask(client, { ':path': '/user', authorization: `Bearer ${stub}` });
  expect(seen).toEqual(['undefined', `Bearer ${secret}`]);
});
