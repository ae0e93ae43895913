import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openAuthority } from '../../src/intercept/ca.ts';
import { testCa } from '../support/pki.ts';
import { freePort, hasRedis, startRedis } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { demoFolder, started } from './gate.ts';
import { stubgate } from './stubgate.ts';

const SECRET = 'demo-secret-of-the-doctor';
const REDIS_PASSWORD = 'password-of-redis';

interface Told {
  check: string;
  status: 'ok' | 'note' | 'failed';
  text: string;
  fix?: string;
}

/** A folder in which a gate has run. */
async function ranFolder(): Promise<string> {
  const cwd = demoFolder();
  await stubgate({ cwd, env: { STUBGATE_DEMO_SECRET: SECRET } }, 'run', '--', 'true');
  return cwd;
}

async function doctor(cwd: string, env: Record<string, string> = {}) {
  const ran = await stubgate({ cwd, env: { STUBGATE_DEMO_SECRET: SECRET, ...env } }, 'doctor', '--json');
  expect(`${ran.stdout}${ran.stderr}`).not.toContain(SECRET);
  const { ok, findings } = JSON.parse(ran.stdout) as { ok: boolean; findings: Told[] };
  expect([ran.code, ran.stderr]).toEqual([ok ? 0 : 1, '']);
  expect(findings.filter(({ status, fix }) => status === 'failed' && fix === undefined)).toEqual([]);
  return { ok, of: (check: string) => findings.filter(one => one.check === check) };
}

const bad = (found: readonly Told[]): string[] =>
  found.filter(({ status }) => status === 'failed').map(({ text }) => text);

describe('a gate that is well', () => {
  it('has run, and passes each check', async () => {
    const { ok, of } = await doctor(await ranFolder());
    expect(ok).toBe(true);
    for (const check of ['clock', 'ca', 'files', 'trust', 'vaults', 'upstream', 'ports'])
      expect(of(check).map(({ status }) => status)).toEqual(of(check).map(() => 'ok'));
    expect(of('trust').map(({ text }) => text)).toContain('node trusts the gate');
    expect(of('wiring')).toEqual([
      {
        check: 'wiring',
        status: 'note',
        text: expect.stringContaining('not wired'),
        fix: expect.stringContaining('stubgate run'),
      },
    ]);
  });

  it('has not run yet, and is not changed', async () => {
    const cwd = demoFolder();
    const { ok, of } = await doctor(cwd);
    expect([ok, of('ca')[0]?.status, of('trust')[0]?.status]).toEqual([true, 'note', 'note']);
    expect(readdirSync(cwd)).toEqual(['stubgate.yaml']);
  });

  it('runs, and is known as our own', async () => {
    const cwd = demoFolder();
    await started({ cwd, env: { STUBGATE_DEMO_SECRET: SECRET } });
    const { of } = await doctor(cwd);
    expect(of('ports').map(({ text }) => text)).toContainEqual(
      expect.stringContaining('a gate of this configuration runs there'),
    );
  });
});

it('says in the terminal what to type', async () => {
  const cwd = await ranFolder();
  chmodSync(join(cwd, 'certs/ca.key'), 0o644);
  const { code, stdout } = await stubgate({ cwd, env: { STUBGATE_DEMO_SECRET: SECRET } }, 'doctor');
  expect(code).toBe(1);
  expect(stdout).toMatch(
    /^failed {2}files {5}the CA key \S+ is open to other users.*\n +→ chmod 600 \S+ca\.key$/m,
  );
});

