import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync, mkdtempSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SecureVersion, TLSSocket } from 'node:tls';
import { afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { TlsClient } from '../../src/upstream/tls.ts';
import { needs } from '../support/clients.ts';
import { createCa, type ServerIdentity, type TestCa } from '../support/pki.ts';
import { refusal, tcpServer, tlsServer } from './fixture.ts';

const DAY = 86_400_000;
const fromNow = (days: number) => new Date(Date.now() + days * DAY);

let ca: TestCa;
let good: ServerIdentity;
beforeAll(async () => {
  ca = await createCa();
  good = await ca.issue(['a.test', '127.0.0.1']);
});
afterEach(() => void vi.unstubAllEnvs());

async function tcp(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  onTestFinished(() => void socket.destroy());
  return socket;
}

async function secure(client: TlsClient, port: number, host = 'a.test'): Promise<TLSSocket> {
  const secured = await client.secure(await tcp(port), host, port);
  onTestFinished(() => void secured.destroy());
  return secured;
}

test('proves the host, tells its name in SNI and offers http/1.1', async () => {
  const server = await tlsServer({ ...good, ALPNProtocols: ['h2', 'http/1.1'] });
  const secured = await secure(new TlsClient([ca.file], 5000), server.port);
  expect(secured.authorized).toBe(true);
  expect(secured.alpnProtocol).toBe('http/1.1');
  expect(secured.getProtocol()).toBe('TLSv1.3');
  await vi.waitFor(() => expect(server.names).toEqual(['a.test']));
});

test('proves an IP address by its own kind of name, and sends no SNI', async () => {
  const server = await tlsServer(good);
  await secure(new TlsClient([ca.file], 5000), server.port, '127.0.0.1');
  await vi.waitFor(() => expect(server.names).toEqual([false]));
});

const FAULTS: readonly (readonly [string, string, () => Promise<ServerIdentity>])[] = [
  ['another name', 'a.test', () => ca.issue(['b.test'])],
  ['a name below', 'a.test', () => ca.issue(['x.a.test'])],
  ['another IP address', '127.0.0.1', () => ca.issue(['127.0.0.2'])],
  ['an IP address as a DNS name only', '127.0.0.1', () => ca.issue(['localhost'])],
  [
    'an expired certificate',
    'a.test',
    () => ca.issue(['a.test'], { notBefore: fromNow(-3), notAfter: fromNow(-1) }),
  ],
  [
    'a certificate of the future',
    'a.test',
    () => ca.issue(['a.test'], { notBefore: fromNow(1), notAfter: fromNow(2) }),
  ],
  ['an unknown CA', 'a.test', async () => (await createCa('Nobody')).issue(['a.test'])],
  ['a CA of the same name with another key', 'a.test', async () => (await createCa()).issue(['a.test'])],
];

for (const version of ['TLSv1.2', 'TLSv1.3'] as const satisfies SecureVersion[]) {
  test.each(FAULTS)(
    `refuses %s as upstream_tls, before a byte is sent, over ${version}`,
    async (_, host, identity) => {
      const server = await tlsServer({ ...(await identity()), minVersion: version, maxVersion: version });
      const raw = await tcp(server.port);
      await expect(refusal(new TlsClient([ca.file], 5000).secure(raw, host, server.port))).resolves.toBe(
        'upstream_tls',
      );
      if (!raw.destroyed) await once(raw, 'close');
      expect(server.received).toEqual([]);
    },
  );
}

test('the environment does not turn verification off, nor add a CA', async () => {
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
  vi.stubEnv('NODE_EXTRA_CA_CERTS', ca.file);
  const server = await tlsServer(good);
  await expect(refusal(secure(new TlsClient([], 5000), server.port))).resolves.toBe('upstream_tls');
});

test.each([
  [
    'something else than TLS is upstream_tls',
    (s: Socket) => s.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    'upstream_tls',
  ],
  ['a reset is upstream_unreachable', (s: Socket) => s.resetAndDestroy(), 'upstream_unreachable'],
  ['an end is upstream_unreachable', (s: Socket) => s.end(), 'upstream_unreachable'],
])('during the handshake %s', async (_, act, code) => {
  const { port } = await tcpServer(socket => socket.once('data', () => act(socket)));
  await expect(refusal(secure(new TlsClient([ca.file], 5000), port))).resolves.toBe(code);
});

test('a server that only speaks an old TLS is upstream_tls', async () => {
  const server = await tlsServer({
    ...good,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'ALL:@SECLEVEL=0',
  });
  await expect(refusal(secure(new TlsClient([ca.file], 5000), server.port))).resolves.toBe('upstream_tls');
});

test('a server that never answers the handshake is upstream_timeout, and the connection is closed', async () => {
  const { port, sockets } = await tcpServer();
  const raw = await tcp(port);
  await expect(refusal(new TlsClient([ca.file], 50).secure(raw, 'a.test', port))).resolves.toBe(
    'upstream_timeout',
  );
  if (!raw.destroyed) await once(raw, 'close');
  expect(sockets).toHaveLength(1);
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)('resumes a %s session of the same origin', async version => {
  const server = await tlsServer(
    { ...good, minVersion: version, maxVersion: version },
    s => void s.write('x'),
  );
  const client = new TlsClient([ca.file], 5000);
  for (let i = 0; i < 3; i++) {
    const secured = await secure(client, server.port);
    // Tickets of TLS 1.3 come behind the handshake, at the latest with the first data.
    await once(secured, 'data');
    secured.destroy();
  }
  expect(server.resumed).toEqual([false, true, true]);
});

test('resumes no session at another host or port', async () => {
  const server = await tlsServer(await ca.issue(['a.test', 'b.test']), s => void s.write('x'));
  const client = new TlsClient([ca.file], 5000);
  for (const host of ['a.test', 'b.test']) await once(await secure(client, server.port, host), 'data');
  expect(server.resumed).toEqual([false, false]);
});

/** OpenSSL's own server; unlike Node's it hands out a new ticket on a resumed TLS 1.3 connection too. */
async function opensslServer({ key, cert }: ServerIdentity): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-'));
  writeFileSync(join(dir, 'key.pem'), key, { mode: 0o600 });
  writeFileSync(join(dir, 'cert.pem'), cert);
  const args = ['s_server', '-accept', '127.0.0.1:0', '-key', 'key.pem', '-cert', 'cert.pem', '-www'];
  const server = spawn('openssl', args, { cwd: dir, stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void server.kill());
  let printed = '';
  for await (const chunk of server.stdout) {
    printed += String(chunk);
    const port = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(printed)?.[1];
    if (port) return Number(port);
  }
  throw new Error('openssl s_server did not start');
}

needs('openssl')(
  'asks for a full proof of identity again after an hour, however often it was resumed',
  async () => {
    const port = await opensslServer(good);
    const client = new TlsClient([ca.file], 5000);
    const clock = vi.spyOn(performance, 'now');
    onTestFinished(() => clock.mockRestore());
    const start = performance.now();
    const resumed: boolean[] = [];
    for (const minutes of [0, 40, 59, 61]) {
      clock.mockReturnValue(start + minutes * 60_000);
      const secured = await secure(client, port);
      resumed.push(secured.isSessionReused());
      secured.write('GET / HTTP/1.0\r\n\r\n');
      await secured.toArray();
    }
    expect(resumed).toEqual([false, true, true, false]);
  },
);

test('keeps no session of a server that failed to prove who it is', async () => {
  const wrong = await tlsServer({ ...(await ca.issue(['b.test'])), maxVersion: 'TLSv1.2' });
  const client = new TlsClient([ca.file], 5000);
  for (let i = 0; i < 2; i++) await expect(refusal(secure(client, wrong.port))).resolves.toBe('upstream_tls');
  expect(wrong.resumed).not.toContain(true);
});

test.each([
  ['is missing', undefined, /ENOENT/],
  ['holds no certificate', 'hello', /holds no certificate in PEM/],
  ['holds a broken one', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', /cannot be used/],
])('a CA file that %s is an error for the operator, naming the file', (_, content, message) => {
  const file = join(mkdtempSync(join(tmpdir(), 'stubgate-')), 'corp.pem');
  if (content !== undefined) writeFileSync(file, content);
  expect(() => new TlsClient([file], 5000)).toThrow(message);
  expect(() => new TlsClient([file], 5000)).toThrow(file);
});
