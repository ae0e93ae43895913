import type { Compiled } from '../config/types.ts';
import type { MintSource } from '../mint/minter.ts';
import type { Secret } from '../secret.ts';
import type { SecretRef, Vault } from '../types.ts';
import type { Canary } from './canary.ts';

/** Fewer characters are found by chance. */
const LEAST = 8;

/** The values that a gate gets from its vaults and mints, to be looked for like canaries. They are never shown. */
export class KnownSecrets {
  readonly #values = new Map<string, Canary>();
  /** Told of each value that is new. */
  onNew: (canary: Canary) => void = () => {};

  all(): Canary[] {
    return [...this.#values.values()];
  }

  /** The same configuration, whose every secret is noted. */
  rewrite(compiled: Compiled): Compiled {
    const vaults = [...compiled.vaults].map(([name, vault]) => [name, this.#vault(vault)] as const);
    const mints = [...compiled.mints].map(([name, mint]) => [name, this.#mint(mint)] as const);
    return { ...compiled, vaults: new Map(vaults), mints: new Map(mints) };
  }

  #vault(vault: Vault): Vault {
    return {
      read: async (ref, signal) => this.#note(nameOf(ref), await vault.read(ref, signal)),
      ...(vault.variables && { variables: vault.variables }),
    };
  }

  #mint(source: MintSource): MintSource {
    const { minter } = source;
    return {
      ...source,
      minter: {
        rotates: minter.rotates,
        usesSubject: minter.usesSubject === true,
        scope: who => minter.scope(who),
        mint: async (scope, material) => {
          const token = await minter.mint(scope, material);
          this.#note(source.name, token.secret);
          return token;
        },
        ...(minter.variables && { variables: minter.variables }),
      },
    };
  }

  #note(credential: string, secret: Secret): Secret {
    const value = secret.reveal();
    if (value.length >= LEAST && !this.#values.has(value)) {
      const canary = { credential, value };
      this.#values.set(value, canary);
      this.onNew(canary);
    }
    return secret;
  }
}

const nameOf = ({ vault, id, field }: SecretRef): string =>
  field === undefined ? `${vault}:${id}` : `${vault}:${id}#${field}`;
