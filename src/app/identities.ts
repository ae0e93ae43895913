import type { Config } from '../config/types.ts';
import { Refusal } from '../errors.ts';
import type { Identities, Opening } from '../identity/identities.ts';
import { SessionError, type SessionOptions } from '../state/session.ts';
import type { Sessions } from '../state/sessions.ts';
import type { ProxyRooms } from '../listen/rooms.ts';
import type { Log, Session } from '../types.ts';
import { listenLimits } from './limits.ts';

/**
 * The session of a credential that somebody else issued. `stubsOf`: fresh ones for a profile. Rejects with a Refusal:
 * what its issuer wrote may be no text for a session, and nobody but the issuer can change that.
 */
export async function openFor(
  sessions: Sessions,
  { key, expiresAt, ...named }: Opening,
  stubsOf: (profile: string) => SessionOptions['stubs'],
): Promise<Session> {
  try {
    const ttlMs = expiresAt - Date.now();
    return await sessions.open(key, { ...named, ttlMs, stubs: stubsOf(named.profile) });
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
