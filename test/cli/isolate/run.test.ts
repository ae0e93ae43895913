import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { seccompFilter } from '../../../src/cli/isolate/seccomp.ts';
import { leaks } from '../../support/canary.ts';
import { needs } from '../../support/clients.ts';
import {
  begin,
  ended,
  gateOf,
  give,
  HOST,
  isolated,
  projectScene,
  scene,
  seen,
  type Scene,
  told,
  USERS,
} from './scene.ts';

const it = needs('bubblewrap', 'curl');
const CALL = `curl -sS https://${HOST}/x -H "Authorization: Bearer $API_KEY"; echo; echo "stub $API_KEY"`;

function expectSwapped({ upstream, secret }: Scene, stdout: string): void {
  const stub = /^stub (\S+)$/m.exec(stdout)?.[1] ?? '';
  expect(stub).toMatch(/^sgs_\w{40}$/);
  expect(upstream.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${secret}`]);
  const [echo = ''] = stdout.split('\n');
  expect(JSON.parse(echo)).toMatchObject({ headers: { authorization: `Bearer ${stub}` } });
  expect(leaks(stdout, secret)).toEqual([]);
}

describe.each(USERS)('as %s', user => {
  it('the command reaches what the rules allow, its stub swapped', async () => {
    const where = await scene(user);
    const { code, stdout, stderr } = await isolated(where, 'sh', '-c', CALL);
    expect(stderr).toMatch(
      /: 1 requests allowed, 0 denied; secrets injected 1 times, removed from answers 2/,
    );
    expect(code).toBe(0);
    expectSwapped(where, stdout);
  });

  it('it does through a gate that runs, too', async () => {
    const where = await scene(user);
    const gate = await gateOf(where);
    const { code, stdout, stderr } = await isolated(where, 'sh', '-c', CALL);
    expect(stderr).toMatch(/: 1 requests allowed, 0 denied; secrets injected 1 times/);
    expect(code).toBe(0);
    expectSwapped(where, stdout);
    const ending = once(gate, 'exit');
    gate.kill('SIGTERM');
    await ending;
  });

  it('a refusal can be read', async () => {
    const { stdout } = await isolated(await scene(user), 'curl', '-sS', 'https://denied.test/');
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'no_rule' } });
  });

  it('stdio is the command’s', async () => {
    const where = await scene(user);
    const child = begin(
      where,
      ['run', '--isolate', '--', 'sh', '-c', 'cat; echo err >&2'],
      'exec < <(echo in)',
    );
    expect(await ended(child)).toMatchObject({ stdout: 'in\n', stderr: expect.stringMatching(/^err\n/) });
  });

  it('it writes in its own folder and in a /tmp of its own, and nothing of it is left running', async () => {
    const where = await scene(user);
    const command =
      'echo x > here && echo x > /tmp/there && echo x > "$TMPDIR/there-too" && sleep 1000 & sleep 0.2';
    const { stderr } = await isolated(where, 'sh', '-c', command);
    expect(stderr).toMatch(/^stubgate: session/);
    expect(readdirSync(where.project)).toEqual(['here']);
    expect(existsSync('/tmp/there')).toBe(false);
  });

  it('it writes where --writable says', async () => {
    const where = await scene(user);
    const args = [
      'run',
      '--isolate',
      '--writable',
      seen(where, where.home),
      '--',
      'sh',
      '-c',
      'echo x > "$HOME/x"',
    ];
    expect((await ended(begin(where, args))).code).toBe(0);
    expect(readdirSync(where.home)).toEqual(['x']);
  });

  for (const [how, replace] of [
    [
      'renamed there',
      (file: string, text: string) => (writeFileSync(`${file}.new`, text), renameSync(`${file}.new`, file)),
    ],
    ['made anew', (file: string, text: string) => (unlinkSync(file), writeFileSync(file, text))],
  ] as const) {
    it(`ends when another configuration is ${how}, where the command could write it`, async () => {
      const where = await projectScene(user);
      const child = begin(where, ['run', '--isolate', '--', 'sh', '-c', 'echo started >&2; exec sleep 1000']);
      await told(child, 'started');
      const ending = ended(child);
      replace(where.files.configFile, 'version: 1\n');
      const { code, stderr } = await ending;
      expect(code).toBe(137);
      expect(stderr).toMatch(/stubgate\.yaml was replaced while the command could write there: it was ended/);
    });
  }
});

describe('as without isolation, it', () => {
  const user = USERS.at(-1) ?? 'the user';

  for (const [what, command, expected] of [
    ['its own', ['sh', '-c', 'exit 3'], 3],
    ['128 + 9 for SIGKILL', ['sh', '-c', 'kill -9 $$'], 137],
    ['127 for one that is not there', ['no-such-command-here'], 127],
    ['126 for one that may not be run', ['/etc/passwd'], 126],
  ] as const) {
    it(`exits with the command’s code: ${what}`, async () => {
      const { code, stderr } = await isolated(await scene(user), ...command);
      expect(code).toBe(expected);
      expect(stderr).not.toMatch(/\n\s+at /);
    });
  }

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`passes ${signal} on to the command`, async () => {
      const trap = `trap 'exit 7' ${signal.slice(3)}; echo started >&2; while :; do sleep 0.1; done`;
      const child = begin(await scene(user), ['run', '--isolate', '--', 'sh', '-c', trap]);
      await told(child, 'started');
      const ending = ended(child);
      child.kill(signal);
      expect((await ending).code).toBe(7);
    });
  }
});

describe('is refused, and nothing run,', () => {
  const RUN = ['run', '--isolate', '--', 'sh', '-c', 'touch ran'];
  const [user] = USERS;

  async function expectRefused(
    where: Scene,
    says: RegExp,
    args: readonly string[] = RUN,
    before?: string,
  ): Promise<void> {
    const { code, stderr } = await ended(begin(where, args, before));
    expect(stderr).toMatch(says);
    expect(code).toBe(2);
    expect(existsSync(join(where.project, 'ran'))).toBe(false);
  }

  it('where namespaces cannot be had', async () => {
    // Where bwrap has ended the making of further ones.
    const without = 'exec bwrap --unshare-user --disable-userns --dev-bind / / -- "$@"';
    const says = /the command was not run: bwrap could not isolate it; allow user name/;
    await expectRefused(await scene(user), says, RUN, without);
  });

  it('for a secret that lies in the command’s own folder', async () => {
    const where = await projectScene(user);
    const { configFile } = where.files;
    writeFileSync(join(where.project, 'key'), where.secret, { mode: 0o600 });
    give(where, where.project);
    const text = JSON.stringify({
      version: 1,
      ca: { dir: '../certs' },
      credentials: { api: { from: 'file:../key', stub: { env: 'API_KEY' } } },
      rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    });
    writeFileSync(configFile, text);
    await expectRefused(where, /the secret of the credential "api" cannot be hidden.*folder of its own/);
  });

  it('for a program of a vault that lies in the command’s own folder', async () => {
    const where = await projectScene(user);
    const text = JSON.stringify({
      version: 1,
      ca: { dir: '../../certs' },
      audit: { file: '../../audit.jsonl' },
      vaults: { p: { type: 'exec', command: ['sh', seen(where, join(where.project, 'get.sh')), '{id}'] } },
    });
    writeFileSync(where.files.configFile, text);
    await expectRefused(where, /the vault "p" runs .*get\.sh, which the command may write/);
  });

  it('for a link by which the command could lead the gate elsewhere', async () => {
    const where = await projectScene(user);
    const link = join(where.project, 'config/link.yaml');
    symlinkSync(where.files.configFile, link);
    const args = ['run', '--config', seen(where, link), '--isolate', '--', 'touch', 'ran'];
    await expectRefused(where, /link\.yaml is a link in a folder that the command may write/, args);
  });

  it('for a folder that is none', async () => {
    const where = await scene(user);
    mkdirSync(join(where.project, 'x'));
    for (const [path, says] of [
      ['/no/such/folder', /is no folder/],
      ['/', /name the folders/],
    ] as const)
      await expectRefused(where, says, ['run', '--isolate', '--writable', path, '--', 'touch', 'ran']);
  });

  test('for --writable without --isolate', async () => {
    const args = ['run', '--writable', '/tmp', '--', 'touch', 'ran'];
    await expectRefused(await scene(user), /add --isolate/, args);
  });

  test('for an architecture whose system calls are not known', () => {
    expect(seccompFilter('mips')).toBeUndefined();
    expect(seccompFilter('x64')?.length).toBeGreaterThan(0);
  });
});
