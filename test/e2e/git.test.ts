import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { type Env, needs, run, runOk } from '../support/clients.ts';
import { type GitUpstream, startGit } from '../support/upstreams/git.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const test = needs('git', 'git-http-backend');
const REMOTE = 'https://github.com/acme/hello.git';

const GIT_CONFIG = '[user]\nname = Agent\nemail = agent@example.com\n';

interface Scene extends Sandbox {
  readonly secret: string;
  readonly stub: string;
  readonly upstream: GitUpstream;
}

async function scene(): Promise<Scene> {
  const secret = canary('ghp_', 36);
  const upstream = closing(
    await startGit({
      host: 'github.com',
      credential: `x-access-token:${secret}`,
      repositories: ['acme/hello.git', 'other/theirs.git'],
    }),
  );
  const inject = [{ credential: 'github', as: 'basic', username: 'x-access-token' }];
  const box = await sandbox({
    credentials: { github: { secret, env: 'GITHUB_TOKEN', shape: 'github-pat' } },
    rules: [{ name: 'git', hosts: ['github.com'], paths: ['/acme/*.git/**'], inject }],
    upstreams: { 'github.com': upstream },
  });
  writeFileSync(join(box.env['HOME'] ?? '', '.gitconfig'), GIT_CONFIG);
  const env: Env = {
    ...box.env,
    GIT_TERMINAL_PROMPT: '0',
    GIT_TRACE_CURL: '1',
    GIT_TRACE_CURL_NO_DATA: '0',
    GIT_TRACE_REDACT: '0',
  };
  return { ...box, env, secret, stub: box.session.stubs['GITHUB_TOKEN'] ?? '', upstream };
}

/** Every file below a folder, in one buffer. */
function everything(folder: string): Buffer {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile());
  return Buffer.concat(files.map(file => readFileSync(join(file.parentPath, file.name))));
}

function expectOnlyTheSecret({ upstream, secret, stub }: Scene): void {
  const credential = `Basic ${Buffer.from(`x-access-token:${secret}`).toString('base64')}`;
  const sent = upstream.requests.map(request => request.headers.authorization);
  expect(new Set(sent)).toEqual(new Set([undefined, credential]));
  const heads = upstream.requests.map(request => request.rawHeaders.join('\n')).join('\n');
  expect(heads).not.toContain(Buffer.from(`x-access-token:${stub}`).toString('base64'));
}

test('clones a private repository with nothing but the stub', async () => {
  const here = await scene();
  const { env, gate, secret } = here;
  const folder = env['HOME'] ?? '';
  const ran = await runOk('git', ['clone', REMOTE, 'hello'], { env });
  expect(readFileSync(join(folder, 'hello/README'), 'utf8')).toBe('hello from upstream\n');
  expectOnlyTheSecret(here);
  expectClean(ran.output, secret);
  expectClean(everything(folder), secret);

  const lines = await gate.audit(here.upstream.requests.length);
  const [asked, ...rest] = lines;
  expect(asked).toMatchObject({ rule: 'git', status: 401, injected: [], path: '/acme/hello.git/info/refs' });
  for (const line of rest) {
    const injected = [{ credential: 'github', placement: 'header authorization' }];
    expect(line).toMatchObject({ rule: 'git', verdict: 'allow', status: 200, injected, stubs_seen: 1 });
  }
});

test('pushes a commit', async () => {
  const here = await scene();
  const { env, upstream, secret } = here;
  await runOk('git', ['clone', '-q', REMOTE, 'hello'], { env });
  const cwd = join(env['HOME'] ?? '', 'hello');
  // Incompressible and beyond http.postBuffer (1 MiB), so that git sends it in chunks.
  writeFileSync(join(cwd, 'blob'), Buffer.from(canary('', 3_000_000)));
  await runOk('git', ['add', '.'], { env, cwd });
  await runOk('git', ['commit', '-qm', 'from the sandbox'], { env, cwd });
  const ran = await runOk('git', ['push', 'origin', 'main'], { env, cwd });
  const head = await runOk('git', ['rev-parse', 'HEAD'], { env, cwd });
  expect(await upstream.tip('acme/hello.git')).toBe(head.stdout.trim());
  expectOnlyTheSecret(here);
  expectClean(ran.output, secret);
  const packs = upstream.requests.filter(request => request.url === '/acme/hello.git/git-receive-pack');
  expect(packs.some(request => request.headers['transfer-encoding'] === 'chunked')).toBe(true);
});

test('reads the refusal for a repository that is not its own', async () => {
  const { env, upstream, gate } = await scene();
  const ran = await run('git', ['clone', 'https://github.com/other/theirs.git'], { env });
  expect(ran.code).toBe(128);
  expect(ran.stderr).toContain('403');
  expect(upstream.requests).toEqual([]);
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({ verdict: 'deny', reason: 'no_rule', path: '/other/theirs.git/info/refs' });
});
