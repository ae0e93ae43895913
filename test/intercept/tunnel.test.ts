import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect, createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { type Authority, openAuthority } from '../../src/intercept/ca.ts';
import { Contexts } from '../../src/intercept/contexts.ts';
import { interceptTls } from '../../src/intercept/tunnel.ts';
import { cleanEnv, needs, run } from '../support/clients.ts';
import { folder, host, intercepting } from './fixture.ts';

let authority: Authority;
let contexts: Contexts;
beforeAll(() => {
  authority = openAuthority({ dir: mkdtempSync(join(tmpdir(), 'stubgate-tunnel-')) });
  contexts = new Contexts(authority);
});
const context = () => contexts.get(host('a.test'));

function client(port: number, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    servername: 'a.test',
    ca: authority.rootPem,
    ...options,
  });
  onTestFinished(() => void socket.destroy());
  return socket;
}

async function text(socket: Socket): Promise<string> {
  const chunks: Buffer[] = await socket.toArray();
  return Buffer.concat(chunks).toString('latin1');
}

test('bytes pass both ways, and the client’s SNI is known', async () => {
  const server = await intercepting(context);
  const socket = client(server.port);
  socket.write('hello');
  expect(await text(socket)).toContain('200 OK');
  expect(server.secured[0]?.servername).toBe('a.test');
});

test('another SNI is told as it is, none is false', async () => {
  const server = await intercepting(context);
  for (const servername of ['B.test', '']) {
    const socket = client(server.port, { servername, checkServerIdentity: () => undefined });
    await once(socket, 'secureConnect');
  }
  await vi.waitFor(() => expect(server.secured.map(s => s.servername)).toEqual(['B.test', false]));
});

