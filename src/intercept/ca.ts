import {
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from './certificate.ts';
import * as der from './der.ts';
import { createOnce, readPrivate, readPublic } from './private-file.ts';

/** Who signs the leaf certificates, and whom sandboxes trust. Times: ms since the epoch. */
export interface Authority {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  /** What a client must trust: the root, PEM. */
  readonly rootPem: string;
  /** What is served behind a leaf: issuer and intermediates without the root, PEM; may be empty. */
  readonly chainPem: string;
  /** While every certificate of the chain is valid. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface AuthorityOptions {
  /** Where the gate keeps its own CA and its admin token. */
  readonly dir: string;
  /** A CA of the operator's, PEM: the issuer first, then each one's issuer up to the root. */
  readonly cert?: string;
  /** The issuer's private key, PEM. */
  readonly key?: string;
}

const YEARS = 365.25 * 24 * 3600_000;
const LIFETIME = 10 * YEARS;
/** A sandbox's clock may be behind by this much. */
const BACKDATED = 3600_000;

/** Opens the operator's CA, or the gate's own, made on first use. Throws an Error that tells the operator what to do. */
export function openAuthority({ dir, cert, key }: AuthorityOptions, now = Date.now()): Authority {
  if (cert !== undefined && key !== undefined) return readAuthority(cert, key, now);
  if (cert !== undefined)
    throw new Error('ca.cert is set without ca.key: write the path of its private key too');
  if (key !== undefined)
    throw new Error('ca.key is set without ca.cert: write the path of its certificate too');
  const own = { cert: join(dir, 'ca.pem'), key: join(dir, 'ca.key') };
  createAuthority(dir, own, now);
  return readAuthority(own.cert, own.key, now);
}

/**
 * Puts a new CA in the place of the gate's own, and removes the old key. The old certificate stays beside it, named by the
 * start of its SHA-256. Cut short, it is finished by another call; until then no gate starts.
 */
export function rotateAuthority(dir: string): { authority: Authority; old: string } {
  const own = { cert: join(dir, 'ca.pem'), key: join(dir, 'ca.key') };
  const [certificate] = readChain(own.cert);
  if (!certificate) throw new Error(`the CA certificate ${own.cert} holds no certificate in PEM`);
  const print = certificate.fingerprint256.replaceAll(':', '').slice(0, 16).toLowerCase();
  const old = join(dir, `ca-${print}.pem`);
  // First the key: without its certificate it would be given another one.
  rmSync(own.key, { force: true });
  renameSync(own.cert, old);
  return { authority: openAuthority({ dir }), old };
}

/** The admin API's bearer token, made on first use. */
export function adminToken(dir: string): string {
  const file = join(dir, 'admin-token');
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  if (!existsSync(file)) createOnce(file, `${randomBytes(32).toString('base64url')}\n`, 0o600);
  const token = readPrivate(file, 'the admin token').trim();
  if (!/^[\x21-\x7e]{32,}$/.test(token))
    throw new Error(
      `the admin token ${file} is not 32 or more visible ASCII characters: remove it to get a new one`,
    );
  return token;
}

/**
 * Safe when several processes start at once, and after a crash between the two files: the key that is there decides,
 * and the first certificate for it stays.
 */
function createAuthority(dir: string, file: { cert: string; key: string }, now: number): void {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  if (existsSync(file.cert)) return;
  if (!existsSync(file.key)) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    createOnce(file.key, privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600);
  }
  const key = readKey(file.key);
  const algorithm = requireAlgorithm(key, file.key);
  createOnce(file.cert, x509.pem(selfSigned(key, algorithm, now)), 0o644);
}

function selfSigned(key: KeyObject, algorithm: x509.SignatureAlgorithm, now: number): Buffer {
  const spki = x509.publicKeyInfo(key);
  const id = x509.keyIdentifier(spki);
  const subject = x509.name({
    organization: 'Stubgate',
    commonName: `Stubgate CA ${id.toString('hex', 0, 4)}`,
  });
  const extensions = x509.extensions(
    x509.subjectKeyId(id),
    x509.authorityKeyId(id),
    x509.keyUsage('keyCertSign', 'cRLSign'),
    x509.authorityOfLeavesOnly,
  );
  const validity = x509.validity(now - BACKDATED, now + LIFETIME);
  const head = [x509.V3, x509.serial(), algorithm.identifier, subject, validity, subject, spki];
  return x509.signed(der.sequence(...head, extensions), key, algorithm);
}

