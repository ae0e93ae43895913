import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { tempFolder } from '../audit/event.ts';
import { dump, hasRedis, startRedis } from '../support/redis.ts';
import { stubgate } from './stubgate.ts';

const PASSWORD = 'pw-canary-a81c';
const KEY = 'key-canary-5b2e-0123456789abcdefghijkl';

function folder(port: number): string {
  const cwd = tempFolder();
  writeFileSync(
    join(cwd, 'stubgate.yaml'),
    `version: 1
listen: { proxy: 127.0.0.1:0, admin: "unix:./admin.sock" }
state: { url: "redis://127.0.0.1:${port}/3", password_env: STATE_PASSWORD, key_env: STATE_KEY, prefix: mine }
rules: []
`,
  );
  return cwd;
}

describe.skipIf(!hasRedis)('run, with shared state', () => {
  test('the session is in Redis, revoked when the command ends; its secrets are not in the command’s environment', async () => {
    const redis = await startRedis(['--requirepass', PASSWORD], { password: PASSWORD });
    onTestFinished(() => redis.stop());
    const env = { STATE_PASSWORD: PASSWORD, STATE_KEY: KEY };
    const ran = await stubgate({ cwd: folder(redis.port), env }, 'run', '--', 'env');
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.stdout).toMatch(/^HTTPS_PROXY=http:\/\/s_\w+:sgt_\w{54}@/m);
    expect(`${ran.stdout}${ran.stderr}`).not.toMatch(/canary|STATE_/);
    await redis.admin.select(3);
    const held = await dump(redis);
    expect(held).toMatch(/"\{mine\}:session:[0-9a-f]{64}",\s*\{[^}]*"revoked": "\d+"/);
    expect(held).not.toContain('canary');
  });

  test('without Redis nothing is run', async () => {
    const env = { STATE_PASSWORD: PASSWORD, STATE_KEY: KEY };
    const ran = await stubgate({ cwd: folder(1), env }, 'run', '--', 'echo', 'ran');
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain('ECONNREFUSED');
    expect(ran.stderr).toContain('state_unavailable');
  });

  test('a variable that is not set is told, by its name', async () => {
    const ran = await stubgate({ cwd: folder(1), env: { STATE_KEY: KEY } }, 'run', '--', 'echo', 'ran');
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain('STATE_PASSWORD');
    expect(ran.stderr).not.toContain('canary');
  });
});
