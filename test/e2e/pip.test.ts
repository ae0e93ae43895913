import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, runOk } from '../support/clients.ts';
import { startPypi } from '../support/upstreams/pypi.ts';
import { closing, expectClean, sandbox } from './scene.ts';

const test = needs('python3-pip');
const HOST = 'pypi.corp.test';

test('installs from a private index with the stub as the password', async () => {
  const secret = canary('pypi-', 60);
  const upstream = closing(
    await startPypi({ host: HOST, credential: `__token__:${secret}`, distribution: 'acmehello' }),
  );
  const { env, gate, session } = await sandbox({
    credentials: { index: { secret, env: 'INDEX_TOKEN', shape: 'pypi' } },
    rules: [
      {
        name: 'index',
        hosts: [HOST],
        methods: ['GET'],
        paths: ['/simple/**', '/files/**'],
        inject: [{ credential: 'index', as: 'basic' }],
      },
    ],
    upstreams: { [HOST]: upstream },
  });
  const home = env['HOME'] ?? '';
  const stub = session.stubs['INDEX_TOKEN'] ?? '';
  const index = `https://__token__:${stub}@${HOST}/simple/`;
  const options = [
    '--isolated',
    '--no-cache-dir',
    '--disable-pip-version-check',
    '--root-user-action=ignore',
  ];
  // `--isolated` leaves PIP_CERT unread, so the folder's own settings are kept out by HOME instead.
  const args = ['install', ...options.slice(1), '--retries=0', '--target', 'out', '--index-url', index];
  const ran = await runOk('/usr/bin/python3', ['-m', 'pip', ...args, '-vvv', 'acmehello'], {
    env: { ...env, PIP_CONFIG_FILE: '/dev/null' },
  });
  expect(readFileSync(join(home, 'out/acmehello.py'), 'utf8')).toContain('from the private index');
  expectClean(ran.output, secret);

  const credential = `Basic ${Buffer.from(`__token__:${secret}`).toString('base64')}`;
  const sent = upstream.requests.map(request => request.headers.authorization);
  expect(sent).toContain(credential);
  expect(sent.filter(value => value !== undefined && value !== credential)).toEqual([]);
  const lines = await gate.audit(upstream.requests.length);
  expect(lines.map(line => line.path)).toEqual(upstream.requests.map(request => request.url));
  for (const line of lines.filter(({ status }) => status === 200)) {
    const injected = [{ credential: 'index', placement: 'header authorization' }];
    expect(line).toMatchObject({ rule: 'index', verdict: 'allow', injected });
  }
});
