import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { begin, demoFolder, started } from './gate.ts';
import { quickly, stubgate } from './stubgate.ts';

const SECRET = 'demo-secret-of-this-test';

const FETCH = `fetch('https://demo.stubgate.test/x', { headers: { authorization: 'Bearer ' + process.env.DEMO_TOKEN } })
  .then(r => r.text()).then(t => console.log(t))`;

describe('with a gate of its own', () => {
  it('wires the command, tells what it did, and leaves nothing behind', async () => {
    const cwd = demoFolder();
    const where = { cwd, env: { STUBGATE_DEMO_SECRET: SECRET } };
    const { code, stdout, stderr } = await stubgate(
      where,
      'run',
      '--label',
      'run=7',
      '--',
      process.execPath,
      '-e',
      FETCH,
    );
    expect(stderr).toMatch(
      /^stubgate: session s_\w+: 1 requests allowed, 0 denied; secrets injected 1 times, removed from answers 1 times\n$/,
    );
    const { received } = JSON.parse(stdout) as { received: Record<string, string> };
    expect(received['authorization']).toMatch(/^Bearer demo_\w{32}$/);
    expect(stdout).not.toContain(SECRET);
    expect(code).toBe(0);
    expect(existsSync(join(cwd, 'audit.jsonl.lock'))).toBe(false);
    expect(JSON.parse(readFileSync(join(cwd, 'audit.jsonl'), 'utf8'))).toMatchObject({
      labels: { run: '7' },
      verdict: 'allow',
    });
  });

  it('hands down neither a secret nor a way around', async () => {
    const env = {
      STUBGATE_DEMO_SECRET: SECRET,
      COPY: SECRET,
      HTTPS_PROXY: 'http://elsewhere.test:1',
      no_proxy: '*',
      SSH_AUTH_SOCK: '/agent',
      NODE_TLS_REJECT_UNAUTHORIZED: '0',
      KEPT: 'yes',
    };
    const { stdout } = await stubgate({ cwd: demoFolder(), env }, 'run', '--', 'env');
    const child = new Map(
      stdout.split('\n').map(line => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]),
    );
    expect(stdout).not.toContain(SECRET);
    expect(stdout).not.toContain('elsewhere');
    expect(child.get('KEPT')).toBe('yes');
    expect(child.get('HTTPS_PROXY')).toMatch(/^http:\/\/s_\w+:sgt_\w+@127\.0\.0\.1:\d+$/);
    expect(child.get('https_proxy')).toBe(child.get('HTTPS_PROXY'));
    expect(child.get('no_proxy')).toBe('localhost,127.0.0.1,::1');
    expect(child.has('SSH_AUTH_SOCK') || child.has('NODE_TLS_REJECT_UNAUTHORIZED')).toBe(false);
  });

  it.each([
    ['its own', ['sh', '-c', 'exit 3'], 3],
    ['128 + 9 for SIGKILL', ['sh', '-c', 'kill -9 $$'], 137],
    ['127 for one that is not there', ['no-such-command-here'], 127],
    ['126 for one that may not be run', ['/etc/passwd'], 126],
    ['with its own options', ['sh', '-c', 'test "$0 $1" = "--config x" && exit 4', '--config', 'x'], 4],
  ])('exits with the command’s code: %s', async (_, command, expected) => {
    const { code, stderr } = await stubgate({ cwd: demoFolder() }, 'run', '--', ...command);
    expect(code).toBe(expected);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('passes %s on to the command', async signal => {
    const code = `process.on('${signal}', () => process.exit(7)); setInterval(() => {}, 1e6); console.error('started')`;
    const { child, exit, says } = begin({ cwd: demoFolder() }, 'run', '--', process.execPath, '-e', code);
    await says(/started/);
    child.kill(signal);
    expect(await exit).toBe(7);
  });
});

describe('with a gate that runs', () => {
  it('takes a session of it, and ends it', async () => {
    const cwd = demoFolder();
    await started({ cwd, env: { STUBGATE_DEMO_SECRET: SECRET } }, '--demo');
    const ran = await stubgate({ cwd }, 'run', '--', process.execPath, '-e', FETCH);
    expect(ran.stderr).toContain('1 requests allowed, 0 denied; secrets injected 1 times');
    expect(ran.stdout).toContain('"authorization": "Bearer demo_');
    const id = /session (s_\w+)/.exec(ran.stderr)?.[1] ?? '';
    const shown = await quickly(cwd, 'session', 'show', id);
    expect(JSON.parse(shown.stdout)).toMatchObject({ state: 'revoked', usage: { allowed: 1 } });
    expect(await verifyAudit([join(cwd, 'audit.jsonl')])).toMatchObject({ lines: 1, findings: [] });
  });

  it('is refused a profile or a label that the gate does not take', async () => {
    const cwd = demoFolder();
    await started({ cwd });
    const { code, stderr } = await stubgate({ cwd }, 'run', '--label', 'a b=c', '--', 'true');
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/the gate at unix:.*refused: .*label's name must be/),
    ]);
  });
});

