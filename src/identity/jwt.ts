import { Buffer } from 'node:buffer';
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { Refusal } from '../errors.ts';
import { type Claims, Unfit } from './claims.ts';
import type { JwtEntry } from './entry.ts';

/** Bytes; what fits into a request head, with room for the rest. */
const MAX_TOKEN = 16 * 1024;
/** JWS Compact Serialization (RFC 7515, section 7.1), signed. */
const COMPACT = /^[\w-]+\.([\w-]+)\.[\w-]+$/;

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
    // Its messages quote no token; they may quote the name of a claim.
    if (error instanceof errors.JOSEError) throw new Unfit(`${error.code}: ${error.message}`);
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
