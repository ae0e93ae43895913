import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { leaks } from '../../support/canary.ts';
import { needs } from '../../support/clients.ts';
import { begin, ended, gateOf, give, isolated, projectScene, scene, scripted, seen, USERS } from './scene.ts';

const it = needs('bubblewrap', 'curl', 'python3');

/** A server outside that must not hear of anybody. */
async function unreachable(where: { port?: number; host?: string; path?: string }): Promise<Server> {
  const server = createServer(socket => {
    reached.push(JSON.stringify(where));
    socket.destroy();
  });
  const reached: string[] = [];
  server.listen(where);
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    expect(reached).toEqual([]);
  });
  return server;
}

const portOf = (server: Server): string => String((server.address() as AddressInfo).port);

/** In the sandbox: the error's code for each way that is tried, or what it gave. */
const TRY = `
const results = {};
const attempt = (name, way) => Promise.resolve().then(way).then(
  value => { results[name] = value ?? 'done'; }, error => { results[name] = error.code ?? String(error); });
const done = attempts => Promise.all(attempts).then(() => console.log(JSON.stringify(results)));
const net = require('node:net'), fs = require('node:fs');
const reach = where => new Promise((resolve, reject) =>
  net.connect(where).on('connect', () => resolve('REACHED')).on('error', reject));
`;

describe.each(USERS)('as %s: the network', user => {
  it('is the gate: neither hosts, nor loopback, nor sockets of the machine', async () => {
    const where = await scene(user, [], true);
    const outside = await unreachable({ port: 0, host: '127.0.0.1' });
    const outside6 = await unreachable({ port: 0, host: '::1' });
    const abstract = `\0stubgate-${portOf(outside)}`;
    await unreachable({ path: abstract });
    const socket = join(where.project, 'outside.sock');
    await unreachable({ path: socket });
    give(where, where.project);
    const udp = createSocket('udp4', () => expect.unreachable('a datagram came out'));
    udp.bind(0, '127.0.0.1');
    await once(udp, 'listening');
    onTestFinished(() => void udp.close());
    const { stdout } = await scripted(
      where,
      `${TRY}
      const [port, port6, udp, abstract, socket] = process.argv.slice(1);
      const datagram = (to, host) => new Promise((resolve, reject) => {
        const s = require('node:dgram').createSocket('udp4');
        s.send('x', Number(to), host, error => { s.close(); error ? reject(error) : resolve('sent into its own namespace'); });
      });
      done([
        attempt('loopback', () => reach({ port, host: '127.0.0.1' })),
        attempt('loopback, IPv6', () => reach({ port: port6, host: '::1' })),
        attempt('an address', () => reach({ port: 443, host: '192.0.2.1' })),
        attempt('an address, IPv6', () => reach({ port: 443, host: '2001:db8::1' })),
        attempt('metadata', () => reach({ port: 80, host: '169.254.169.254' })),
        attempt('a name', () => reach({ port: 443, host: 'api.corp.test' })),
        attempt('DNS over UDP', () => datagram(53, '192.0.2.53')),
        attempt('UDP on loopback', () => datagram(udp, '127.0.0.1')),
        attempt('an abstract socket', () => reach({ path: abstract.replace('@', '\\0') })),
        attempt('a socket in its folder', () => reach({ path: socket })),
      ]);`,
      portOf(outside),
      portOf(outside6),
      String(udp.address().port),
      abstract.replace('\0', '@'),
      socket,
    );
    expect(JSON.parse(stdout)).toEqual({
      loopback: 'ECONNREFUSED',
      'loopback, IPv6': 'ECONNREFUSED',
      'an address': 'ENETUNREACH',
      'an address, IPv6': 'ENETUNREACH',
      metadata: 'ENETUNREACH',
      'a name': 'EAI_AGAIN',
      'DNS over UDP': 'ENETUNREACH',
      'UDP on loopback': 'sent into its own namespace',
      'an abstract socket': 'ECONNREFUSED',
      'a socket in its folder': 'ECONNREFUSED',
    });
  });

  it('is not to be had by leaving the proxy out, nor through it', async () => {
    const outside = await unreachable({ port: 0, host: '127.0.0.1' });
    const port = portOf(outside);
    // As if the operator had allowed the machine's loopback by mistake.
    const rule = { name: 'oops', hosts: ['127.0.0.1'], schemes: ['http'], ports: [Number(port)] };
    const where = await scene(user, [rule]);
    const ask = `curl -s -m 5 -o /dev/null -w '%{http_code} %{errormsg}\\n'`;
    const { stdout } = await isolated(
      where,
      'sh',
      '-c',
      `${ask} --noproxy '*' http://127.0.0.1:${port}/
       ${ask} --noproxy '*' https://api.corp.test/
       ${ask} --noproxy nothing --proxy "$HTTPS_PROXY" http://127.0.0.1:${port}/
       ${ask} --noproxy nothing --proxy "$HTTPS_PROXY" http://169.254.169.254/`,
    );
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^000 Failed to connect/),
      expect.stringMatching(/^000 Could not resolve host/),
      expect.stringMatching(/^403 /),
      expect.stringMatching(/^403 /),
      '',
    ]);
  });
});

