import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, type TestContext } from 'vitest';
import { parse } from 'yaml';
import { startHttp } from '../support/upstream.ts';
import { ACTION, act, HOOK, job, POLICY, program, repository, run, STUBGATE, verbs, WIDER } from './kit.ts';

const SECRET = 'real-secret-of-the-kit';
const there = await verbs();

/** Skips the test, visibly, where this build has not all verbs. */
function needs(context: TestContext, ...names: string[]): void {
  const missing = names.filter(name => !there.has(name));
  if (missing.length > 0) context.skip(`this build has no verb ${missing.join(', ')}`);
}

/** A stand-in for stubgate that notes how it was called, and ends as `codes` says. */
function standIn(cwd: string, codes: Record<string, number> = {}): void {
  const cases = Object.entries(codes).map(([verb, code]) => `${verb}) exit ${code};;`);
  program(cwd, 'stubgate', `echo "$@" >> calls; echo "said by $1"; case "$1" in ${cases.join(' ')} esac`);
}
const calls = (cwd: string): string[] => readFileSync(join(cwd, 'calls'), 'utf8').trimEnd().split('\n');

/** A stand-in for gh: `found` is the id of the comment that is there. */
function gh(cwd: string, found = ''): void {
  program(cwd, 'gh', `echo "$GH_TOKEN $@" >> gh-calls; case "$*" in *--jq*) echo "${found}";; esac`);
}

const checking = { stubgate: 'stubgate', mode: 'check', base: 'main' };
const temp = (cwd: string) => ({ RUNNER_TEMP: join(cwd, 'temp') });