describe('session', () => {
  it('creates, lists, shows and revokes', async () => {
    const cwd = demoFolder();
    await started({ cwd, env: { STUBGATE_DEMO_SECRET: SECRET } }, '--demo');
    const made = await stubgate(
      { cwd },
      'session',
      'create',
      '--sub',
      'alice',
      '--label',
      'a=b',
      '--ttl',
      '5m',
    );
    const { id, env, expires_at } = JSON.parse(made.stdout) as {
      id: string;
      env: Record<string, string>;
      expires_at: string;
    };
    expect(Date.parse(expires_at) - Date.now()).toBeLessThanOrEqual(300_000);
    const list = await quickly(cwd, 'session', 'list');
    expect(list.stdout).toMatch(new RegExp(`^ID +STATE .*\n(.*\n)*${id} +live +default +alice +- `));
    const json = await quickly(cwd, 'session', 'list', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({
      sessions: expect.arrayContaining([expect.objectContaining({ id })]),
    });
    const revoked = await quickly(cwd, 'session', 'revoke', id);
    expect([revoked.code, revoked.stdout]).toEqual([0, `revoked ${id}\n`]);
    const shown = await quickly(cwd, 'session', 'show', id);
    expect(JSON.parse(shown.stdout)).toMatchObject({ state: 'revoked', labels: { a: 'b' } });
    const gone = await quickly(cwd, 'session', 'revoke', 's_none');
    expect([gone.code, gone.stderr]).toEqual([
      1,
      expect.stringContaining('refused: There is no such session'),
    ]);
    expect(Object.keys(env).length).toBeGreaterThan(40);
  });

  it('prints an environment for a shell, and for docker', async () => {
    const cwd = demoFolder();
    await started({ cwd });
    const shell = await quickly(cwd, 'session', 'create', '--format', 'env');
    const script = `${shell.stdout}\nnode -e 'console.log(JSON.stringify(process.env))'`;
    const read = spawnSync('sh', ['-c', script], { env: { PATH: process.env['PATH'] }, encoding: 'utf8' });
    const variables = JSON.parse(read.stdout) as Record<string, string>;
    expect(variables['DEMO_TOKEN']).toMatch(/^demo_\w{32}$/);
    expect(variables['GIT_CONFIG_VALUE_0']).toBe('basic');
    const docker = await quickly(cwd, 'session', 'create', '--format', 'docker');
    expect(docker.stdout).toMatch(/^HTTPS_PROXY=http:\/\/s_\w+:sgt_\w+@127\.0\.0\.1:\d+$/m);
    expect(docker.stdout).not.toMatch(/['"]HTTPS/);
    expect(docker.stderr).toMatch(/^mount: -v \/.*sandbox-ca\.pem:\/.*sandbox-ca\.pem:ro/);
  });
});