describe.each(USERS)('as %s: the gate', user => {
  it('cannot be read: its key, its token, its socket, its secrets, its configuration, its audit', async () => {
    const where = await scene(user);
    await gateOf(where);
    const { configFile, auditFile, caDir, dir } = where.files;
    const paths = {
      key: join(caDir, 'ca.key'),
      token: join(caDir, 'admin-token'),
      secret: join(dir, 'api.secret'),
      socket: join(where.home, '../admin/admin.sock'),
      configuration: configFile,
      audit: auditFile,
    };
    const { stdout } = await scripted(
      where,
      `${TRY}
      const paths = JSON.parse(process.argv[1]);
      done([
        ...Object.entries(paths).map(([name, path]) => attempt(name, () => fs.readFileSync(path, 'utf8'))),
        attempt('the socket', () => reach({ path: paths.socket })),
        attempt('the CA for clients', () => fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS, 'utf8').slice(0, 27)),
      ]);`,
      seen(where, JSON.stringify(paths)),
    );
    expect(JSON.parse(stdout)).toEqual({
      ...Object.fromEntries(Object.keys(paths).map(name => [name, 'ENOENT'])),
      'the socket': 'ENOENT',
      'the CA for clients': '-----BEGIN CERTIFICATE-----',
    });
    expect(leaks(stdout, where.secret)).toEqual([]);
  });

  it('cannot be read or led elsewhere where its files are in the command’s own folder', async () => {
    const where = await projectScene(user);
    const before = readFileSync(where.files.configFile, 'utf8');
    const { stdout, stderr } = await scripted(
      where,
      `${TRY}
      done([
        attempt('read the configuration', () => fs.readFileSync('config/stubgate.yaml')),
        attempt('write it', () => fs.writeFileSync('config/stubgate.yaml', 'version: 1')),
        attempt('remove it', () => fs.unlinkSync('config/stubgate.yaml')),
        attempt('move it', () => fs.renameSync('config/stubgate.yaml', 'x')),
        attempt('move its folder', () => fs.renameSync('config', 'x')),
        attempt('move the project', () => fs.renameSync(process.cwd(), process.cwd() + '2')),
        attempt('link to it', () => fs.linkSync('config/stubgate.yaml', 'x')),
        attempt('put another in its place', () => {
          fs.writeFileSync('new', 'version: 1');
          fs.renameSync('new', 'config/stubgate.yaml');
        }),
        attempt('read the audit', () => fs.readFileSync('audit.jsonl')),
        attempt('cut the audit', () => fs.truncateSync('audit.jsonl')),
        attempt('take its lock', () => fs.unlinkSync('audit.jsonl.lock')),
        attempt('read a secret', () => fs.readFileSync('config/secrets/api')),
        attempt('list the secrets', () => fs.readdirSync('config/secrets').join()),
        attempt('move the secrets', () => fs.renameSync('config/secrets', 'x')),
        attempt('read the key', () => fs.readFileSync('certs/ca.key')),
        attempt('put in a key', () => fs.writeFileSync('certs/ca.key', '')),
        attempt('write what clients trust', () => fs.appendFileSync('certs/sandbox-bundle.pem', '')),
        attempt('move the CA', () => fs.renameSync('certs', 'x')),
      ]);`,
    );
    expect(JSON.parse(stdout)).toEqual({
      'read the configuration': 'EACCES',
      'write it': 'EACCES',
      'remove it': 'EBUSY',
      'move it': 'EXDEV',
      'move its folder': 'EBUSY',
      'move the project': expect.stringMatching(/^EBUSY|EROFS$/),
      'link to it': 'EXDEV',
      'put another in its place': 'EXDEV',
      'read the audit': 'EACCES',
      'cut the audit': 'EACCES',
      'take its lock': 'EBUSY',
      'read a secret': 'ENOENT',
      'list the secrets': '',
      'move the secrets': 'EXDEV',
      'read the key': 'ENOENT',
      'put in a key': 'EROFS',
      'write what clients trust': 'EROFS',
      'move the CA': 'EBUSY',
    });
    expect(stderr).not.toContain('replaced');
    expect(readFileSync(where.files.configFile, 'utf8')).toBe(before);
  });

  it('has no processes there: no environment, no memory, nothing to signal', async () => {
    const where = await scene(user);
    const gate = await gateOf(where);
    const { stdout } = await scripted(
      where,
      `${TRY}
      const gate = '/proc/' + process.argv[1];
      const pids = fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name));
      const starts = pids.map(pid => fs.readFileSync('/proc/' + pid + '/environ', 'latin1')).join();
      done([
        attempt('environment', () => fs.readFileSync(gate + '/environ')),
        attempt('memory', () => fs.openSync(gate + '/mem')),
        attempt('files', () => fs.readdirSync(gate + '/root')),
        attempt('a signal', () => process.kill(Number(process.argv[1]), 0)),
        // bwrap, what starts the command, and the command.
        attempt('processes', () => pids.length),
        attempt('names of the gate in environments', () => (starts.match(/STUBGATE_\\w+/g) ?? []).join()),
      ]);`,
      String(gate.pid),
    );
    expect(JSON.parse(stdout)).toEqual({
      environment: 'ENOENT',
      memory: 'ENOENT',
      files: 'ENOENT',
      'a signal': 'ESRCH',
      processes: 3,
      'names of the gate in environments': '',
    });
  });

  it('keys of the user are hidden with it', async () => {
    const where = await scene(user);
    for (const name of [
      '.ssh/id_ed25519',
      '.aws/credentials',
      '.config/gh/hosts.yml',
      '.netrc',
      '.profile',
    ]) {
      mkdirSync(join(where.home, name, '..'), { recursive: true });
      writeFileSync(join(where.home, name), `content of ${name}`);
    }
    give(where, where.home);
    const { stdout } = await isolated(
      where,
      'sh',
      '-c',
      'cd; cat .ssh/* .aws/* .config/gh/* .netrc .profile',
    );
    expect(stdout).toBe(user === 'the user' ? '' : 'content of .profile');
  });
});

