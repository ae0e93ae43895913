import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TrustFiles } from './environment.ts';
import { javaTrustStore } from './truststore.ts';

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Writes, beside the bundle, what clients need that cannot read it as it is. */
export function writeTrustFiles(ca: string, bundle: string): TrustFiles {
  const dir = dirname(bundle);
  const files = {
    ca,
    bundle,
    javaStore: join(dir, 'sandbox-bundle.jks'),
    wgetrc: join(dir, 'sandbox-wgetrc'),
  };
  const certificates = readFileSync(bundle, 'utf8').match(PEM) ?? [];
  publish(files.javaStore, javaTrustStore([...new Set(certificates)], Date.now()));
  publish(files.wgetrc, `ca_certificate = ${bundle}\n`);
  return files;
}

/** A whole file or none, readable by every user: a sandbox runs under another one. */
function publish(file: string, content: string | Buffer): void {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, content);
  // Not the mode of writeFileSync, which the umask narrows.
  chmodSync(draft, 0o644);
  renameSync(draft, file);
}
