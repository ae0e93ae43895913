import { generateKeyPairSync } from 'node:crypto';
import { isIP } from 'node:net';
import { parseIp } from '../policy/ip.ts';
import type { CanonicalHost } from '../types.ts';
import type { Authority } from './ca.ts';
import * as x509 from './certificate.ts';
import * as der from './der.ts';

/** A server certificate. Times: ms since the epoch. */
export interface Leaf {
  readonly certificate: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
}

const BACKDATED = 3600_000;
/** Not a host name: where the other names are all IP addresses, clients may compare it with one. */
const COMMON_NAME = 'intercepted by Stubgate';
const LIFETIME = 7 * 24 * 3600_000;

/** Mints leaf certificates, all for one key: what does not depend on the host is encoded once. */
export class LeafMint {
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  readonly #authority: Authority;
  readonly #algorithm: x509.SignatureAlgorithm;
  readonly #issuer: Buffer;
  readonly #subject: Buffer;
  readonly #extensions: Buffer;

  constructor(authority: Authority) {
    const algorithm = x509.signatureAlgorithm(authority.key);
    if (!algorithm) throw new TypeError('the CA key cannot sign');
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const issuer = x509.factsOf(authority.certificate);
    this.keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    this.#authority = authority;
    this.#algorithm = algorithm;
    const spki = x509.publicKeyInfo(publicKey);
    this.#issuer = issuer.subject;
    this.#subject = Buffer.concat([x509.name({ commonName: COMMON_NAME }), spki]);
    this.#extensions = Buffer.concat([
      x509.subjectKeyId(x509.keyIdentifier(spki)),
      x509.authorityKeyId(issuer.keyId),
      x509.keyUsage('digitalSignature'),
      x509.extendedKeyUsage(x509.SERVER_AUTH),
      x509.notAnAuthority,
    ]);
  }

  /** Once the CA has expired so has the leaf: clients refuse it and say why. */
  mint(host: CanonicalHost, now = Date.now()): Leaf {
    const notAfter = Math.min(now + LIFETIME, this.#authority.notAfter);
    const notBefore = Math.max(Math.min(now, notAfter) - BACKDATED, this.#authority.notBefore);
    const tbs = der.sequence(
      x509.V3,
      x509.serial(),
      this.#algorithm.identifier,
      this.#issuer,
      x509.validity(notBefore, notAfter),
      this.#subject,
      x509.extensions(this.#extensions, x509.subjectAltName(generalName(host))),
    );
    return { certificate: x509.signed(tbs, this.#authority.key, this.#algorithm), notBefore, notAfter };
  }
}

/** RFC 5280, section 4.2.1.6: dNSName is [2], iPAddress is [7] in network byte order. */
function generalName(host: CanonicalHost): Buffer {
  const ip = isIP(host) === 0 ? undefined : parseIp(host);
  if (!ip) return der.implicit(2, Buffer.from(host, 'latin1'));
  return der.implicit(7, Buffer.from(ip.value.toString(16).padStart(ip.bits / 4, '0'), 'hex'));
}
