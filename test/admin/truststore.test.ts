import { spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { expect, it } from 'vitest';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import { tempFolder } from '../audit/event.ts';
import { needs } from '../support/clients.ts';

const certificates = getCACertificates('bundled').slice(0, 3);

function write() {
  const dir = tempFolder();
  writeFileSync(join(dir, 'bundle.pem'), [...certificates, certificates[0]].join('\n'));
  return writeTrustFiles(join(dir, 'ca.pem'), join(dir, 'bundle.pem'));
}

it('names the bundle to wget', () => {
  const { wgetrc, bundle } = write();
  expect(readFileSync(wgetrc, 'utf8')).toBe(`ca_certificate = ${bundle}\n`);
});

it('can be read by every user, whatever the umask', () => {
  const before = process.umask(0o077);
  try {
    const { wgetrc, javaStore } = write();
    expect([wgetrc, javaStore].map(file => statSync(file).mode & 0o777)).toEqual([0o644, 0o644]);
  } finally {
    process.umask(before);
  }
});

const list = (file: string, ...options: string[]) =>
  spawnSync('keytool', ['-J-Duser.language=en', '-list', '-keystore', file, ...options], {
    encoding: 'utf8',
    input: '\n',
  });

needs('keytool')('is a store that keytool reads, with and without its password', async () => {
  const { javaStore } = write();
  for (const options of [['-storepass', 'changeit'], []]) {
    const { stdout } = list(javaStore, ...options);
    expect(stdout).toContain('contains 3 entries');
    expect(stdout.match(/trustedCertEntry/g)).toHaveLength(3);
  }
  const { stdout } = list(javaStore, '-storepass', 'wrong-password');
  expect(stdout).toContain('password was incorrect');
});