describe('the action', () => {
  it('calls each verb, and writes a summary', async () => {
    const cwd = await repository();
    standIn(cwd);
    const done = await act(cwd, checking, temp(cwd));
    expect([done.code, done.outputs['widened']]).toEqual([0, 'false']);
    const out = done.outputs['reports'] ?? '';
    expect(calls(cwd)).toEqual([
      'check --format sarif stubgate.yaml',
      'check stubgate.yaml',
      `test stubgate.yaml --coverage --junit ${out}/test.xml`,
      `diff --markdown --no-widening ${out}/old.yaml stubgate.yaml`,
      `verify --config stubgate.yaml --junit ${out}/verify.xml --sarif ${out}/verify.sarif`,
    ]);
    for (const part of ['check', 'test', 'what this change allows', 'verify'])
      expect(done.summary).toContain(`### Stubgate: ${part}\n`);
    expect(done.summary.match(/said by/g)).toHaveLength(4);
    expect(readFileSync(join(out, 'old.yaml'), 'utf8')).toBe(POLICY);
  });

  it.each(['check', 'test', 'diff', 'verify'])(
    'fails if %s does, and goes on with the others',
    async verb => {
      const cwd = await repository();
      standIn(cwd, { [verb]: 1 });
      const done = await act(cwd, checking, temp(cwd));
      expect([done.code, done.outputs['widened']]).toEqual([1, String(verb === 'diff')]);
      expect(calls(cwd)).toHaveLength(5);
      expect(done.summary).toContain(`said by ${verb}`);
    },
  );

  it('lets a change allow more only if it is told so', async () => {
    const cwd = await repository();
    standIn(cwd, { diff: 1 });
    const done = await act(cwd, { ...checking, 'allow-widening': 'true' }, temp(cwd));
    expect([done.code, done.outputs['widened']]).toEqual([0, 'true']);
  });

  it.each([1, 2, 127])('takes a comparison that ended with %i and told nothing for none', async code => {
    const cwd = await repository();
    program(cwd, 'stubgate', `case "$1" in diff) exit ${code};; esac`);
    const done = await act(cwd, { ...checking, 'allow-widening': 'true' }, temp(cwd));
    expect([done.code, done.outputs['widened']]).toEqual([1, '']);
  });

  it('fails if there is nothing to compare with', async () => {
    const cwd = await repository();
    standIn(cwd);
    const done = await act(cwd, { ...checking, base: 'missing' }, temp(cwd));
    expect([done.code, done.stderr]).toEqual([1, expect.stringContaining('is not fetched')]);
  });

  it.each([
    ['', ['-X POST repos/acme/app/issues/7/comments']],
    ['42', ['-X PATCH repos/acme/app/issues/comments/42']],
  ])('writes one comment, and mends it: %j', async (found, expected) => {
    const cwd = await repository();
    standIn(cwd, { diff: 1 });
    gh(cwd, found);
    writeFileSync(join(cwd, 'event.json'), '{"pull_request":{"number":7}}');
    const env = {
      ...temp(cwd),
      GITHUB_EVENT_PATH: join(cwd, 'event.json'),
      GITHUB_REPOSITORY: 'acme/app',
      GITHUB_TOKEN: 'tok',
    };
    const { outputs } = await act(cwd, checking, env);
    const [asked, ...wrote] = readFileSync(join(cwd, 'gh-calls'), 'utf8').trimEnd().split('\n');
    expect(asked).toMatch(/^tok api repos\/acme\/app\/issues\/7\/comments --paginate/);
    expect(wrote).toEqual(
      expected.map(call => `tok api --silent ${call} -F body=@${outputs['reports']}/body.md`),
    );
    expect(readFileSync(join(outputs['reports'] ?? '', 'body.md'), 'utf8')).toBe(
      '<!-- stubgate -->\n### Stubgate: what this change allows\nsaid by diff\n',
    );
  });

  it('runs no text of an input as a script', async () => {
    const cwd = await repository();
    standIn(cwd);
    await act(
      cwd,
      { ...checking, base: '$(touch owned)', config: 'stubgate.yaml"; touch owned; "' },
      temp(cwd),
    );
    expect(existsSync(join(cwd, 'owned'))).toBe(false);
    const { runs } = parse(readFileSync(ACTION, 'utf8')) as { runs: { steps: { run: string }[] } };
    expect(runs.steps.filter(step => step.run.includes('${{'))).toEqual([]);
  });

  it('runs a command behind the gate', async () => {
    const cwd = await repository();
    const env = { ...temp(cwd), TOK: SECRET };
    const ask = 'curl -s https://other.kit.test/; echo "stub ${TOKEN:0:4} tok ${TOK:-none}"';
    const done = await act(cwd, { mode: 'run', isolate: 'false', run: ask, stubgate: STUBGATE }, env);
    expect(done.stderr).toContain('"code":"no_rule"');
    expect(done.stderr).toContain('stub sgs_ tok none');
    expect(done.code).toBe(0);
    expect(
      (await act(cwd, { mode: 'run', isolate: 'false', run: 'false; true', stubgate: STUBGATE }, env)).code,
    ).toBe(1);
  });

  it('runs the steps of a job behind the gate, and tells what left', async () => {
    const cwd = await repository();
    const env = { ...temp(cwd), TOK: SECRET };
    const begun = await act(cwd, { mode: 'start', stubgate: STUBGATE }, env);
    onTestFinished(() => {
      const file = join(cwd, 'temp/stubgate/gate.pid');
      if (existsSync(file)) process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL');
    });
    expect([begun.code, begun.env['TOKEN']]).toEqual([0, expect.stringMatching(/^sgs_/)]);
    const token = new URL(begun.env['HTTPS_PROXY'] ?? '').password;
    expect(begun.stderr).toContain(`::add-mask::${token}`);
    expect(JSON.stringify(begun)).not.toContain(SECRET);
    expect(existsSync(join(cwd, 'temp/stubgate/session.env'))).toBe(false);
    const step = await run(cwd, begun.env, 'curl', '-s', 'https://other.kit.test/');
    expect(step.stdout).toContain('"code":"no_rule"');
    const ended = await act(cwd, { mode: 'stop', stubgate: STUBGATE }, temp(cwd));
    expect([ended.code, ended.summary]).toEqual([0, expect.stringContaining('0 requests allowed, 1 denied')]);
    expect((await run(cwd, begun.env, 'curl', '-s', 'https://other.kit.test/')).code).toBe(7);
  });

  it('says why no gate started', async () => {
    const cwd = await repository('version: 2\n');
    const done = await act(cwd, { mode: 'start', stubgate: STUBGATE }, temp(cwd));
    expect([done.code, done.stderr]).toEqual([1, expect.stringContaining('stubgate.yaml:1:')]);
    expect((await act(cwd, { mode: 'stop', stubgate: STUBGATE }, { RUNNER_TEMP: cwd })).code).toBe(1);
  });

  it('tells a pull request what it newly allows', async context => {
    needs(context, 'test', 'diff');
    const cwd = await repository(WIDER);
    const done = await act(cwd, { ...checking, stubgate: STUBGATE, verify: 'false' }, temp(cwd));
    expect([done.code, done.outputs['widened']]).toEqual([1, 'true']);
    expect(done.summary).toContain('POST');
    const sarif = JSON.parse(readFileSync(join(done.outputs['reports'] ?? '', 'check.sarif'), 'utf8')) as {
      version: string;
    };
    expect(sarif.version).toBe('2.1.0');
    expect(readFileSync(join(done.outputs['reports'] ?? '', 'test.xml'), 'utf8')).toContain('<testsuite');
  });

  it('proves the policy', async context => {
    needs(context, 'check', 'test', 'diff', 'verify');
    const cwd = await repository();
    const done = await act(cwd, { ...checking, stubgate: STUBGATE }, { ...temp(cwd), TOK: SECRET });
    expect(done.code).toBe(0);
    expect(readFileSync(join(done.outputs['reports'] ?? '', 'verify.xml'), 'utf8')).toContain('<testsuite');
  });
});

