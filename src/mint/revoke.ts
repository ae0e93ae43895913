import { type Log, VaultError } from '../types.ts';
import type { Secret } from '../secret.ts';
import type { Minted } from './credential.ts';
import { type Dial, poster, sender } from './http.ts';

/** Of all values of one token; a gate that ends, or a session, waits no longer for an issuer. */
const TIMEOUT_MS = 3_000;

export interface RevokerOptions {
  readonly dial: Dial;
  readonly log: Log | undefined;
  /** A secret in the vaults' cache. */
  readonly vaulted: (name: string) => Secret | Promise<Secret>;
}

/** Tells the issuers of tokens that nobody is given any more. Best effort: they end by themselves, too. */
export class Revoker {
  readonly #options: RevokerOptions;
  readonly #running = new Set<Promise<void>>();

  constructor(options: RevokerOptions) {
    this.#options = options;
  }

  /** Revokes every value that has not ended. Never throws; `idle` tells when it is done. */
  revoke(minted: Minted, now: number): void {
    const values = minted.release(now);
    if (!minted.source.minter.revoke) return;
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    for (const value of values) {
      const run = this.#run(minted, value, signal).finally(() => this.#running.delete(run));
      this.#running.add(run);
    }
  }

  /** Settles when nothing is under way. Never rejects. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #run(minted: Minted, value: Secret, signal: AbortSignal): Promise<void> {
    const { source } = minted;
    const { dial, log, vaulted } = this.#options;
    const late = new Promise<never>((_, reject) => {
      const error = new VaultError('unavailable', `no answer within ${TIMEOUT_MS} ms`);
      signal.addEventListener('abort', () => reject(error), { once: true });
    });
    try {
      const revoked = source.minter.revoke?.(value, {
        post: poster(sender(dial, signal)),
        secret: option =>
          option === '' || source.further.has(option) ? vaulted(minted.vaulted(option)) : undefined,
      });
      await Promise.race([late, revoked]);
      log?.debug('a minted token was revoked', { credential: source.name });
    } catch (error) {
      // Any other error may quote what was sent.
      const cause = error instanceof VaultError ? error.message : 'it failed';
      log?.warn('a minted token could not be revoked: it ends by itself', { credential: source.name, cause });
    }
  }
}
