import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30'];

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function files(dir: string, name: string): KeyPair {
  return { cert: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
}

/** A P-256 root. */
export function createCa(dir: string, name: string): KeyPair {
  const pair = files(dir, name);
  openssl(['req', '-x509', ...P256, '-keyout', pair.key, '-out', pair.cert, '-subj', `/CN=Stubgate bench ${name}`,
    '-addext', 'keyUsage=critical,keyCertSign,cRLSign']); // biome-ignore format: one command
  return pair;
}

/** A P-256 server certificate for one name, which may be a wildcard, and for 127.0.0.1. */
export function issue(dir: string, name: string, ca: KeyPair, host: string): KeyPair {
  const pair = files(dir, name);
  openssl(['req', '-x509', ...P256, '-keyout', pair.key, '-out', pair.cert, '-subj', `/CN=${host}`, '-CA', ca.cert,
    '-CAkey', ca.key, '-addext', `subjectAltName=DNS:${host},IP:127.0.0.1`, '-addext', 'basicConstraints=critical,CA:FALSE',
    '-addext', 'extendedKeyUsage=serverAuth']); // biome-ignore format: one command
  return pair;
}
