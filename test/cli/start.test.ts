import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { tempFolder } from '../audit/event.ts';
import { needs, run } from '../support/clients.ts';
import { begin, demoFolder, started } from './gate.ts';
import { environment, quickly, stubgate } from './stubgate.ts';

const proxyPort = (stderr: string): number => Number(/"proxy":"127\.0\.0\.1:(\d+)"/.exec(stderr)?.[1]);

describe('signals', () => {
  it('SIGTERM and SIGINT end the gate with 0, and it leaves no lock and no socket', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const cwd = demoFolder();
      const { child, exit } = await started({ cwd });
      expect(statSync(join(cwd, 'admin.sock')).mode & 0o777).toBe(0o600);
      child.kill(signal);
      expect(await exit).toBe(0);
      expect(existsSync(join(cwd, 'audit.jsonl.lock'))).toBe(false);
      expect(existsSync(join(cwd, 'admin.sock'))).toBe(false);
    }
  });

  it('a second one ends it at once with 1', async () => {
    const cwd = demoFolder();
    const far = createServer(socket => void socket.on('error', () => {})).listen(0, '127.0.0.1');
    onTestFinished(() => void far.close());
    await once(far, 'listening');
    const { port } = far.address() as { port: number };
    const tunnel = `
  - { name: raw, hosts: [raw.example.test], action: tunnel }
upstream: { resolve: { raw.example.test: "127.0.0.1:${port}" } }
`;
    appendFileSync(join(cwd, 'stubgate.yaml'), tunnel);
    const { child, exit, stderr, says } = await started({ cwd });
    // A tunnel whose bytes nobody reads, so that the gate waits for its end.
    const { proxy } = JSON.parse((await quickly(cwd, 'session', 'create')).stdout) as { proxy: string };
    const { username, password } = new URL(proxy);
    const client = connect(proxyPort(stderr()), '127.0.0.1');
    onTestFinished(() => void client.destroy());
    client.on('error', () => {});
    const basic = Buffer.from(`${username}:${password}`).toString('base64');
    client.write(
      `CONNECT raw.example.test:443 HTTP/1.1\r\nHost: raw.example.test:443\r\nProxy-Authorization: Basic ${basic}\r\n\r\n`,
    );
    expect(String(await once(client, 'data'))).toContain(' 200 ');
    child.kill('SIGTERM');
    await says(/"message":"stopping/);
    child.kill('SIGTERM');
    expect(await exit).toBe(1);
  });

  it('SIGHUP opens the audit anew and reads the configuration again', async () => {
    const cwd = demoFolder();
    const { child, exit, says } = await started({ cwd });
    renameSync(join(cwd, 'audit.jsonl'), join(cwd, 'audit.jsonl.1'));
    child.kill('SIGHUP');
    await says(/"message":"configuration reloaded"/);
    expect(existsSync(join(cwd, 'audit.jsonl'))).toBe(true);
    writeFileSync(join(cwd, 'stubgate.yaml'), 'version: 2\n');
    await says(/"level":"error","message":"configuration not reloaded/);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
  });
});

describe('a start that fails', () => {
  it.each([
    ['a configuration that is not valid', 2, /stubgate\.yaml:1:10: version: /],
    ['a control plane that cannot listen', 1, /no socket; name another path in listen\.admin/],
    ['a proxy port that is taken', 1, /EADDRINUSE.*another gate may run there: change listen\.proxy/],
    ['an audit that cannot be written', 1, /EISDIR/],
  ])('for %s', async (what, code, says) => {
    const cwd = demoFolder();
    const config = join(cwd, 'stubgate.yaml');
    const text = readFileSync(config, 'utf8');
    if (what.includes('not valid')) writeFileSync(config, 'version: 7\n');
    if (what.includes('control plane')) writeFileSync(join(cwd, 'admin.sock'), '');
    if (what.includes('audit')) writeFileSync(config, `${text}audit: { file: . }\n`);
    if (what.includes('proxy port')) {
      const other = createServer().listen(0, '127.0.0.1');
      onTestFinished(() => void other.close());
      await once(other, 'listening');
      const { port } = other.address() as { port: number };
      writeFileSync(config, text.replace('127.0.0.1:0', `127.0.0.1:${port}`));
    }
    const ran = await stubgate({ cwd }, 'start');
    expect(ran.stderr).toMatch(says);
    expect(ran.stderr).not.toMatch(/\n\s+at /);
    expect(ran.code).toBe(code);
  });

  it('for a gate that runs there already', async () => {
    const cwd = demoFolder();
    const { child } = await started({ cwd });
    const ran = await stubgate({ cwd }, 'start');
    expect([ran.code, ran.stderr]).toEqual([
      1,
      expect.stringContaining(`process ${child.pid} writes this audit file`),
    ]);
  });
});

