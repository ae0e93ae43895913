import { createPrivateKey, X509Certificate } from 'node:crypto';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { expect, test } from 'vitest';
import { adminToken, openAuthority, rotateAuthority } from '../../src/intercept/ca.ts';
import {
  ALGORITHMS,
  type BroughtCa,
  broughtCa,
  type CaOptions,
  folder,
  fromNow,
  written,
} from './fixture.ts';

const YEAR = 365.25 * 86_400_000;
const mode = (file: string) => statSync(file).mode & 0o777;

test('makes a CA on first start, and opens the same one afterwards', () => {
  const dir = join(folder(), 'certs');
  const first = openAuthority({ dir });
  expect(readdirSync(dir).toSorted()).toEqual(['ca.key', 'ca.pem']);
  expect(mode(join(dir, 'ca.key'))).toBe(0o600);
  expect(mode(dir) & 0o022).toBe(0);
  expect(openAuthority({ dir }).certificate.fingerprint256).toBe(first.certificate.fingerprint256);
  expect(first.rootPem).toBe(readFileSync(join(dir, 'ca.pem'), 'utf8'));
  expect(first.chainPem).toBe('');
});

test('the CA signs leaves and lists of revoked ones, nothing else, for ten years', () => {
  const { rootPem } = openAuthority({ dir: folder() });
  const certificate = new x509.X509Certificate(rootPem);
  expect(certificate.getExtension<x509.BasicConstraintsExtension>('2.5.29.19')).toMatchObject({
    ca: true,
    pathLength: 0,
    critical: true,
  });
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  expect(certificate.getExtension<x509.KeyUsagesExtension>('2.5.29.15')).toMatchObject({
    usages: keyCertSign | cRLSign,
    critical: true,
  });
  const keyId = certificate.getExtension<x509.SubjectKeyIdentifierExtension>('2.5.29.14')?.keyId;
  expect(keyId).toMatch(/^[0-9a-f]{40}$/);
  expect(certificate.getExtension<x509.AuthorityKeyIdentifierExtension>('2.5.29.35')?.keyId).toBe(keyId);
  expect(certificate.subject).toMatch(/^O=Stubgate, CN=Stubgate CA [0-9a-f]{8}$/);
  expect(certificate.publicKey.algorithm).toMatchObject({ name: 'ECDSA', namedCurve: 'P-256' });
  const years = (certificate.notAfter.getTime() - certificate.notBefore.getTime()) / YEAR;
  expect(years).toBeCloseTo(10, 2);
});

test('two folders get two CAs', () => {
  const [a, b] = [openAuthority({ dir: folder() }), openAuthority({ dir: folder() })];
  expect(a.certificate.subject).not.toBe(b.certificate.subject);
  expect(a.certificate.serialNumber).not.toBe(b.certificate.serialNumber);
});

test('processes that start at the same time end with one CA and one token', async () => {
  const dir = join(folder(), 'certs');
  const ca = new URL('../../src/intercept/ca.ts', import.meta.url).href;
  const script = `
    import { adminToken, openAuthority, rotateAuthority } from '${ca}';
    while (Date.now() < ${Date.now() + 1500});
    const { certificate, key } = openAuthority({ dir: process.argv[1] });
    console.log(certificate.fingerprint256, certificate.checkPrivateKey(key), adminToken(process.argv[1]));`;
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, dir]);
  const printed = await Promise.all([run(), run(), run(), run()]);
  expect(new Set(printed.map(p => p.stdout)).size).toBe(1);
  expect(printed[0]?.stdout).toContain(' true ');
  expect(readdirSync(dir).toSorted()).toEqual(['admin-token', 'ca.key', 'ca.pem']);
});

