import type { Metrics } from '../audit/metrics.ts';
import type { Compiled } from '../config/types.ts';
import { MintCache } from '../mint/cache.ts';
import type { Dial } from '../mint/http.ts';
import { Rotations, type RotationStore } from '../mint/rotations.ts';
import type { Log } from '../types.ts';
import { SecretCache } from '../vaults/cache.ts';

export interface SecretsOptions {
  readonly metrics: Metrics;
  readonly log: Log;
  /** To the issuers of tokens. */
  readonly dial: Dial;
  /** What gates keep for each other; undefined where there is nobody to share with. */
  readonly store: RotationStore | undefined;
}

/** Every secret that the gate holds: those that it reads from vaults, and those that are minted from them. */
export class Secrets {
  readonly vaulted: SecretCache;
  readonly mints: MintCache;

  constructor({ sources, vaults, mints }: Compiled, { metrics, log, dial, store }: SecretsOptions) {
    this.vaulted = new SecretCache({
      credentials: sources,
      vaults,
      log,
      onRead: (vault, done) => metrics.fetched(vault, done),
    });
    this.mints = new MintCache({
      mints,
      vaulted: this.vaulted,
      dial,
      log,
      ...(store && { rotations: new Rotations({ store, log }) }),
      // No vault can have such a name.
      onMint: (type, done) => metrics.fetched(`mint:${type}`, done),
    });
  }

  /** Takes a new configuration; a value stays in use if nothing about it changed. */
  reconfigure({ sources, vaults, mints }: Compiled): void {
    this.vaulted.reconfigure({ credentials: sources, vaults });
    this.mints.reconfigure(mints);
  }
}
