import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SecureContext, TLSSocket } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { onTestFinished } from 'vitest';
import { type Authority, openAuthority } from '../../src/intercept/ca.ts';
import { interceptTls } from '../../src/intercept/tunnel.ts';
import type { CanonicalHost } from '../../src/types.ts';

x509.cryptoProvider.set(webcrypto);

const DAY = 86_400_000;
export const fromNow = (days: number) => new Date(Date.now() + days * DAY);
export const host = (text: string) => text as CanonicalHost;

/** A folder that goes with the test. */
export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-intercept-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export const ALGORITHMS = {
  'P-256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'P-384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'P-521': { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
  'RSA 2048': rsa(2048),
  'RSA 1024': rsa(1024),
  Ed25519: { name: 'Ed25519' },
} as const;

function rsa(modulusLength: number) {
  return {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength,
    publicExponent: new Uint8Array([1, 0, 1]),
  };
}

export interface CaOptions {
  algorithm?: keyof typeof ALGORITHMS;
  isCa?: boolean;
  pathLength?: number;
  usages?: x509.KeyUsagesExtension;
  purposes?: string[];
  notBefore?: Date;
  notAfter?: Date;
  withoutKeyId?: boolean;
}

/** A CA that the operator brings, made by another library than the one under test. */
export interface BroughtCa {
  readonly cert: string;
  readonly key: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly certificate: x509.X509Certificate;
}

const SIGNS = new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true);
let count = 0;

export async function broughtCa(options: CaOptions = {}, issuer?: BroughtCa): Promise<BroughtCa> {
  const algorithm = ALGORITHMS[options.algorithm ?? 'P-256'];
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const name = `C=DE, O=Corp ÄÖ, CN=Corp CA ${++count}`;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `0${count}`.slice(-2),
    subject: name,
    issuer: issuer?.certificate.subject ?? name,
    notBefore: options.notBefore ?? fromNow(-1),
    notAfter: options.notAfter ?? fromNow(30),
    signingAlgorithm: issuer ? (issuer.keys.privateKey.algorithm as never) : algorithm,
    publicKey: keys.publicKey,
    signingKey: issuer?.keys.privateKey ?? keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(options.isCa ?? true, options.pathLength, true),
      options.usages ?? SIGNS,
      ...(options.purposes ? [new x509.ExtendedKeyUsageExtension(options.purposes)] : []),
      ...(options.withoutKeyId ? [] : [await x509.SubjectKeyIdentifierExtension.create(keys.publicKey)]),
      ...(issuer && !options.withoutKeyId
        ? [await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey)]
        : []),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  const key = x509.PemConverter.encode(pkcs8, 'PRIVATE KEY');
  return { cert: `${certificate.toString('pem')}\n`, key, keys, certificate };
}

export interface Brought {
  readonly dir: string;
  readonly cert: string;
  readonly key: string;
}

/** The paths of a pair of files, as the configuration names them. */
export function written(cert: string, key: string): Brought {
  const dir = folder();
  const files = { dir, cert: join(dir, 'corp.pem'), key: join(dir, 'corp.key') };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key, { mode: 0o600 });
  return files;
}

export async function brought(options: CaOptions = {}): Promise<Authority> {
  const { cert, key } = await broughtCa(options);
  return openAuthority(written(cert, key));
}

export interface Intercepting {
  readonly port: number;
  /** Secured connections, in order. */
  readonly secured: TLSSocket[];
  /** Why the others failed. */
  readonly failures: Error[];
  readonly sockets: Socket[];
}

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nhi\n';

/** A server that ends TLS with `context()`, and answers whatever it reads with a page. */
export async function intercepting(context: () => SecureContext, handshakeMs = 5000): Promise<Intercepting> {
  const secured: TLSSocket[] = [];
  const failures: Error[] = [];
  const sockets: Socket[] = [];
  const server = createServer(socket => {
    sockets.push(socket);
    socket.on('error', () => {});
    interceptTls(socket, context(), { handshakeMs }).then(
      tls => {
        secured.push(tls);
        tls.once('data', () => tls.end(ANSWER));
      },
      (error: Error) => failures.push(error),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, secured, failures, sockets };
}