test('a start that was cut after the key goes on with that key', () => {
  const dir = folder();
  openAuthority({ dir });
  const key = readFileSync(join(dir, 'ca.key'), 'utf8');
  rmSync(join(dir, 'ca.pem'));
  const { certificate } = openAuthority({ dir });
  expect(readFileSync(join(dir, 'ca.key'), 'utf8')).toBe(key);
  expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
});

test('a certificate whose key is gone is an error, and no new CA', () => {
  const dir = folder();
  openAuthority({ dir });
  rmSync(join(dir, 'ca.key'));
  expect(() => openAuthority({ dir })).toThrow(/the CA key .*ca\.key does not exist/);
  expect(readdirSync(dir)).toEqual(['ca.pem']);
});

test('a folder that cannot be written is an error that names it', () => {
  const file = join(folder(), 'file');
  writeFileSync(file, '');
  expect(() => openAuthority({ dir: join(file, 'certs') })).toThrow(/file\/certs/);
});

test.each([0o640, 0o604, 0o666, 0o610])('refuses a key of mode %o', bits => {
  const dir = folder();
  openAuthority({ dir });
  chmodSync(join(dir, 'ca.key'), bits);
  expect(() => openAuthority({ dir })).toThrow(
    /ca\.key is open to other users \(mode 06..\): run chmod 600 .*ca\.key/,
  );
});

test('accepts a key of mode 0400', () => {
  const dir = folder();
  openAuthority({ dir });
  chmodSync(join(dir, 'ca.key'), 0o400);
  expect(() => openAuthority({ dir })).not.toThrow();
});

test.runIf(process.getuid?.() === 0)('refuses a key and a token that belong to somebody else', () => {
  const dir = folder();
  openAuthority({ dir });
  adminToken(dir);
  chownSync(join(dir, 'ca.key'), 12345, 12345);
  chownSync(join(dir, 'admin-token'), 12345, 12345);
  expect(() => openAuthority({ dir })).toThrow(
    /ca\.key belongs to user 12345, stubgate runs as 0: run chown 0 /,
  );
  expect(() => adminToken(dir)).toThrow(/admin-token belongs to user 12345/);
});

test.each(['P-256', 'P-384', 'RSA 2048'] as const)('opens a CA with a %s key', async algorithm => {
  const { cert, key, certificate } = await broughtCa({ algorithm });
  const files = written(cert, key);
  const authority = openAuthority(files);
  expect(authority.certificate.raw.equals(Buffer.from(certificate.rawData))).toBe(true);
  expect(authority.rootPem.trim()).toBe(new X509Certificate(cert).toString().trim());
  expect(readdirSync(files.dir).toSorted()).toEqual(['corp.key', 'corp.pem']);
});

test.each(['sec1', 'pkcs1'] as const)('opens a key in %s', async type => {
  const { cert, key } = await broughtCa({ algorithm: type === 'sec1' ? 'P-256' : 'RSA 2048' });
  const other = createPrivateKey(key).export({ type, format: 'pem' });
  expect(() => openAuthority(written(cert, other))).not.toThrow();
});

test('serves the intermediates and lets clients trust the root', async () => {
  const root = await broughtCa({ algorithm: 'RSA 2048', notAfter: fromNow(20) });
  const middle = await broughtCa({ algorithm: 'P-384', pathLength: 1, notBefore: fromNow(-0.5) }, root);
  const issuer = await broughtCa({ pathLength: 0, notAfter: fromNow(10) }, middle);
  const authority = openAuthority(written(`# Corp\n${issuer.cert}${middle.cert}${root.cert}`, issuer.key));
  const names = (pem: string) =>
    pem
      .match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g)
      ?.map(block => new X509Certificate(block).subject);
  const subject = ({ cert }: BroughtCa) => new X509Certificate(cert).subject;
  expect(names(authority.chainPem)).toEqual([subject(issuer), subject(middle)]);
  expect(names(authority.rootPem)).toEqual([subject(root)]);
  expect(authority.notAfter).toBe(new X509Certificate(issuer.cert).validToDate.getTime());
  expect(authority.notBefore).toBe(new X509Certificate(middle.cert).validFromDate.getTime());
});

