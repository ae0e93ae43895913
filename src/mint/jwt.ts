import { Buffer } from 'node:buffer';
import { constants, createPrivateKey, type KeyObject, sign } from 'node:crypto';
import type { Secret } from '../secret.ts';
import { VaultError } from '../types.ts';

/** Clocks differ: a token that is "not yet valid" at the issuer is refused. s */
export const BACKDATED_S = 60;

/** A compact JWS (RFC 7515, section 7.1): RS256, or PS256 if the header says so, for an RSA key; ES256 for one on P-256 (RFC 7518, section 3.1). */
export function signJwt(
  pem: Secret,
  claims: Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, unknown>> = {},
): string {
  const key = privateKey(pem);
  const isRsa = key.asymmetricKeyType === 'rsa';
  const isPss = isRsa && header['alg'] === 'PS256';
  const alg = isPss ? 'PS256' : isRsa ? 'RS256' : 'ES256';
  const signed = `${encode({ ...header, alg, typ: 'JWT' })}.${encode(claims)}`;
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const signature = sign('sha256', Buffer.from(signed), {
    key,
    dsaEncoding: 'ieee-p1363',
    ...(isPss && pss),
  });
  return `${signed}.${signature.toString('base64url')}`;
}

/** What an issuer says in a JWT; empty if it is none. Its signature is not looked at: it came from the issuer itself. */
export function claimsOf(token: string): Readonly<Record<string, unknown>> {
  const [, claims] = /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token) ? token.split('.') : [];
  if (claims === undefined) return {};
  try {
    const value: unknown = JSON.parse(Buffer.from(claims, 'base64url').toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
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
