import type { X509Certificate } from 'node:crypto';
import type { Session } from '../types.ts';
import type { Identities } from './identities.ts';
import { admit, type Sessions } from './index.ts';

/** Who is at the other end of a connection, by its certificate: settled once, by the first request that asks. */
export class Peer {
  readonly #certificate: X509Certificate;
  readonly #identities: Identities;
  #session: Session | undefined;

  /** `certificate`: one that TLS has verified. */
  constructor(certificate: X509Certificate, identities: Identities) {
    this.#certificate = certificate;
    this.#identities = identities;
  }

  /** At once if it is settled. Throws, or rejects with, what `authenticate` does. */
  session(sessions: Pick<Sessions, 'suspended'>): Session | Promise<Session> {
    if (this.#session) return admit(this.#session, sessions, Date.now());
    return this.#settle(sessions);
  }

  async #settle(sessions: Pick<Sessions, 'suspended'>): Promise<Session> {
    this.#session = await this.#identities.certificate(this.#certificate);
    return admit(this.#session, sessions, Date.now());
  }
}