describe('with workers', () => {
  it.each([
    [['--workers', '0'], 2, /--workers 0: write a whole number from 1 to 64, or auto/],
    [['--workers', '65'], 2, /--workers 65: write a whole number from 1 to 64, or auto/],
    [['--workers', 'many'], 2, /--workers many: write a whole number from 1 to 64, or auto/],
    [['--workers', '2', '--demo'], 2, /--demo is one process; leave out --workers/],
  ])('does not start for %s', async (args, code, says) => {
    const ran = await stubgate({ cwd: demoFolder() }, 'start', ...args);
    expect([ran.code, ran.stderr]).toEqual([code, expect.stringMatching(says)]);
  });

  it.each([
    [
      'a device as the audit',
      'audit: { file: /dev/stderr }',
      1,
      /writes a chain of its own; name a file in audit\.file, or write listen\.workers: 1/,
    ],
    ['an audit that cannot be written', 'audit: { file: stubgate.yaml/audit.jsonl }', 1, /ENOTDIR|EEXIST/],
    ['a Unix socket', 'PROXY', 1, /listen\.proxy must be host:port/],
    ['a proxy port that is taken', 'PORT', 1, /EADDRINUSE.*another gate may run there: change listen\.proxy/],
  ])('does not start for %s', async (_, change, code, says) => {
    const cwd = demoFolder();
    const config = join(cwd, 'stubgate.yaml');
    const other = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void other.close());
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const text = readFileSync(config, 'utf8');
    if (change === 'PORT') writeFileSync(config, text.replace('127.0.0.1:0', `127.0.0.1:${port}`));
    else if (change === 'PROXY') writeFileSync(config, text.replace('127.0.0.1:0', '"unix:./proxy.sock"'));
    else writeFileSync(config, `${text}${change}\n`);
    const ran = await stubgate({ cwd }, 'start', '--workers', '2');
    expect(ran.stderr).toMatch(says);
    expect(ran.stderr).not.toMatch(/\n\s+at /);
    expect(ran.code).toBe(code);
    expect(existsSync(join(cwd, 'audit.jsonl.lock'))).toBe(false);
  });

  it('a worker is started by nobody else', async () => {
    const ran = await stubgate({ cwd: demoFolder() }, 'worker', '1');
    expect([ran.code, ran.stderr]).toEqual([2, expect.stringContaining('stubgate start --workers N')]);
    expect((await quickly(demoFolder(), '--help')).stdout).not.toContain('worker');
  });

  it('every process is hardened, and tells nothing in its command line or environment', async () => {
    const secret = 'sk-canary-of-the-worker-test';
    const { child, exit, stderr } = await started(
      { cwd: demoFolder(), env: { STUBGATE_DEMO_SECRET: secret } },
      '--workers',
      '2',
    );
    const pids = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1').trim().split(' ');
    expect(pids).toHaveLength(2);
    for (const pid of pids) {
      expect(readFileSync(`/proc/${pid}/coredump_filter`, 'utf8')).toBe('00000000\n');
      const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').slice(2, -1);
      expect(line).toEqual(['worker', expect.stringMatching(/^[12]$/), '--log-level', 'info']);
      const names = readFileSync(`/proc/${pid}/environ`, 'latin1')
        .split('\0')
        .map(text => text.split('=')[0]);
      const own = [
        '',
        'HOME',
        'NODE_CHANNEL_FD',
        'NODE_CHANNEL_SERIALIZATION_MODE',
        'PATH',
        'STUBGATE_DEMO_SECRET',
      ];
      expect(new Set(names)).toEqual(new Set(own));
    }
    expect(stderr()).not.toContain(secret);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
  });
});

