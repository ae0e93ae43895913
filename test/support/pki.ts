import 'reflect-metadata';
import { webcrypto, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { tempFolder } from './temp.ts';

x509.cryptoProvider.set(webcrypto);

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY = 86_400_000;

/** PEM texts, as `tls.createServer` takes them. */
export interface ServerIdentity {
  readonly key: string;
  readonly cert: string;
}

export interface IssueOptions {
  notBefore?: Date;
  notAfter?: Date;
  /** It serves a client, too. */
  client?: boolean;
  /** URIs among its names, such as a SPIFFE ID. */
  uris?: readonly string[];
  /** Such as `CN=a, O=b`; by default the first host. */
  subject?: string;
}

/** A certificate authority of the test's own, independent of `src/intercept`. */
export interface TestCa {
  /** PEM of the root. */
  readonly cert: string;
  /** Path of a file that holds `cert`. */
  readonly file: string;
  /** A server certificate for DNS names and IP addresses. */
  issue(hosts: readonly string[], options?: IssueOptions): Promise<ServerIdentity>;
  /** A CA that this one signed; what it issues has its certificate behind it. */
  below(name: string): Promise<TestCa>;
}

/** Who signs a CA that is no root. */
interface Parent {
  readonly certificate: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return x509.PemConverter.encode(der, 'PRIVATE KEY');
}

const serial = (): string => Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString('hex');

/** None is a certificate of the old kind, which has a CN only. */
function names(hosts: readonly string[], uris: readonly string[]): x509.SubjectAlternativeNameExtension[] {
  const all: x509.JsonGeneralNames = [
    ...hosts.map(host => ({ type: isIP(host) ? ('ip' as const) : ('dns' as const), value: host })),
    ...uris.map(value => ({ type: 'url' as const, value })),
  ];
  return all.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(all)];
}

export function createCa(name = 'Stubgate test CA'): Promise<TestCa> {
  return makeCa(name);
}

async function makeCa(name: string, parent?: Parent): Promise<TestCa> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const root = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${name}`,
    issuer: parent ? parent.certificate.subject : `CN=${name}`,
    notBefore: new Date(Date.now() - DAY),
    notAfter: new Date(Date.now() + 30 * DAY),
    signingAlgorithm: P256,
    publicKey: keys.publicKey,
    signingKey: parent ? parent.privateKey : keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const cert = root.toString('pem');
  const file = join(tempFolder('ca'), 'ca.pem');
  writeFileSync(file, `${cert}\n`);

  async function issue(hosts: readonly string[], options: IssueOptions = {}): Promise<ServerIdentity> {
    const leaf = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
    const made = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: options.subject ?? `CN=${hosts[0]}`,
      issuer: root.subject,
      notBefore: options.notBefore ?? new Date(Date.now() - DAY),
      notAfter: options.notAfter ?? new Date(Date.now() + DAY),
      signingAlgorithm: P256,
      publicKey: leaf.publicKey,
      signingKey: keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          ...(options.client ? [x509.ExtendedKeyUsage.clientAuth] : []),
        ]),
        ...names(hosts, options.uris ?? []),
        await x509.SubjectKeyIdentifierExtension.create(leaf.publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const chain = parent ? `\n${cert}` : '';
    return { key: await keyPem(leaf.privateKey), cert: `${made.toString('pem')}${chain}` };
  }
  const below = (of: string): Promise<TestCa> =>
    makeCa(of, { certificate: root, privateKey: keys.privateKey });
  return { cert, file, issue, below };
}

let shared: Promise<TestCa> | undefined;

/** One CA per test process: every stand-in is signed by it, and every test gate trusts it. */
export function testCa(): Promise<TestCa> {
  shared ??= createCa();
  return shared;
}

/** Subject of the certificate that signed a peer's certificate. */
export function issuerOf(der: Buffer): string {
  return new X509Certificate(der).issuer;
}