const { digitalSignature, cRLSign } = x509.KeyUsageFlags;
test.each<[string, CaOptions, RegExp]>([
  ['is not a CA', { isCa: false }, /is not a CA: issue one with basicConstraints CA:TRUE/],
  [
    'may not sign certificates',
    { usages: new x509.KeyUsagesExtension(digitalSignature | cRLSign, true) },
    /keyUsage keyCertSign/,
  ],
  ['may only sign for clients', { purposes: ['1.3.6.1.5.5.7.3.2'] }, /extendedKeyUsage/],
  ['has expired', { notBefore: fromNow(-3), notAfter: fromNow(-1) }, /expired at .*Z: rotate it/],
  ['is not yet valid', { notBefore: fromNow(1) }, /is valid only from .*Z: check this machine's clock/],
  ['has a P-521 key', { algorithm: 'P-521' }, /use P-256, P-384 or RSA 2048/],
  ['has an Ed25519 key', { algorithm: 'Ed25519' }, /use P-256, P-384 or RSA 2048/],
  ['has an RSA key of 1024 bits', { algorithm: 'RSA 1024' }, /use P-256, P-384 or RSA 2048/],
])('refuses a CA that %s, naming its file', async (_, options, message) => {
  const { cert, key } = await broughtCa(options);
  const files = written(cert, key);
  expect(() => openAuthority(files)).toThrow(message);
  expect(() => openAuthority(files)).toThrow(files.dir);
});

test('accepts a CA that may sign for servers, or for any purpose', async () => {
  for (const purpose of ['1.3.6.1.5.5.7.3.1', '2.5.29.37.0']) {
    const { cert, key } = await broughtCa({ purposes: [purpose] });
    expect(() => openAuthority(written(cert, key))).not.toThrow();
  }
});

test('refuses a CA once it has expired, by the clock that it is given', () => {
  const dir = folder();
  const { notAfter, notBefore } = openAuthority({ dir });
  expect(() => openAuthority({ dir }, notAfter)).not.toThrow();
  expect(() => openAuthority({ dir }, notAfter + 1)).toThrow(/expired/);
  expect(() => openAuthority({ dir }, notBefore - 1)).toThrow(/valid only from/);
});

test.each<[string, (own: BroughtCa, other: BroughtCa) => [string, string], RegExp]>([
  ['a key of another CA', (own, other) => [own.cert, other.key], /is not the key of .*corp\.pem/],
  ['a certificate that is none', own => ['hello', own.key], /holds no certificate in PEM/],
  [
    'a broken certificate',
    own => ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', own.key],
    /cannot be parsed/,
  ],
  ['a key that is none', own => [own.cert, 'hello'], /write PKCS #8 in PEM/],
  [
    'two CAs that are not linked',
    (own, other) => [own.cert + other.cert, own.key],
    /out of order at certificate 2/,
  ],
])('refuses %s', async (_, files, message) => {
  const [own, other] = await Promise.all([broughtCa(), broughtCa()]);
  expect(() => openAuthority(written(...files(own, other)))).toThrow(message);
});

test('an encrypted key is refused with the command that decrypts it; no part of it is shown', async () => {
  const { cert, key } = await broughtCa();
  const encrypted = createPrivateKey(key).export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'x',
  });
  const files = written(cert, encrypted);
  expect(() => openAuthority(files)).toThrow(`openssl pkey -in ${files.key}`);
  expect(() => openAuthority(files)).not.toThrow(encrypted.split('\n')[1]);
});