describe('a process that holds secrets', () => {
  it.each([
    ['--inspect=127.0.0.1:0', { node: ['--inspect=127.0.0.1:0'] }],
    ['--inspect', { env: { NODE_OPTIONS: '--inspect=127.0.0.1:0' } }],
    ['--report', { env: { NODE_OPTIONS: '--report-on-signal' } }],
    ['--heapsnapshot', { node: ['--heapsnapshot-signal=SIGUSR2'] }],
    ['NODE_DEBUG', { env: { NODE_DEBUG: 'http' } }],
  ])('does not start with %s', async (what, where) => {
    const { code, stderr } = await stubgate({ cwd: demoFolder(), ...where }, 'start');
    expect([code, stderr]).toEqual([2, expect.stringContaining('would show secrets; start without it')]);
    expect(stderr).toContain(what.split('=')[0]);
  });

  it.runIf(process.platform === 'linux')('writes no memory into core files', async () => {
    const { child } = await started({ cwd: demoFolder() });
    expect(readFileSync(`/proc/${child.pid}/coredump_filter`, 'utf8')).toBe('00000000\n');
    if (existsSync('/usr/bin/prlimit')) {
      expect(readFileSync(`/proc/${child.pid}/limits`, 'utf8')).toMatch(/Max core file size +0 +0 /);
    }
  });

  it('does not go through a proxy of its environment, nor trust everybody', async () => {
    const harden = new URL('../../src/cli/harden.ts', import.meta.url).href;
    const code = `const { harden } = await import(${JSON.stringify(harden)}); harden();
      console.log(Object.keys(process.env).join(' '))`;
    const env = {
      HTTPS_PROXY: 'x',
      http_proxy: 'x',
      All_Proxy: 'x',
      no_proxy: 'x',
      NODE_TLS_REJECT_UNAUTHORIZED: '0',
      KEPT: 'x',
    };
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      env,
      encoding: 'utf8',
      stdio: 'pipe',
    });
    expect(out.trim()).toBe('KEPT');
  });
});

describe('the demo', () => {
  needs('curl')('prints three commands that show what the gate does', async () => {
    const cwd = demoFolder();
    const { child, exit, stderr } = await started({ cwd }, '--demo');
    const commands = stderr().match(/^ +curl .*$/gm) ?? [];
    const fingerprint = /sha256 ([0-9a-f]{12})/.exec(stderr())?.[1];
    const answers: string[] = [];
    for (const command of commands) {
      answers.push(
        (await run('sh', ['-c', `${command.trim()} -sS`], { env: environment({ cwd }), cwd })).output,
      );
    }
    expect(answers).toHaveLength(3);
    const stub = /Bearer (demo_\w{32})/.exec(commands[0] ?? '')?.[1];
    expect(JSON.parse(answers[0] ?? '')).toEqual({
      received: {
        method: 'GET',
        path: '/hello',
        authorization: `Bearer ${stub}`,
        credential_sha256: fingerprint,
      },
    });
    expect(
      answers.slice(1).map(text => (JSON.parse(text) as { error: { code: string } }).error.code),
    ).toEqual(['no_rule', 'stub_misplaced']);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
    expect(await verifyAudit([join(cwd, 'audit.jsonl')])).toMatchObject({ lines: 3, findings: [] });
  });

  it('brings its own configuration where there is none, and takes it away', async () => {
    const cwd = tempFolder();
    const gate = begin({ cwd, env: { TMPDIR: cwd } }, 'start', '--demo');
    await gate.says(/"message":"ready"|EADDRINUSE/);
    // Its ports are the usual ones, which something else on this machine may hold.
    if (!gate.stderr().includes('EADDRINUSE')) {
      const config = /"config":"([^"]+)"/.exec(gate.stderr())?.[1] ?? '';
      expect(existsSync(config)).toBe(true);
      gate.child.kill('SIGTERM');
      expect(await gate.exit).toBe(0);
      expect(existsSync(config)).toBe(false);
    }
  });
});
