import { Buffer } from 'node:buffer';
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import type { Secret } from '../secret.ts';
import { VaultError } from '../types.ts';

/** Clocks differ: a token that is "not yet valid" at the issuer is refused. s */
export const BACKDATED_S = 60;

/** A compact JWS (RFC 7515, section 7.1): RS256 for an RSA key, ES256 for one on P-256 (RFC 7518, section 3.1). */
export function signJwt(
  pem: Secret,
  claims: Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, unknown>> = {},
): string {
  const key = privateKey(pem);
  const alg = key.asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256';
  const signed = `${encode({ alg, typ: 'JWT', ...header })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

function encode(part: Readonly<Record<string, unknown>>): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}

/** Variables often hold a PEM file in one line, with `\n` for its line ends. */
function privateKey(pem: Secret): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem.reveal().replaceAll(String.raw`\n`, '\n'));
  } catch {
    // OpenSSL's own words may quote the text.
    throw new VaultError('missing', `${pem.name} holds no private key in PEM without a passphrase`);
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const isUsable =
    type === 'rsa'
      ? (details?.modulusLength ?? 0) >= 2048
      : type === 'ec' && details?.namedCurve === 'prime256v1';
  if (isUsable) return key;
  throw new VaultError(
    'missing',
    `${pem.name} holds another kind of key; store RSA (2048 bits or more) or P-256`,
  );
}
