import { randomInt } from 'node:crypto';
import { Secret } from '../secret.ts';
import type { SecretRef, Vault } from '../types.ts';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const LENGTH = 40;

/** A value that stands for a credential's secret, and is looked for in whatever a sandbox can see. */
export interface Canary {
  readonly credential: string;
  /** ASCII that every placement can carry, and that escapes differently in each of them. */
  readonly value: string;
}

/** A fresh canary for each credential. */
export function canariesFor(credentials: Iterable<string>): Canary[] {
  return [...credentials].map(credential => ({ credential, value: fresh() }));
}

function fresh(): string {
  const random = Array.from({ length: LENGTH - 2 }, () => BASE62[randomInt(BASE62.length)]).join('');
  return `${random.slice(0, LENGTH / 2)}+/${random.slice(LENGTH / 2)}`;
}

/** In the place of every vault: the id of a ref is the credential's name. */
export class CanaryVault implements Vault {
  readonly #values: ReadonlyMap<string, string>;

  constructor(canaries: readonly Canary[]) {
    this.#values = new Map(canaries.map(({ credential, value }) => [credential, value]));
  }

  async read({ id }: SecretRef): Promise<Secret> {
    const value = this.#values.get(id);
    if (value === undefined) throw new Error(`no canary for ${id}`);
    return new Secret(id, value, 'canary');
  }
}
