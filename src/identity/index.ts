import { hash } from 'node:crypto';
import { Refusal } from '../errors.ts';
import type { Session } from '../types.ts';
import { basic } from './basic.ts';
import { bearer } from './bearer.ts';
import type { Claim } from './claim.ts';
import { looksLikeJwt } from './jwt.ts';

/** Where sessions are looked up. */
export interface Sessions {
  /** `tokenHash`: lower-case hex SHA-256. */
  byToken(tokenHash: string): Session | undefined;
  /** A session that only others know; undefined if none can. */
  lookUp(token: string): Promise<Session | undefined> | undefined;
  /** Nobody can be trusted. */
  readonly suspended: boolean;
}

/** Who opens a session for a JWT. Throws, or rejects with, a Refusal. */
export interface JwtSessions {
  jwt(token: string): Session | Promise<Session>;
}

const METHODS = new Map([basic, bearer].map(method => [method.scheme, method]));
/** What stands as the user of a proxy URL whose password is a JWT. */
const JWT_USER = 'jwt';

/**
 * The session that a Proxy-Authorization value speaks for; a promise only if another gate may know it, or for a JWT that
 * was not seen before. Throws, or rejects with, unauthenticated, session_revoked, session_expired or state_unavailable.
 * A token is found by its hash, so that the time it takes tells nothing; what is unknown and what is wrong look alike.
 */
export function authenticate(
  header: string | undefined,
  sessions: Sessions,
  now: number,
  jwts?: JwtSessions,
): Session | Promise<Session> {
  const claim = header === undefined ? undefined : parse(header);
  if (!claim) throw new Refusal('unauthenticated');
  if (jwts && looksLikeJwt(claim.token)) return byJwt(claim, sessions, jwts);
  const known = sessions.byToken(hash('sha256', claim.token));
  const elsewhere = known ? undefined : sessions.lookUp(claim.token);
  if (elsewhere) return elsewhere.then(found => admitted(claim, found, sessions, now));
  return admitted(claim, known, sessions, now);
}

function byJwt({ token, session }: Claim, sessions: Sessions, jwts: JwtSessions): Session | Promise<Session> {
  if (session !== undefined && session !== JWT_USER) throw new Refusal('unauthenticated');
  const found = jwts.jwt(token);
  return found instanceof Promise
    ? found.then(opened => admit(opened, sessions, Date.now()))
    : admit(found, sessions, Date.now());
}

function admitted(claim: Claim, session: Session | undefined, sessions: Sessions, now: number): Session {
  if (!session || (claim.session !== undefined && claim.session !== session.session)) {
    throw new Refusal('unauthenticated');
  }
  return admit(session, sessions, now);
}

/** A refusal of somebody who proved to be one whose session is over: the audit names it. */
export class SessionEnded extends Refusal {
  /** Not to be printed with the error. */
  readonly #session: Session;

  constructor(code: 'session_revoked' | 'session_expired', session: Session) {
    super(code);
    this.#session = session;
  }

  get session(): Session {
    return this.#session;
  }
}

/** The session, if it is still good. Throws SessionEnded, or Refusal state_unavailable. */
export function admit(session: Session, { suspended }: Pick<Sessions, 'suspended'>, now: number): Session {
  if (session.revokedAt !== undefined) throw new SessionEnded('session_revoked', session);
  if (now >= session.expiresAt) throw new SessionEnded('session_expired', session);
  if (suspended) throw new Refusal('state_unavailable');
  return session;
}

function parse(header: string): Claim | undefined {
  const [, scheme = '', credentials = ''] = /^([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*)$/.exec(header) ?? [];
  return METHODS.get(scheme.toLowerCase())?.parse(credentials);
}
