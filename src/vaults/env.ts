import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../types.ts';
import { show, toSecret } from './field.ts';

/** Environment variables of the gate's own process; the id is the variable's name. */
export class EnvVault implements Vault {
  async read(ref: SecretRef): Promise<Secret> {
    if (ref.version !== undefined) {
      throw new VaultError('missing', `${show(ref)}: a variable has no versions; leave out "?version="`);
    }
    const value = Object.hasOwn(process.env, ref.id) ? process.env[ref.id] : undefined;
    if (value === undefined || value === '') {
      throw new VaultError('missing', `${show(ref)}: the variable is not set; set it where the gate starts`);
    }
    return toSecret(ref, value);
  }
}

/** Names of the variables that the vaults and the refs read, which no child of the gate may inherit. */
export function envNames(refs: Iterable<SecretRef>, vaults: ReadonlyMap<string, Vault>): Set<string> {
  const names = new Set([...vaults.values()].flatMap(({ variables }) => variables ?? []));
  for (const ref of refs) if (vaults.get(ref.vault) instanceof EnvVault) names.add(ref.id);
  return names;
}

export const env = define({
  type: 'env',
  summary: 'Environment variables of the gate; the id is the name of one',
  schema: z.strictObject({}),
  build: (): Vault => new EnvVault(),
});
