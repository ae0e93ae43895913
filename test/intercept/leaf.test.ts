import 'reflect-metadata';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../src/intercept/ca.ts';
import { pem } from '../../src/intercept/certificate.ts';
import { elements } from '../../src/intercept/der.ts';
import { LeafMint } from '../../src/intercept/leaf.ts';
import { needs } from '../support/clients.ts';
import { ALGORITHMS, brought, broughtCa, folder, fromNow, host, written } from './fixture.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const LONG = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.example.test`;
const HOSTS = [
  'example.test',
  'xn--bcher-kva.example',
  'under_score.test',
  LONG,
  'localhost',
  '127.0.0.1',
  '::1',
  '2001:db8::ffff',
  '::ffff:192.0.2.1',
];

const own = () => openAuthority({ dir: folder() });
const mint = (authority: Authority, name: string, now?: number) =>
  new LeafMint(authority).mint(host(name), now);
const parsed = (authority: Authority, name: string) =>
  new x509.X509Certificate(mint(authority, name).certificate);

test.each(HOSTS)('a leaf for %s is for that host only', name => {
  const leaf = new X509Certificate(mint(own(), name).certificate);
  const isIp = /^[\d.]+$|:/.test(name);
  expect(isIp ? leaf.checkIP(name) : leaf.checkHost(name)).toBe(name);
  expect(leaf.checkHost('stubgate')).toBeUndefined();
  expect(leaf.checkHost(`x.${name}`)).toBeUndefined();
});

test.each([
  ['example.test', '820c6578616d706c652e74657374'],
  ['127.0.0.1', '87047f000001'],
  ['::1', `8710${'0'.repeat(31)}1`],
  ['::ffff:192.0.2.1', '871000000000000000000000ffffc0000201'],
])('the subject alternative name of %s is %s', (name, expected) => {
  const value = parsed(own(), name).getExtension('2.5.29.17')?.value;
  expect(elements(Buffer.from(value as ArrayBuffer))[0]?.content.toString('hex')).toBe(expected);
});

test('a leaf is for TLS servers, and no CA', () => {
  const authority = own();
  const leaf = parsed(authority, 'example.test');
  const root = new x509.X509Certificate(authority.rootPem);
  expect(leaf.getExtension<x509.BasicConstraintsExtension>('2.5.29.19')).toMatchObject({
    ca: false,
    critical: true,
  });
  expect(leaf.getExtension<x509.KeyUsagesExtension>('2.5.29.15')).toMatchObject({
    usages: x509.KeyUsageFlags.digitalSignature,
    critical: true,
  });
  expect(leaf.getExtension<x509.ExtendedKeyUsageExtension>('2.5.29.37')?.usages).toEqual([
    '1.3.6.1.5.5.7.3.1',
  ]);
  expect(leaf.getExtension('2.5.29.17')?.critical).toBe(false);
  const issuerId = root.getExtension<x509.SubjectKeyIdentifierExtension>('2.5.29.14')?.keyId;
  expect(leaf.getExtension<x509.AuthorityKeyIdentifierExtension>('2.5.29.35')?.keyId).toBe(issuerId);
  expect(leaf.getExtension<x509.SubjectKeyIdentifierExtension>('2.5.29.14')?.keyId).toMatch(/^[0-9a-f]{40}$/);
  expect(leaf.subject).toBe('CN=intercepted by Stubgate');
  expect(leaf.issuer).toBe(root.subject);
});

test('key usage is encoded without its unused bits (X.690, section 11.2.2)', () => {
  const authority = own();
  const usage = (certificate: x509.X509Certificate) => {
    const value = certificate.getExtension('2.5.29.15')?.value as ArrayBuffer;
    return Buffer.from(value).toString('hex');
  };
  expect(usage(parsed(authority, 'a.test'))).toBe('03020780');
  expect(usage(new x509.X509Certificate(authority.rootPem))).toBe('03020106');
});

test('a leaf holds each extension once', () => {
  const types = parsed(own(), 'example.test').extensions.map(e => e.type);
  expect(new Set(types).size).toBe(types.length);
});

test('serial numbers are positive, as short as possible, long enough, and never the same', () => {
  const leaves = new LeafMint(own());
  const serials = Array.from({ length: 500 }, () => {
    const tbs = elements(elements(leaves.mint(host('a.test')).certificate)[0]?.content ?? Buffer.alloc(0))[0];
    return elements(tbs?.content ?? Buffer.alloc(0))[1]?.content ?? Buffer.alloc(0);
  });
  for (const serial of serials) {
    expect(serial.length).toBe(16);
    expect(serial[0]).toBeGreaterThan(0);
    expect(serial[0]).toBeLessThan(0x80);
  }
  expect(new Set(serials.map(s => s.toString('hex'))).size).toBe(500);
});

