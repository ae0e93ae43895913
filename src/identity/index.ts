import { hash } from 'node:crypto';
import { Refusal } from '../errors.ts';
import type { Session } from '../types.ts';
import { basic } from './basic.ts';
import { bearer } from './bearer.ts';
import type { Claim } from './claim.ts';

/** Where sessions are looked up. */
export interface Sessions {
  /** `tokenHash`: lower-case hex SHA-256. */
  byToken(tokenHash: string): Session | undefined;
}

const METHODS = new Map([basic, bearer].map(method => [method.scheme, method]));

/**
 * The session that a Proxy-Authorization value speaks for. Throws unauthenticated, session_revoked or session_expired.
 * A token is found by its hash, so that the time it takes tells nothing; what is unknown and what is wrong look alike.
 */
export function authenticate(header: string | undefined, sessions: Sessions, now: number): Session {
  const claim = header === undefined ? undefined : parse(header);
  const session = claim && sessions.byToken(hash('sha256', claim.token));
  if (!session || (claim.session !== undefined && claim.session !== session.session)) {
    throw new Refusal('unauthenticated');
  }
  if (session.revokedAt !== undefined) throw new Refusal('session_revoked');
  if (now >= session.expiresAt) throw new Refusal('session_expired');
  return session;
}

function parse(header: string): Claim | undefined {
  const [, scheme = '', credentials = ''] = /^([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*)$/.exec(header) ?? [];
  return METHODS.get(scheme.toLowerCase())?.parse(credentials);
}