const FAULTS: [string, (cwd: string) => unknown, string, RegExp][] = [
  [
    'a date that is still to come',
    cwd => utimesSync(join(cwd, 'stubgate.yaml'), 4e9, 4e9),
    'clock',
    /stubgate\.yaml is of 2096-/,
  ],
  [
    'another key',
    cwd => {
      openAuthority({ dir: join(cwd, 'other') });
      writeFileSync(join(cwd, 'certs/ca.key'), readFileSync(join(cwd, 'other/ca.key')), { mode: 0o600 });
    },
    'ca',
    /is not the key of/,
  ],
  ['no key', cwd => rmSync(join(cwd, 'certs/ca.key')), 'ca', /its key \S+ is not/],
  [
    'no readable certificate',
    cwd => writeFileSync(join(cwd, 'certs/ca.pem'), 'x'),
    'ca',
    /holds no certificate/,
  ],
  [
    'a readable admin token',
    cwd => writeFileSync(join(cwd, 'certs/admin-token'), 'x'.repeat(40), { mode: 0o644 }),
    'files',
    /admin token .* open to other users/,
  ],
  [
    'a configuration that others write',
    cwd => chmodSync(join(cwd, 'stubgate.yaml'), 0o666),
    'files',
    /may be written by others \(mode 666\)/,
  ],
  [
    'another bundle',
    cwd => writeFileSync(join(cwd, 'certs/sandbox-bundle.pem'), ''),
    'trust',
    /node does not trust the gate/,
  ],
];

it.each(FAULTS)('finds %s', async (_, spoil, check, message) => {
  const cwd = await ranFolder();
  await spoil(cwd);
  const { of } = await doctor(cwd);
  expect(bad(of(check))).toContainEqual(expect.stringMatching(message));
});

/** The demo's folder with more keys. */
function withKeys(text: string, replaced: Record<string, string> = {}): string {
  const cwd = demoFolder();
  let config = readFileSync(join(cwd, 'stubgate.yaml'), 'utf8');
  for (const [from, to] of Object.entries(replaced)) config = config.replace(from, to);
  writeFileSync(join(cwd, 'stubgate.yaml'), `${config}${text}`);
  return cwd;
}

describe('what the configuration names', () => {
  it('and is not there: a secret', async () => {
    const cwd = withKeys('', { STUBGATE_DEMO_SECRET: 'NOT_SET' });
    const { of } = await doctor(cwd);
    expect(bad(of('vaults'))).toEqual([expect.stringMatching(/^demo: env:NOT_SET: the variable is not set/)]);
  });

  it('and is not there: a file of a secret, which others may read', async () => {
    const cwd = withKeys('', { 'env:STUBGATE_DEMO_SECRET': 'file:./secret' });
    expect(bad((await doctor(cwd)).of('vaults'))).toHaveLength(1);
    writeFileSync(join(cwd, 'secret'), SECRET, { mode: 0o600 });
    expect((await doctor(cwd)).of('vaults')).toEqual([
      { check: 'vaults', status: 'ok', text: 'demo: read from file' },
    ]);
  });

  it('and is not there: a CA of the operator’s own', async () => {
    const cwd = withKeys('ca: { cert: ./own.pem, key: ./own.key }\n');
    expect(bad((await doctor(cwd)).of('ca'))).toEqual([
      expect.stringMatching(/^ca\.cert \S+own\.pem is not there$/),
    ]);
    expect(readdirSync(cwd)).toEqual(['stubgate.yaml']);
  });

  it('upstream certificates that cannot be read', async () => {
    const cwd = withKeys('upstream: { ca_file: ./ca.pem }\n');
    expect(bad((await doctor(cwd)).of('upstream'))).toEqual([
      expect.stringContaining('holds no certificate'),
    ]);
    writeFileSync(join(cwd, 'ca.pem'), readFileSync((await testCa()).file));
    expect((await doctor(cwd)).of('upstream')[0]?.text).toBe('upstream.ca_file: 1 certificate, valid');
  });

  it('a parent proxy that takes no connection, and one that does', async () => {
    const server = createServer(socket => socket.destroy()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const cwd = withKeys(`upstream: { proxy: "http://127.0.0.1:${port}" }\n`);
    expect((await doctor(cwd)).of('upstream')[0]?.text).toContain('takes connections');
    server.close();
    await once(server, 'close');
    expect(bad((await doctor(cwd)).of('upstream'))).toEqual([expect.stringContaining('takes no connection')]);
  });

  it.skipIf(!hasRedis)(
    'a Redis that answers, one that wants a password, and one that is not there',
    async () => {
      const server = await startRedis(['--requirepass', REDIS_PASSWORD], { password: REDIS_PASSWORD });
      onTestFinished(() => server.stop());
      const cwd = withKeys(
        `state: { url: "redis://127.0.0.1:${server.port}/0", password_env: REDIS_PASSWORD }\n`,
      );
      const found = async (password: string) =>
        (await doctor(cwd, { REDIS_PASSWORD: password })).of('redis')[0]?.text;
      expect(await found(REDIS_PASSWORD)).toBe(`127.0.0.1:${server.port} answers`);
      expect(await found('wrong-password-of-redis')).toMatch(
        /does not serve this gate: .*(?:WRONGPASS|NOAUTH)/,
      );
      const nowhere = withKeys(`state: "redis://127.0.0.1:${await freePort()}/0"\n`);
      expect(bad((await doctor(nowhere)).of('redis'))).toEqual([
        expect.stringContaining('does not serve this gate'),
      ]);
    },
  );

  it('a port that another program has', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const cwd = withKeys('', { 'proxy: 127.0.0.1:0': `proxy: 127.0.0.1:${port}` });
    expect(bad((await doctor(cwd)).of('ports'))).toEqual([
      `listen.proxy 127.0.0.1:${port} cannot be used (EADDRINUSE)`,
    ]);
  });
});

