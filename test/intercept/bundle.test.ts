import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getCACertificates, rootCertificates } from 'node:tls';
import { expect, test } from 'vitest';
import { caBundle } from '../../src/intercept/bundle.ts';
import { openAuthority } from '../../src/intercept/ca.ts';
import { broughtCa, folder } from './fixture.ts';

const fingerprints = (pem: string) =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    block => new X509Certificate(block).fingerprint256,
  );

test('a bundle holds our root, the corporate ones and the system’s', async () => {
  const authority = openAuthority({ dir: folder() });
  const [one, two] = [await broughtCa(), await broughtCa()];
  const corporate = join(folder(), 'corp.pem');
  writeFileSync(corporate, `${one.cert.trim()}\n${two.cert.trim()}`);
  const found = new Set(fingerprints(caBundle(authority, corporate)));
  const system = getCACertificates('system');
  const expected = [
    authority.rootPem,
    one.cert,
    two.cert,
    ...(system.length > 0 ? system : rootCertificates),
  ];
  expect(expected.flatMap(fingerprints).filter(print => !found.has(print))).toEqual([]);
  expect(expected.flatMap(fingerprints)).not.toHaveLength(3);
});

test('a bundle without a corporate file holds our root first', () => {
  const authority = openAuthority({ dir: folder() });
  expect(caBundle(authority).startsWith(authority.rootPem.trim())).toBe(true);
});

test('a bundle holds no key', () => {
  expect(caBundle(openAuthority({ dir: folder() }))).not.toContain('PRIVATE KEY');
});

test('a corporate file that is missing is an error that names it', () => {
  const authority = openAuthority({ dir: folder() });
  expect(() => caBundle(authority, '/nowhere/corp.pem')).toThrow(
    /upstream\.ca_file \/nowhere\/corp\.pem does not exist/,
  );
});