test('bytes that were read before, and put back, belong to the handshake', async () => {
  const server = createServer(socket => {
    socket.once('data', first => {
      socket.pause();
      socket.unshift(first);
      void interceptTls(socket, context(), { handshakeMs: 5000 }).then(secured => secured.end('hello'));
    });
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const socket = client((server.address() as { port: number }).port);
  expect(await text(socket)).toBe('hello');
});

test('data that comes with the end of the handshake is kept for whoever listens later', async () => {
  const server = createServer(socket => {
    void interceptTls(socket, context(), { handshakeMs: 5000 }).then(async secured => {
      for (let i = 0; i < 5; i++) await new Promise(setImmediate);
      secured.once('data', data => secured.end(data));
    });
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const socket = client((server.address() as { port: number }).port);
  socket.write('early');
  expect(await text(socket)).toBe('early');
});

test.each<[string, tls.ConnectionOptions, string | false]>([
  ['http/1.1', { ALPNProtocols: ['http/1.1'] }, 'http/1.1'],
  ['h2', { ALPNProtocols: ['h2'] }, 'h2'],
  ['http/1.1 and h2', { ALPNProtocols: ['http/1.1', 'h2'] }, 'h2'],
  ['nothing', {}, false],
])('a client that offers %s in ALPN', async (_, options, expected) => {
  const { port } = await intercepting(context);
  const socket = client(port, options);
  await once(socket, 'secureConnect');
  expect(socket.alpnProtocol).toBe(expected);
});

test('a client that offers only h3 is told no_application_protocol', async () => {
  const server = await intercepting(context);
  const [error] = (await once(client(server.port, { ALPNProtocols: ['h3'] }), 'error')) as [Error];
  expect(error.message).toMatch(/no application protocol/);
  await vi.waitFor(() => expect(server.failures).toHaveLength(1));
});

test.each<[string, tls.ConnectionOptions]>([
  ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }],
  ['CBC', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' }],
  ['no forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
])('a client that can only do %s is refused', async (_, options) => {
  const server = await intercepting(context);
  await once(client(server.port, options), 'error');
  await vi.waitFor(() => expect(server.failures).toHaveLength(1));
});

test.each([
  ['TLSv1.2', 'ECDHE-ECDSA-AES128-GCM-SHA256'],
  ['TLSv1.2', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ['TLSv1.2', 'ECDHE-ECDSA-CHACHA20-POLY1305'],
  ['TLSv1.3', 'TLS_AES_128_GCM_SHA256'],
] as const)('%s with %s', async (version, cipher) => {
  const { port } = await intercepting(context);
  const socket = client(port, { minVersion: version, maxVersion: version, ciphers: cipher });
  await once(socket, 'secureConnect');
  expect(socket.getCipher().name).toBe(cipher);
});

test('a client that does not trust the CA ends its handshake, and nothing else', async () => {
  const server = await intercepting(context);
  await once(client(server.port, { ca: [] }), 'error');
  const socket = client(server.port);
  socket.write('hello');
  expect(await text(socket)).toContain('200 OK');
});

test.each<[string, (socket: Socket) => void]>([
  ['something else than TLS', socket => socket.write('GET / HTTP/1.1\r\n\r\n')],
  ['a broken record', socket => socket.write(Buffer.from('160301000501000001ff', 'hex'))],
  ['nothing, and leaves', socket => socket.end()],
  ['half a record, and leaves', socket => socket.end(Buffer.from('16030100', 'hex'))],
  ['a reset', socket => socket.resetAndDestroy()],
])('a client that sends %s: rejected, and the socket closed', async (_, act) => {
  const server = await intercepting(context);
  const socket = connect(server.port, '127.0.0.1').on('error', () => {});
  await once(socket, 'connect');
  await vi.waitFor(() => expect(server.sockets).toHaveLength(1));
  act(socket);
  await vi.waitFor(() => expect(server.failures).toHaveLength(1));
  await vi.waitFor(() => expect(server.sockets[0]?.destroyed).toBe(true));
  expect(server.secured).toEqual([]);
});

test('a client that does not go on with its handshake is given up', async () => {
  const server = await intercepting(context, 50);
  const socket = connect(server.port, '127.0.0.1').on('error', () => {});
  socket.resume();
  await once(socket, 'close');
  await vi.waitFor(() =>
    expect(server.failures.map(e => e.message)).toEqual(['the TLS handshake took too long']),
  );
});

test('a client that is gone already: rejected at once', async () => {
  const socket = new Socket();
  socket.destroy();
  await expect(interceptTls(socket, context(), { handshakeMs: 60_000 })).rejects.toThrow(/left/);
});

test('128 KB may wait to be sent', async () => {
  const server = await intercepting(context);
  await once(client(server.port), 'secureConnect');
  await vi.waitFor(() => expect(server.secured.map(s => s.writableHighWaterMark)).toEqual([131_072]));
});

test('the time limit ends with the handshake', async () => {
  const server = await intercepting(context, 300);
  const socket = client(server.port);
  await once(socket, 'secureConnect');
  const connected = performance.now();
  await vi.waitFor(() => expect(performance.now() - connected).toBeGreaterThan(350), { timeout: 2000 });
  socket.write('hello');
  expect(await text(socket)).toContain('200 OK');
});

test('a broken record after the handshake closes the socket', async () => {
  const server = await intercepting(context);
  const raw = connect(server.port, '127.0.0.1').on('error', () => {});
  const socket = client(server.port, { socket: raw });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  await vi.waitFor(() => expect(server.secured).toHaveLength(1));
  const [secured] = server.secured as [tls.TLSSocket];
  raw.write(Buffer.from(`170303001e${'00'.repeat(30)}`, 'hex'));
  await vi.waitFor(() => expect(secured.destroyed).toBe(true));
});

// ---- real clients ----------------------------------------------------------------------------------------------

function rootFile(): string {
  const file = join(folder(), 'ca.pem');
  writeFileSync(file, authority.rootPem);
  return file;
}

needs('curl')('curl verifies the leaf', async () => {
  const { port } = await intercepting(context);
  const args = [
    '-sS',
    '--http1.1',
    '--cacert',
    rootFile(),
    '--resolve',
    `a.test:${port}:127.0.0.1`,
    `https://a.test:${port}/`,
  ];
  expect(await run('curl', args, { env: cleanEnv() })).toMatchObject({ code: 0, stdout: 'hi\n' });
});

needs('curl')('curl refuses the leaf under another name', async () => {
  const { port } = await intercepting(context);
  const args = [
    '-sS',
    '--cacert',
    rootFile(),
    '--resolve',
    `b.test:${port}:127.0.0.1`,
    `https://b.test:${port}/`,
  ];
  expect((await run('curl', args, { env: cleanEnv() })).code).toBe(60);
});

const PYTHON = `
import socket, ssl, sys
port, root = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=root)
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
with socket.create_connection(("127.0.0.1", port)) as raw:
    with context.wrap_socket(raw, server_hostname="a.test") as secured:
        secured.sendall(b"x")
        print(secured.version(), secured.recv(15).decode())
`;

needs('python3')('Python verifies the leaf as strictly as Python 3.13 does', async () => {
  const { port } = await intercepting(context);
  const ran = await run('python3', ['-c', PYTHON, String(port), rootFile()], { env: cleanEnv() });
  expect(ran).toMatchObject({ code: 0, stdout: 'TLSv1.3 HTTP/1.1 200 OK\n' });
});

for (const version of ['-tls1_2', '-tls1_3']) {
  needs('openssl')(`openssl s_client resumes its session with ${version}`, async () => {
    const { port } = await intercepting(context);
    const session = join(folder(), 'session');
    const connected = [
      's_client',
      '-connect',
      `127.0.0.1:${port}`,
      '-servername',
      'a.test',
      version,
      '-CAfile',
      rootFile(),
    ];
    const strict = ['-verify_return_error', '-x509_strict', '-verify_hostname', 'a.test', '-ign_eof'];
    const input = 'GET / HTTP/1.1\r\n\r\n';
    const openssl = (...args: string[]) =>
      run('openssl', [...connected, ...strict, ...args], { env: cleanEnv(), input });
    const first = await openssl('-sess_out', session);
    expect(first.stdout).toContain('Verify return code: 0 (ok)');
    expect(first.stdout).toMatch(/^New, TLS/m);
    expect((await openssl('-sess_in', session)).stdout).toMatch(/^Reused, TLS/m);
  });
}