describe('the wiring of a shell', () => {
  /** What the doctor says in a shell that `run` has wired, but for `changes`. */
  async function inside(changes: string): Promise<Told[]> {
    const cwd = await ranFolder();
    const main = new URL('../../src/main.ts', import.meta.url).pathname;
    const script = `${changes}\nSTUBGATE_DEMO_SECRET=${SECRET} "$0" "${main}" doctor --json`;
    const { stdout } = await stubgate(
      { cwd, env: { STUBGATE_DEMO_SECRET: SECRET } },
      'run',
      '--',
      'sh',
      '-c',
      script,
      process.execPath,
    );
    expect(stdout).not.toMatch(/sgt_/);
    return (JSON.parse(stdout) as { findings: Told[] }).findings.filter(({ check }) => check === 'wiring');
  }

  it('by "run" is whole', async () => {
    expect(await inside('')).toEqual([{ check: 'wiring', status: 'ok', text: 'this shell is wired' }]);
  });

  it('with many faults is told of all of them', async () => {
    const found = await inside(`
      export NO_PROXY=stubgate.test SSL_CERT_FILE= GIT_SSL_CAINFO=/missing.pem NODE_EXTRA_CA_CERTS=/etc/hostname
      export GIT_SSL_NO_VERIFY=1 NODE_TLS_REJECT_UNAUTHORIZED=0 NODE_USE_ENV_PROXY= JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=x
      export DEMO_TOKEN=${SECRET} http_proxy=http://elsewhere.test:1`);
    const told = bad(found);
    for (const part of [
      'NO_PROXY makes',
      'SSL_CERT_FILE is not set',
      'GIT_SSL_CAINFO: /missing.pem cannot be read',
      'NODE_EXTRA_CA_CERTS: /etc/hostname does not hold',
      'GIT_SSL_NO_VERIFY is set',
      'NODE_TLS_REJECT_UNAUTHORIZED is set',
      'NODE_USE_ENV_PROXY is not 1',
      'JAVA_TOOL_OPTIONS names no trust store',
      'DEMO_TOKEN holds something that is no stub of demo',
      'http_proxy leads elsewhere',
    ])
      expect(told).toContainEqual(expect.stringContaining(part));
    expect(JSON.stringify(found)).not.toContain(SECRET);
  });
});

it('needs a configuration that is valid', async () => {
  const cwd = tempFolder('doctor');
  writeFileSync(join(cwd, 'stubgate.yaml'), 'version: 2\n');
  const { code, stderr } = await stubgate({ cwd }, 'doctor');
  expect([code, stderr]).toEqual([2, expect.stringContaining('version')]);
  expect(existsSync(join(cwd, 'certs'))).toBe(false);
});