describe('the jobs of GitLab', () => {
  const env = {
    STUBGATE: 'stubgate',
    CI_MERGE_REQUEST_IID: '7',
    CI_PROJECT_ID: '3',
    CI_MERGE_REQUEST_DIFF_BASE_SHA: 'origin/main',
  };

  it.each([
    [
      'stubgate-check',
      [
        'check --format sarif stubgate.yaml',
        'check stubgate.yaml',
        'test stubgate.yaml --coverage --junit stubgate-reports/test.xml',
      ],
    ],
    ['stubgate-diff', ['diff --markdown --no-widening stubgate-reports/old.yaml stubgate.yaml']],
    [
      'stubgate-verify',
      [
        'verify --config stubgate.yaml --junit stubgate-reports/verify.xml --sarif stubgate-reports/verify.sarif',
      ],
    ],
  ])('%s calls its verbs, and fails if one does', async (name, expected) => {
    const cwd = await repository();
    standIn(cwd);
    expect((await job(cwd, name, env)).code).toBe(0);
    expect(calls(cwd)).toEqual(expected);
    const verb = expected.at(-1)?.split(' ')[0] ?? '';
    standIn(cwd, { [verb]: 1 });
    expect((await job(cwd, name, env)).code).toBe(1);
  });

  it('stubgate-diff tells the merge request, and shows its token to nobody', async () => {
    const cwd = await repository();
    standIn(cwd, { diff: 1 });
    const api = await startHttp({}, (_, response) => void response.end('{}'));
    onTestFinished(() => api.close());
    const done = await job(cwd, 'stubgate-diff', {
      ...env,
      STUBGATE_NOTE_TOKEN: 'note-token',
      CI_API_V4_URL: `http://${api.address}/api/v4`,
      no_proxy: '*',
    });
    expect(done.code).toBe(1);
    const [request] = api.requests;
    expect([
      request?.method,
      request?.url,
      request?.headers['private-token'],
      new URLSearchParams(request?.body.toString()).get('body'),
    ]).toEqual(['POST', '/api/v4/projects/3/merge_requests/7/notes', 'note-token', 'said by diff\n']);
    expect(done.stdout + done.stderr).not.toContain('note-token');
  });

  it('.behind-stubgate runs a command behind the gate', async () => {
    const cwd = await repository();
    const done = await job(cwd, '.behind-stubgate', {
      STUBGATE,
      STUBGATE_ISOLATE: '',
      TOK: SECRET,
      COMMAND: 'curl -s https://other.kit.test/; false; true',
    });
    expect([done.code, done.stdout]).toEqual([1, expect.stringContaining('"code":"no_rule"')]);
  });
});

describe('the hook', () => {
  const git = (cwd: string, ...args: string[]) =>
    run(cwd, { STUBGATE: 'stubgate' }, 'git', '-c', 'user.name=t', '-c', 'user.email=t@t.test', ...args);

  it.each([
    [{}, 0],
    [{ check: 1 }, 1],
    [{ test: 1 }, 1],
    [{ diff: 1 }, 1],
  ])('lets a commit pass or not: %j', async (codes, code) => {
    const cwd = await repository(WIDER);
    standIn(cwd, codes);
    expect(spawnSync('cp', [HOOK, join(cwd, '.git/hooks/pre-commit')]).status).toBe(0);
    await git(cwd, 'add', 'stubgate.yaml');
    expect((await git(cwd, 'commit', '-qm', 'y')).code).toBe(code);
    expect(calls(cwd).map(call => call.replace(/\/\S+tmp\.\S+/, 'OLD'))).toEqual([
      'check stubgate.yaml',
      'test stubgate.yaml',
      'diff --no-widening OLD stubgate.yaml',
    ]);
  });

  it('asks nothing about other files', async () => {
    const cwd = await repository();
    standIn(cwd);
    expect((await run(cwd, { STUBGATE: 'stubgate' }, HOOK, 'README.md', 'xstubgate.yaml')).code).toBe(0);
    expect(existsSync(join(cwd, 'calls'))).toBe(false);
  });

  it('refuses a change that allows more, unless it is meant', async context => {
    needs(context, 'test', 'diff');
    const cwd = await repository(WIDER);
    expect((await run(cwd, { STUBGATE }, HOOK, 'stubgate.yaml')).code).toBe(1);
    expect((await run(cwd, { STUBGATE, STUBGATE_ALLOW_WIDENING: '1' }, HOOK, 'stubgate.yaml')).code).toBe(0);
  });
});