/** In the sandbox: the error's name for each system call. */
const SYSCALLS = `
import ctypes, errno, json, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
x64 = platform.machine() == 'x86_64'
results = {}
def call(name, number, *args):
    gave = libc.syscall(ctypes.c_long(number), *args)
    results[name] = 'DONE' if gave >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(name, way):
    try:
        way()
        results[name] = 'DONE'
    except OSError as error:
        results[name] = errno.errorcode[error.errno]
NEWUSER, NEWNET, NEWNS = 0x10000000, 0x40000000, 0x20000
unshare, setns = (272, 308) if x64 else (97, 268)
call('a user namespace', unshare, NEWUSER)
call('a network namespace', unshare, NEWNET)
call('a mount namespace', unshare, NEWNS)
for pid in (1, os.getppid()):
    fd = os.open('/proc/%d/ns/net' % pid, os.O_RDONLY)
    call('the namespace of another', setns, fd, NEWNET)
mount, umount = (165, 166) if x64 else (40, 39)
call('a mount', mount, b'none', b'/tmp', b'tmpfs', 0, 0)
call('writable again', mount, b'none', b'/', b'', 0x20 | 0x1000, 0)
call('an unmount', umount, b'/proc', 2)
attempt('AF_VSOCK', lambda: socket.socket(40, socket.SOCK_STREAM))
attempt('AF_PACKET', lambda: socket.socket(17, socket.SOCK_RAW))
attempt('AF_BLUETOOTH', lambda: socket.socket(31, socket.SOCK_RAW))
attempt('a raw socket', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
call('io_uring', 425, 8, ctypes.create_string_buffer(256))
call('a keyring', 250 if x64 else 219, 0, -3, 1)
call('typing into the terminal', 16 if x64 else 29, 0, ctypes.c_ulong(0x5412), b'x')
call('the same, in a longer number', 16 if x64 else 29, 0, ctypes.c_ulong(0x5412 | 1 << 40), b'x')
if x64:
    call('x32', 0x40000000 + 41, 40, 1, 0)
libc.prctl(38, 0, 0, 0, 0)
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
results['privileges'] = [status[name].strip() for name in ('CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp')]
writable = []
for base in ('/proc/sys', '/sys', '/etc', '/usr', '/var', '/run', '/root', '/home', '/dev'):
    for folder, _, names in os.walk(base):
        writable += [p for p in (os.path.join(folder, n) for n in names) if not os.path.islink(p) and os.access(p, os.W_OK)]
results['writable'] = sorted(p for p in writable if not p.startswith('/dev/'))
results['devices'] = sorted(set(p.split('/')[2] for p in writable if p.startswith('/dev/')))
print(json.dumps(results))
`;

