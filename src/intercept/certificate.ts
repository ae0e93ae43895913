import {
  createHash,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign,
  type X509Certificate,
} from 'node:crypto';
import * as der from './der.ts';

/** Field and extension encodings of X.509 certificates (RFC 5280), assembled as DER. */

export const V3 = der.context(0, der.integer(Buffer.from([2])));
const NULL = Buffer.from([0x05, 0x00]);

export interface SignatureAlgorithm {
  readonly hash: string;
  readonly identifier: Buffer;
}

const ecdsa = (hash: string, id: string): SignatureAlgorithm => ({
  hash,
  identifier: der.sequence(der.oid(id)),
});

// RFC 5758, section 3.2; RFC 4055, section 5.
const ECDSA: Readonly<Record<string, SignatureAlgorithm>> = {
  prime256v1: ecdsa('sha256', '1.2.840.10045.4.3.2'),
  secp384r1: ecdsa('sha384', '1.2.840.10045.4.3.3'),
};
const RSA: SignatureAlgorithm = {
  hash: 'sha256',
  identifier: der.sequence(der.oid('1.2.840.113549.1.1.11'), NULL),
};
const MIN_RSA_BITS = 2048;

/** How `key` signs certificates; undefined for a kind of key that not every TLS client accepts. */
export function signatureAlgorithm(key: KeyObject): SignatureAlgorithm | undefined {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec') return ECDSA[namedCurve ?? ''];
  const isRsa = key.asymmetricKeyType === 'rsa' && (modulusLength ?? 0) >= MIN_RSA_BITS;
  return isRsa ? RSA : undefined;
}

/** The whole certificate, DER; `tbs`: TBSCertificate (RFC 5280, section 4.1.2). */
export function signed(tbs: Buffer, key: KeyObject, algorithm: SignatureAlgorithm): Buffer {
  return der.sequence(tbs, algorithm.identifier, der.bitString(sign(algorithm.hash, tbs, key)));
}

/** 126 random bits: positive, and never with a superfluous leading byte (RFC 5280, section 4.1.2.2). */
export function serial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return der.integer(bytes);
}

export function validity(notBefore: number, notAfter: number): Buffer {
  return der.sequence(der.time(notBefore), der.time(notAfter));
}

const ATTRIBUTE = { commonName: '2.5.4.3', organization: '2.5.4.10' } as const;

export function name(attributes: Partial<Record<keyof typeof ATTRIBUTE, string>>): Buffer {
  const parts = Object.entries(attributes).map(([type, value]) =>
    der.set(der.sequence(der.oid(ATTRIBUTE[type as keyof typeof ATTRIBUTE]), der.utf8String(value))),
  );
  return der.sequence(...parts);
}

/** SubjectPublicKeyInfo, DER. */
export function publicKeyInfo(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return publicKey.export({ type: 'spki', format: 'der' });
}

/** Of a SubjectPublicKeyInfo: the leftmost 160 bits of the key's SHA-256 (RFC 7093, section 2). */
export function keyIdentifier(spki: Buffer): Buffer {
  const bits = fields(spki)[1]?.content.subarray(1) ?? Buffer.alloc(0);
  return createHash('sha256').update(bits).digest().subarray(0, 20);
}

export const KEY_USAGE = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const;
export const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';

const OID = {
  subjectKeyIdentifier: der.oid('2.5.29.14'),
  keyUsage: der.oid('2.5.29.15'),
  subjectAltName: der.oid('2.5.29.17'),
  basicConstraints: der.oid('2.5.29.19'),
  authorityKeyIdentifier: der.oid('2.5.29.35'),
  extendedKeyUsage: der.oid('2.5.29.37'),
} as const;

function extension(id: keyof typeof OID, value: Buffer, critical = false): Buffer {
  return der.sequence(OID[id], ...(critical ? [der.TRUE] : []), der.octetString(value));
}

export const extensions = (...list: readonly Buffer[]): Buffer => der.context(3, der.sequence(...list));

export const subjectKeyId = (id: Buffer): Buffer => extension('subjectKeyIdentifier', der.octetString(id));
export const authorityKeyId = (id: Buffer): Buffer =>
  extension('authorityKeyIdentifier', der.sequence(der.implicit(0, id)));
export const extendedKeyUsage = (purpose: string): Buffer =>
  extension('extendedKeyUsage', der.sequence(der.oid(purpose)));
export const subjectAltName = (generalName: Buffer): Buffer =>
  extension('subjectAltName', der.sequence(generalName));
export const notAnAuthority = extension('basicConstraints', der.sequence(), true);
export const authorityOfLeavesOnly = extension(
  'basicConstraints',
  der.sequence(der.TRUE, der.integer(Buffer.from([0]))),
  true,
);

export function keyUsage(...uses: readonly (keyof typeof KEY_USAGE)[]): Buffer {
  const bits = uses.reduce((sum, use) => sum | KEY_USAGE[use], 0);
  // A named bit list ends with its last one (X.690, section 11.2.2).
  const unused = Math.clz32(bits & -bits) ^ 31;
  return extension('keyUsage', der.bitString(Buffer.from([bits]), unused), true);
}

/** What `node:crypto` does not tell about a certificate. */
export interface CertificateFacts {
  /** Name, DER. */
  readonly subject: Buffer;
  readonly keyId: Buffer;
  /** Basic constraints CA:TRUE. */
  readonly isAuthority: boolean;
  /** First byte of the key usage bits; undefined if the certificate does not limit its key's use. */
  readonly keyUsage: number | undefined;
  /** CAs that may stand below this one, before the leaf. */
  readonly pathLength: number;
}

export function factsOf(certificate: X509Certificate): CertificateFacts {
  const tbs = fields(fields(certificate.raw)[0]?.raw ?? certificate.raw).filter(field => field.tag !== 0xa0);
  const [, , , , subject, spki] = tbs;
  if (!subject || !spki) throw new RangeError('not a certificate');
  const list = tbs.find(field => field.tag === 0xa3)?.content;
  const found = list ? fields(list).map(({ raw }) => fields(raw)) : [];
  const valueOf = (id: keyof typeof OID) =>
    found.find(([type]) => type?.raw.equals(OID[id]))?.at(-1)?.content;
  const keyId = valueOf('subjectKeyIdentifier');
  const constraints = valueOf('basicConstraints');
  const [isAuthority, limit] = constraints ? fields(constraints) : [];
  return {
    // FALSE is the default, and DER leaves a default out.
    isAuthority: isAuthority?.raw.equals(der.TRUE) ?? false,
    subject: subject.raw,
    keyId: keyId ? (der.elements(keyId)[0]?.content ?? keyId) : keyIdentifier(spki.raw),
    keyUsage: bitsOf(valueOf('keyUsage')),
    pathLength: limit
      ? limit.content.readUIntBE(0, Math.min(limit.content.length, 6))
      : Number.POSITIVE_INFINITY,
  };
}

function bitsOf(value: Buffer | undefined): number | undefined {
  return value && (der.elements(value)[0]?.content[1] ?? 0);
}

/** The elements inside the one element that `raw` holds. */
function fields(raw: Buffer): der.Element[] {
  return der.elements(der.elements(raw)[0]?.content ?? Buffer.alloc(0));
}

export function pem(certificate: Buffer): string {
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