test('refuses a chain that does not reach a root, stands in the wrong order, or is too long for its CAs', async () => {
  const root = await broughtCa({ pathLength: 0 });
  const issuer = await broughtCa({}, root);
  const open = (...chain: BroughtCa[]) =>
    openAuthority(written(chain.map(c => c.cert).join(''), (chain[0] as BroughtCa).key));
  expect(() => open(issuer)).toThrow(/does not end with a self-signed root/);
  expect(() => open(root, issuer)).toThrow(/allows 0 CAs below it|out of order/);
  expect(() => open(issuer, root)).toThrow(/allows 0 CAs below it, 1 follow/);
  const wide = await broughtCa();
  const forged = await broughtCa({ withoutKeyId: true }, { ...wide, keys: root.keys });
  expect(() => open(forged, wide)).toThrow(/out of order/);
});

test('ca.cert and ca.key are set together', () => {
  const dir = folder();
  expect(() => openAuthority({ dir, cert: 'a.pem' })).toThrow(/ca\.key/);
  expect(() => openAuthority({ dir, key: 'a.key' })).toThrow(/ca\.cert/);
  expect(readdirSync(dir)).toEqual([]);
});

test('the admin token: 32 random bytes, kept, private', () => {
  const dir = join(folder(), 'certs');
  const token = adminToken(dir);
  expect(token).toMatch(/^[\w-]{43}$/);
  expect(mode(join(dir, 'admin-token'))).toBe(0o600);
  expect(adminToken(dir)).toBe(token);
  expect(adminToken(folder())).not.toBe(token);
});

test.each([
  ['empty', ''],
  ['short', 'x'.repeat(31)],
  ['of two lines', `${'x'.repeat(32)}\n${'y'.repeat(32)}`],
  ['not ASCII', 'ä'.repeat(40)],
])('refuses an admin token that is %s, and does not show it', (_, content) => {
  const dir = folder();
  writeFileSync(join(dir, 'admin-token'), content, { mode: 0o600 });
  expect(() => adminToken(dir)).toThrow(/admin-token is not 32 or more visible ASCII characters/);
  if (content) expect(() => adminToken(dir)).not.toThrow(content);
});

test('refuses an admin token that others can read', () => {
  const dir = folder();
  adminToken(dir);
  chmodSync(join(dir, 'admin-token'), 0o644);
  expect(() => adminToken(dir)).toThrow(/chmod 600/);
});

test('a folder that was copied whole is the same CA', () => {
  const [from, to] = [folder(), join(folder(), 'copy')];
  const { certificate } = openAuthority({ dir: from });
  mkdirSync(to);
  for (const file of readdirSync(from)) copyFileSync(join(from, file), join(to, file));
  expect(openAuthority({ dir: to }).certificate.fingerprint256).toBe(certificate.fingerprint256);
  expect(Object.keys(ALGORITHMS)).toContain('P-256');
});

test('a rotation makes another CA, removes the old key and keeps the old certificate', () => {
  const dir = join(folder(), 'certs');
  const first = openAuthority({ dir });
  const oldKey = readFileSync(join(dir, 'ca.key'), 'utf8');
  const { authority, old } = rotateAuthority(dir);
  expect(authority.certificate.fingerprint256).not.toBe(first.certificate.fingerprint256);
  expect(authority.certificate.checkPrivateKey(createPrivateKey(oldKey))).toBe(false);
  expect(readFileSync(old, 'utf8')).toBe(first.rootPem);
  expect(readdirSync(dir).filter(name => readFileSync(join(dir, name), 'utf8').includes(oldKey))).toEqual([]);
  expect(mode(join(dir, 'ca.key'))).toBe(0o600);
  expect(openAuthority({ dir }).rootPem).toBe(authority.rootPem);
});

test('a rotation that was cut short is finished by the next one, and no gate starts before', () => {
  const dir = join(folder(), 'certs');
  const first = openAuthority({ dir });
  rmSync(join(dir, 'ca.key'));
  expect(() => openAuthority({ dir })).toThrow(/the CA key .* does not exist/);
  expect(rotateAuthority(dir).authority.rootPem).not.toBe(first.rootPem);
});
