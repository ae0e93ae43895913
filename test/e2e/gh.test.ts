import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, run, runOk } from '../support/clients.ts';
import { startGithub } from '../support/upstreams/github.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const test = needs('gh');

async function scene(secret: string): Promise<Sandbox & { sent: () => unknown[] }> {
  const upstream = closing(await startGithub({ token: secret }));
  const box = await sandbox({
    credentials: { github: { secret, env: 'GH_TOKEN', shape: 'github-pat' } },
    rules: [
      {
        name: 'github-api',
        hosts: ['api.github.com'],
        methods: ['GET', 'POST'],
        paths: ['/user', '/graphql', '/repos/acme/**'],
        inject: [{ credential: 'github', as: 'bearer' }],
      },
    ],
    upstreams: { 'api.github.com': upstream },
  });
  const env = { ...box.env, GH_NO_UPDATE_NOTIFIER: '1', GH_PROMPT_DISABLED: '1', GH_DEBUG: 'api' };
  return { ...box, env, sent: () => upstream.requests.map(request => request.headers.authorization) };
}

test('asks REST and GraphQL with the stub that looks like a token', async () => {
  const secret = canary('ghp_', 36);
  const { env, session, gate, sent } = await scene(secret);
  const stub = session.stubs['GH_TOKEN'] ?? '';
  const user = await runOk('gh', ['api', 'user'], { env });
  expect(JSON.parse(user.stdout)).toMatchObject({ login: 'octo', debug: `token ${stub}` });
  const issue = await runOk('gh', ['api', 'repos/acme/hello/issues', '-f', 'title=from the sandbox'], {
    env,
  });
  expect(JSON.parse(issue.stdout)).toEqual({ number: 7, title: 'from the sandbox' });
  const viewer = await runOk('gh', ['api', 'graphql', '-f', 'query={viewer{login}}'], { env });
  expect(JSON.parse(viewer.stdout)).toEqual({ data: { viewer: { login: 'octo' } } });

  expect(sent()).toEqual([`token ${secret}`, `token ${secret}`, `token ${secret}`]);
  for (const ran of [user, issue, viewer]) expectClean(ran.output, secret);
  const lines = await gate.audit(3);
  expect(lines.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'GET /user',
    'POST /repos/acme/hello/issues',
    'POST /graphql',
  ]);
});

test('shows why a path is refused', async () => {
  const { env, gate, sent } = await scene(canary('ghp_', 36));
  const ran = await run('gh', ['api', 'repos/other/theirs'], { env });
  expect(ran.code).toBe(1);
  expect(ran.output).toMatch(/stubgate-reason: no_rule/i);
  expect(sent()).toEqual([]);
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({
    verdict: 'deny',
    reason: 'no_rule',
    path: '/repos/other/theirs',
    status: 403,
  });
});
