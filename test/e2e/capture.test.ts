import { expect, test as plain } from 'vitest';
import { type Env, needs, run, runOk } from '../support/clients.ts';
import { tempFolder } from '../support/temp.ts';
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

needs('gh')('gh logs in by device flow, and works with what it believes to be its token', async () => {
  const box = await scene();
  const home = tempFolder('gh');
  const env = {
    ...box.env,
    HOME: home,
    GH_HOST: HOST,
    GH_NO_UPDATE_NOTIFIER: '1',
    GH_CONFIG_DIR: home,
    BROWSER: 'true',
  };
  const login = await run('gh', ['auth', 'login', '--hostname', HOST, '--web', '--git-protocol', 'https'], {
    env,
    input: '\n',
  });
  console.log(
    login,
    box.upstream.requests.map(r => [r.url, r.headers['accept'], r.body.toString()]),
  );
  expect(login.code).toBe(0);
});
