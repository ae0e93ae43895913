import { X509Certificate } from 'node:crypto';
import { type Claims, Unfit } from './claims.ts';
import { parseAltNames, parseSpiffeId } from './spiffe.ts';

/** Certificates between a client's own and the CA. */
const MAX_DEPTH = 8;
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** CA certificates, PEM. Throws an Error that follows the file's name. */
export function parseAnchors(pem: string): X509Certificate[] {
  const found = (pem.match(BLOCK) ?? []).map(block => new X509Certificate(block));
  if (found.length === 0) throw new Error('holds no certificate; write a PEM file');
  if (!found.every(({ ca }) => ca)) throw new Error('holds a certificate that is no CA; take it out');
  return found;
}

/**
 * Whether one of the CAs signed a certificate that TLS has verified already, against all CAs of all entries: then this
 * tells whose it is. `issuerCertificate` is what the client sent.
 */
export function isSignedBy(leaf: X509Certificate, anchors: readonly X509Certificate[]): boolean {
  let certificate = leaf;
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    if (anchors.some(anchor => hasSigned(anchor, certificate))) return true;
    const issuer = certificate.issuerCertificate;
    if (!issuer || !hasSigned(issuer, certificate)) return false;
    certificate = issuer;
  }
  return false;
}

function hasSigned(issuer: X509Certificate, certificate: X509Certificate): boolean {
  const now = Date.now();
  const isValid = issuer.validFromDate.getTime() <= now && now < issuer.validToDate.getTime();
  return issuer.ca && isValid && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/**
 * What a certificate says: `spiffe`, `trust_domain` and `path` (a list) if it is an X.509-SVID, `dns` (a list), `subject`
 * as `O=Acme,CN=ci`, `serial`. Throws Unfit for one whose names are not to be trusted.
 */
export function certificateClaims(certificate: X509Certificate): Claims {
  if (certificate.ca) throw new Unfit('it is the certificate of a CA');
  const names = parseAltNames(certificate.subjectAltName ?? '');
  if (!names) throw new Unfit('its names cannot be read');
  const values = (of: string): string[] => names.filter(([kind]) => kind === of).map(([, value]) => value);
  const uris = values('URI');
  // X.509-SVID, section 2: exactly one URI, or whoever reads another one takes it for somebody else.
  if (uris.length > 1) throw new Unfit('it has more than one URI');
  const id = uris[0] === undefined ? undefined : parseSpiffeId(uris[0]);
  if (uris.length === 1 && !id) throw new Unfit('its URI is not the SPIFFE ID of a workload');
  return {
    ...(id && { spiffe: uris[0], trust_domain: id.trustDomain, path: id.path }),
    dns: values('DNS').filter(name => name !== ''),
    subject: certificate.subject === undefined ? '' : certificate.subject.split('\n').join(','),
    serial: certificate.serialNumber,
  };
}

/** What of a certificate no holder can change. Its signature is left out: of one ECDSA signature anybody makes another. */
export function signedName({ issuer, serialNumber, validTo, publicKey }: X509Certificate): string {
  const key = publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
  return JSON.stringify([issuer, serialNumber, validTo, key]);
}