test('a leaf is valid from an hour ago for seven days', () => {
  const now = Date.parse('2030-05-06T07:08:09.500Z');
  const leaf = mint(own(), 'a.test', now);
  const { validFromDate, validToDate } = new X509Certificate(leaf.certificate);
  expect(validFromDate.toISOString()).toBe('2030-05-06T06:08:09.000Z');
  expect(validToDate.toISOString()).toBe('2030-05-13T07:08:09.000Z');
});

test('a leaf lives no longer than its CA, and begins no earlier', async () => {
  const authority = await brought({ notBefore: fromNow(-1 / 96), notAfter: fromNow(2) });
  const { validFromDate, validToDate } = new X509Certificate(mint(authority, 'a.test').certificate);
  expect(validFromDate.getTime()).toBe(authority.notBefore);
  expect(validToDate.getTime()).toBe(authority.notAfter);
});

test('a leaf of a CA that has expired has expired with it', async () => {
  const authority = await brought({ notAfter: fromNow(2) });
  const leaf = mint(authority, 'a.test', Date.now() + 3 * DAY);
  expect(leaf).toMatchObject({ notAfter: authority.notAfter, notBefore: authority.notAfter - HOUR });
});

test('dates beyond 2049 are right', async () => {
  const authority = await brought({ notAfter: new Date('2060-01-01T00:00:00Z') });
  const leaf = new X509Certificate(mint(authority, 'a.test', Date.parse('2055-02-03T04:05:06Z')).certificate);
  expect(leaf.validFromDate.toISOString()).toBe('2055-02-03T03:05:06.000Z');
  expect(leaf.validToDate.toISOString()).toBe('2055-02-10T04:05:06.000Z');
});

test('all leaves of a mint have its one key', () => {
  const leaves = new LeafMint(own());
  const keys = ['a.test', 'b.test'].map(
    name => new X509Certificate(leaves.mint(host(name)).certificate).publicKey,
  );
  expect(keys[0]?.equals(keys[1] as never)).toBe(true);
  expect(leaves.keyPem).toMatch(/^-----BEGIN PRIVATE KEY-----/);
});

test.each(['P-256', 'P-384', 'RSA 2048'] as const)('a CA with a %s key signs leaves', async algorithm => {
  const authority = await brought({ algorithm });
  const leaf = new X509Certificate(mint(authority, 'a.test').certificate);
  expect(leaf.verify(authority.certificate.publicKey)).toBe(true);
  expect(leaf.checkIssued(authority.certificate)).toBe(true);
  expect(ALGORITHMS[algorithm]).toBeDefined();
});

test('a CA without a key identifier gets leaves that name its key', async () => {
  const authority = await brought({ withoutKeyId: true });
  const leaf = parsed(authority, 'a.test');
  expect(leaf.getExtension<x509.AuthorityKeyIdentifierExtension>('2.5.29.35')?.keyId).toMatch(
    /^[0-9a-f]{40}$/,
  );
});

/** What `openssl verify` says of a leaf, strictly. */
function opensslVerify(authority: Authority, name: string): string {
  const dir = folder();
  const file = (label: string, content: string) => {
    writeFileSync(join(dir, label), content);
    return join(dir, label);
  };
  const root = file('root.pem', authority.rootPem);
  const chain = file('chain.pem', authority.chainPem);
  const leaf = file('leaf.pem', pem(mint(authority, name).certificate));
  const kind = /^[\d.]+$|:/.test(name) ? '-verify_ip' : '-verify_hostname';
  const untrusted = authority.chainPem === '' ? [] : ['-untrusted', chain];
  const strict = [
    '-x509_strict',
    '-check_ss_sig',
    '-purpose',
    'sslserver',
    '-auth_level',
    '2',
    '-no-CApath',
    '-no-CAstore',
  ];
  const { stdout, stderr } = spawnSync(
    'openssl',
    ['verify', ...strict, kind, name, '-CAfile', root, ...untrusted, leaf],
    {
      encoding: 'utf8',
    },
  );
  return `${stdout}${stderr}`.trim().replace(/^.*\/leaf\.pem/, 'leaf');
}

const withOpenssl = needs('openssl');

withOpenssl('openssl verifies leaves of the gate’s own CA, strictly', async () => {
  const authority = own();
  expect(HOSTS.map(name => opensslVerify(authority, name))).toEqual(HOSTS.map(() => 'leaf: OK'));
});

withOpenssl('openssl verifies leaves below an RSA root and a P-384 intermediate, strictly', async () => {
  const root = await broughtCa({ algorithm: 'RSA 2048' });
  const middle = await broughtCa({ algorithm: 'P-384', pathLength: 1 }, root);
  const issuer = await broughtCa({ pathLength: 0 }, middle);
  const authority = openAuthority(written(issuer.cert + middle.cert + root.cert, issuer.key));
  expect(opensslVerify(authority, 'a.test')).toBe('leaf: OK');
});
