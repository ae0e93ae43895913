import type { Config } from '../config/types.ts';
import { Refusal } from '../errors.ts';
import type { Identities, Opening } from '../identity/identities.ts';
import { givenSubject } from '../mint/subject.ts';
import type { Subject } from '../secret.ts';
import { SessionError, type SessionOptions } from '../state/session.ts';
import type { Sessions } from '../state/sessions.ts';
import type { ProxyRooms } from '../listen/rooms.ts';
import type { Log, Session } from '../types.ts';
import { listenLimits } from './limits.ts';

/**
 * The session of a credential that somebody else issued. `stubsOf`: fresh ones for a profile. `exchanges`: whether it
 * needs that credential for more. Rejects with a Refusal: what its issuer wrote may be no text for a session, and nobody
 * but the issuer can change that.
 */
export async function openFor(
  sessions: Sessions,
  { key, expiresAt, subject, ...named }: Opening,
  stubsOf: (profile: string) => SessionOptions['stubs'],
  exchanges: boolean,
): Promise<Session> {
  try {
    const ttlMs = expiresAt - Date.now();
    const session = await sessions.open(key, { ...named, ttlMs, stubs: stubsOf(named.profile) });
    // Opened at another gate perhaps, or before a reload.
    if (exchanges && session.revokedAt === undefined) session.subject ??= subject;
    return session;
  } catch (cause) {
    if (!(cause instanceof SessionError)) throw cause;
    throw new Refusal(cause.kind === 'full' ? 'state_unavailable' : 'unauthenticated', { cause });
  }
}

/** How the proxy speaks TLS, if it does. */
export function tlsOf(
  { listen: { tls }, limits }: Config,
  identities: Identities,
  log: Log,
): Pick<ProxyRooms, 'tls'> {
  if (!tls) return {};
  const { certFile, keyFile, clientCertificates } = tls;
  const requiresCertificate = clientCertificates === 'required';
  const { handshakeMs } = listenLimits(limits);
  return { tls: { certFile, keyFile, requiresCertificate, identities, handshakeMs, log } };
}

/**
 * The subject token that whoever creates a session gives it, to be exchanged for `credential`; undefined: its profile
 * exchanges none. Throws SessionError.
 */
export function givenFor(credential: string | undefined, text: string | undefined): Subject | undefined {
  if (text === undefined) return undefined;
  if (credential === undefined)
    throw new SessionError(
      'invalid',
      'subject_token is for a profile with a credential that exchanges it (`subject: session`); leave it out',
    );
  const subject = givenSubject(credential, text);
  if (!subject)
    throw new SessionError(
      'invalid',
      'subject_token must be 8 to 16384 visible ASCII characters, without spaces and line ends',
    );
  if (subject.endsAt !== undefined && subject.endsAt <= Date.now())
    throw new SessionError('invalid', 'subject_token has expired; get a new one from its issuer');
  return subject;
}
