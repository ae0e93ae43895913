import type { X509Certificate } from 'node:crypto';
import type { Session } from '../types.ts';
import type { Identities } from './identities.ts';
import { admit, type Sessions } from './index.ts';

/**
 * Who is at the other end of a connection, by its certificate: settled by the first request that asks, and again after a
 * reload of the identities.
 */
export class Peer {
  readonly #certificate: X509Certificate;
  readonly #identities: Identities;
  #session: Session | undefined;
  /** What it was settled by. */
  #version: unknown;

  /** `certificate`: one that TLS has verified. */
  constructor(certificate: X509Certificate, identities: Identities) {
    this.#certificate = certificate;
    this.#identities = identities;
  }

  /** At once if it is settled. Throws, or rejects with, what `authenticate` does. */
  session(sessions: Pick<Sessions, 'suspended'>): Session | Promise<Session> {
    if (this.#session && this.#version === this.#identities.version)
      return admit(this.#session, sessions, Date.now());
    return this.#settle(sessions);
  }

  async #settle(sessions: Pick<Sessions, 'suspended'>): Promise<Session> {
    const { version } = this.#identities;
    const session = await this.#identities.certificate(this.#certificate);
    this.#session = session;
    this.#version = version;
    return admit(session, sessions, Date.now());
  }
}
