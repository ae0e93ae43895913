import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, npmCli, run, runOk } from '../support/clients.ts';
import { startNpmRegistry } from '../support/upstreams/npm.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const test = needs('npm');
const HOST = 'npm.corp.test';

async function project(secret: string): Promise<Sandbox & { cwd: string }> {
  const upstream = closing(await startNpmRegistry({ host: HOST, token: secret, package: '@acme/hello' }));
  const box = await sandbox({
    credentials: { npm: { secret, env: 'NPM_TOKEN', shape: 'npm' } },
    rules: [
      {
        name: 'registry',
        hosts: [HOST],
        methods: ['GET'],
        paths: ['/@acme/**', '/@acme%2fhello', '/-/whoami'],
        inject: [{ credential: 'npm', as: 'bearer' }],
      },
    ],
    upstreams: { [HOST]: upstream },
  });
  const cwd = join(box.env['HOME'] ?? '', 'project');
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'package.json'), '{"name":"agent","private":true}');
  const token = `//${HOST}/:_authToken=\${NPM_TOKEN}`;
  writeFileSync(join(cwd, '.npmrc'), `registry=https://${HOST}/\n${token}\naudit=false\nfund=false\n`);
  return { ...box, cwd };
}

const npm = (...args: string[]): [string, string[]] => [
  process.execPath,
  [npmCli() ?? '', ...args, '--loglevel=http', '--fetch-retries=0', '--no-update-notifier'],
];

test('installs from a private registry with the stub in .npmrc', async () => {
  const secret = canary('npm_', 36);
  const { env, cwd, gate, session } = await project(secret);
  const ran = await runOk(...npm('install', '@acme/hello'), { env, cwd });
  const installed = readFileSync(join(cwd, 'node_modules/@acme/hello/index.js'), 'utf8');
  expect(installed).toContain('from the private registry');
  expectClean(ran.output, secret);
  expectClean(readFileSync(join(cwd, 'package-lock.json')), secret);
  const lines = await gate.audit(2);
  for (const line of lines) {
    expect(line).toMatchObject({
      session: session.id,
      rule: 'registry',
      status: 200,
      injected: [{ credential: 'npm', placement: 'header authorization' }],
    });
  }
  expect(lines.map(line => line.path?.toLowerCase())).toEqual([
    '/@acme%2fhello',
    '/@acme/hello/-/hello-1.0.0.tgz',
  ]);
});

test('shows the refusal of a package that no rule allows', async () => {
  const { env, cwd, gate } = await project(canary('npm_', 36));
  const ran = await run(...npm('install', 'left-pad'), { env, cwd });
  expect(ran.code).not.toBe(0);
  expect(ran.stderr).toContain('403');
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({ verdict: 'deny', reason: 'no_rule', path: '/left-pad', status: 403 });
});
