import { Buffer } from 'node:buffer';
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { Refusal } from '../errors.ts';
import { type Claims, Unfit } from './claims.ts';
import type { JwtEntry } from './entry.ts';

/** Bytes; what fits into a request head, with room for the rest. */
const MAX_TOKEN = 16 * 1024;
/** JWS Compact Serialization (RFC 7515, section 7.1), signed. */
const COMPACT = /^[\w-]+\.([\w-]+)\.[\w-]+$/;

const CHECKED: ReadonlySet<string> = new Set(['iss', 'aud', 'exp', 'nbf', 'iat']);
const FAULTS: Readonly<Record<string, string>> = {
  ERR_JOSE_ALG_NOT_ALLOWED: 'its alg is not allowed',
  ERR_JOSE_NOT_SUPPORTED: 'it needs what is not supported',
  ERR_JWKS_NO_MATCHING_KEY: 'the issuer has no such key',
  ERR_JWKS_MULTIPLE_MATCHING_KEYS: 'the issuer has several such keys',
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'its signature is wrong',
};

export function looksLikeJwt(token: string): boolean {
  return token.length <= MAX_TOKEN && COMPACT.test(token);
}

/** What was signed. The signature is left out: of one ECDSA signature anybody makes another that is as good. */
export function signedPart(token: string): string {
  return token.slice(0, token.lastIndexOf('.'));
}

/** Whose token it says that it is: nothing has been proved yet. */
export function claimedIssuer(token: string): string | undefined {
  try {
    const payload = Buffer.from(COMPACT.exec(token)?.[1] ?? '', 'base64url').toString('utf8');
    const { iss } = (JSON.parse(payload) ?? {}) as { iss?: unknown };
    return typeof iss === 'string' ? iss : undefined;
  } catch {
    return undefined;
  }
}

export interface Verified {
  readonly claims: Claims;
  /** ms since the epoch. */
  readonly issuedAt: number;
  readonly endsAt: number;
}

/**
 * A token's claims, proved (RFC 7519, RFC 8725). Throws Unfit that says why not, Refusal `session_expired` for one that
 * was good, and Refusal `state_unavailable` if there are no keys to tell.
 */
export async function verifyJwt(entry: JwtEntry, find: JWTVerifyGetKey, token: string): Promise<Verified> {
  const { errors, jwtVerify } = await import('jose');
  const options = {
    algorithms: [...entry.algorithms],
    issuer: entry.issuer,
    audience: [...entry.audience],
    clockTolerance: entry.clockSkewMs / 1000,
    requiredClaims: ['exp', 'iat'],
  };
  try {
    const { payload } = await jwtVerify(token, find, options);
    return { claims: payload, ...times(payload, entry) };
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw expired();
    // In words of our own: its messages may quote the token's header.
    if (error instanceof errors.JWTClaimValidationFailed && CHECKED.has(error.claim))
      throw new Unfit(`its ${error.claim} is missing, or not what it must be`);
    if (error instanceof errors.JOSEError) throw new Unfit(FAULTS[error.code] ?? 'it is no valid JWT');
    throw error;
  }
}

function times({ iat, exp }: JWTPayload, { clockSkewMs }: JwtEntry): Pick<Verified, 'issuedAt' | 'endsAt'> {
  if (typeof iat !== 'number' || typeof exp !== 'number') throw new Unfit('its times are not numbers');
  const issuedAt = Math.floor(iat * 1000);
  if (issuedAt > Date.now() + clockSkewMs) throw new Unfit('it was issued in the future');
  return { issuedAt, endsAt: Math.floor(exp * 1000) };
}

export function expired(): Refusal {
  return new Refusal('session_expired', {
    message: 'The credential has expired, or is older than its profile allows',
    hint: 'Get a new one from its issuer',
  });
}
