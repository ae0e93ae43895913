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
  /** A session that only others know; undefined if none can. */
  lookUp(token: string): Promise<Session | undefined> | undefined;
  /** Nobody can be trusted. */
  readonly suspended: boolean;
}

const METHODS = new Map([basic, bearer].map(method => [method.scheme, method]));

/**
 * The session that a Proxy-Authorization value speaks for; a promise only if another gate may know it. Throws, or
 * rejects with, unauthenticated, session_revoked, session_expired or state_unavailable.
 * A token is found by its hash, so that the time it takes tells nothing; what is unknown and what is wrong look alike.
 */
export function authenticate(
  header: string | undefined,
  sessions: Sessions,
  now: number,
): Session | Promise<Session> {
  const claim = header === undefined ? undefined : parse(header);
  if (!claim) throw new Refusal('unauthenticated');
  const known = sessions.byToken(hash('sha256', claim.token));
  const elsewhere = known ? undefined : sessions.lookUp(claim.token);
  if (elsewhere) return elsewhere.then(found => admitted(claim, found, sessions, now));
  return admitted(claim, known, sessions, now);
}

function admitted(claim: Claim, session: Session | undefined, { suspended }: Sessions, now: number): Session {
  if (!session || (claim.session !== undefined && claim.session !== session.session)) {
    throw new Refusal('unauthenticated');
  }
  if (session.revokedAt !== undefined) throw new Refusal('session_revoked');
  if (now >= session.expiresAt) throw new Refusal('session_expired');
  if (suspended) throw new Refusal('state_unavailable');
  return session;
}

function parse(header: string): Claim | undefined {
  const [, scheme = '', credentials = ''] = /^([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*)$/.exec(header) ?? [];
  return METHODS.get(scheme.toLowerCase())?.parse(credentials);
}