function readAuthority(certFile: string, keyFile: string, now: number): Authority {
  const chain = readChain(certFile);
  const [issuer] = chain;
  const root = chain.at(-1);
  if (!issuer || !root) throw new Error(`the CA certificate ${certFile} holds no certificate in PEM`);
  chain.forEach((certificate, below) => requireAuthority(certificate, below, certFile));
  requireLinked(chain, certFile);
  const notBefore = Math.max(...chain.map(c => c.validFromDate.getTime()));
  const notAfter = Math.min(...chain.map(c => c.validToDate.getTime()));
  requireCurrent(notBefore, notAfter, now, certFile);
  const key = readKey(keyFile);
  requireAlgorithm(key, keyFile);
  if (!issuer.checkPrivateKey(key))
    throw new Error(
      `the CA key ${keyFile} is not the key of ${certFile}: give the pair that belongs together`,
    );
  const served = chain.slice(0, -1).map(c => c.toString());
  return {
    certificate: issuer,
    key,
    rootPem: root.toString(),
    chainPem: served.join(''),
    notBefore,
    notAfter,
  };
}

function readChain(file: string): X509Certificate[] {
  const text = readPublic(file, 'the CA certificate');
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.map(block => new X509Certificate(block));
  } catch (cause) {
    throw new Error(`the CA certificate ${file} cannot be parsed: write X.509 in PEM`, { cause });
  }
}

function readKey(file: string): KeyObject {
  const text = readPrivate(file, 'the CA key');
  try {
    return createPrivateKey(text);
  } catch (cause) {
    const encrypted = /ENCRYPTED/.test(text);
    const mend = encrypted ? `decrypt it with openssl pkey -in ${file}` : 'write PKCS #8 in PEM';
    throw new Error(`the CA key ${file} cannot be used: ${mend}`, { cause });
  }
}

function requireAlgorithm(key: KeyObject, file: string): x509.SignatureAlgorithm {
  const algorithm = x509.signatureAlgorithm(key);
  if (!algorithm)
    throw new Error(
      `the CA key ${file} is of a kind that not every client accepts: use P-256, P-384 or RSA 2048`,
    );
  return algorithm;
}

const ANY_PURPOSE = '2.5.29.37.0';

/** `below`: CAs of the chain that stand below this one. */
function requireAuthority(certificate: X509Certificate, below: number, file: string): void {
  const subject = certificate.subject.replaceAll('\n', ', ');
  const fault = (what: string) => new Error(`the CA certificate ${file} (${subject}) ${what}`);
  const { isAuthority, keyUsage, pathLength } = x509.factsOf(certificate);
  if (!isAuthority) throw fault('is not a CA: issue one with basicConstraints CA:TRUE');
  if (keyUsage !== undefined && (keyUsage & x509.KEY_USAGE.keyCertSign) === 0)
    throw fault('may not sign certificates: issue one with keyUsage keyCertSign');
  if (pathLength < below)
    throw fault(`allows ${pathLength} CAs below it, ${below} follow: issue it with a larger pathlen`);
  // node:crypto calls the extended key usage `keyUsage`.
  const purposes = certificate.keyUsage as readonly string[] | undefined;
  if (purposes && !purposes.includes(x509.SERVER_AUTH) && !purposes.includes(ANY_PURPOSE))
    throw fault('may not sign for servers: issue one without extendedKeyUsage, or with serverAuth');
}

function requireLinked(chain: readonly X509Certificate[], file: string): void {
  chain.forEach((certificate, i) => {
    const issuer = chain[i + 1] ?? certificate;
    if (certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)) return;
    const mend =
      issuer === certificate
        ? 'does not end with a self-signed root: append the issuer of its last certificate'
        : `is out of order at certificate ${i + 2}: write the issuing CA first, then each one's issuer`;
    throw new Error(`the CA certificate ${file} ${mend}`);
  });
}

function requireCurrent(notBefore: number, notAfter: number, now: number, file: string): void {
  const day = (ms: number) => new Date(ms).toISOString();
  if (now > notAfter)
    throw new Error(
      `the CA certificate ${file} expired at ${day(notAfter)}: rotate it (docs/certificates.md)`,
    );
  if (now < notBefore)
    throw new Error(
      `the CA certificate ${file} is valid only from ${day(notBefore)}: check this machine's clock`,
    );
}