describe.each(USERS)('as %s: the sandbox', user => {
  it('cannot be left or changed', async () => {
    const where = await scene(user);
    const { stdout, stderr } = await isolated(where, '/usr/bin/python3', '-c', SYSCALLS);
    expect(stderr).not.toContain('Traceback');
    const { x32, ...results } = JSON.parse(stdout) as Record<string, unknown>;
    expect(x32 ?? 'ENOSYS').toBe('ENOSYS');
    expect(results).toEqual({
      'a user namespace': 'ENOSPC',
      'a network namespace': 'EPERM',
      'a mount namespace': 'EPERM',
      'the namespace of another': 'EPERM',
      'a mount': 'EPERM',
      'writable again': 'EPERM',
      'an unmount': 'EPERM',
      AF_VSOCK: 'EAFNOSUPPORT',
      AF_PACKET: 'EAFNOSUPPORT',
      AF_BLUETOOTH: 'EAFNOSUPPORT',
      'a raw socket': 'EPERM',
      io_uring: 'ENOSYS',
      'a keyring': 'ENOSYS',
      'typing into the terminal': 'EPERM',
      'the same, in a longer number': 'EPERM',
      privileges: ['0000000000000000', '0000000000000000', '0000000000000000', '1', '2'],
      writable: [],
      devices: ['full', 'null', 'pts', 'random', 'tty', 'urandom', 'zero'],
    });
  });

  it('inherits no descriptor of who starts it', async () => {
    const where = await scene(user);
    const look = [
      'run',
      '--isolate',
      '--',
      'sh',
      '-c',
      'ls /proc/self/fd; ls -l /proc/*/fd | grep -c " /etc$"',
    ];
    const { stdout } = await ended(begin(where, look, 'exec 9</etc 77</etc'));
    expect(stdout).toBe('0\n1\n2\n3\n0\n');
  });

  it('cannot make the gate hang by stopping what waits for it', async () => {
    const where = await scene(user);
    const attach = 'import ctypes; ctypes.CDLL(None).ptrace(16, 1, 0, 0)';
    const { stderr } = await isolated(where, '/usr/bin/python3', '-c', attach);
    expect(stderr).toMatch(/^stubgate: session/);
  });
});
