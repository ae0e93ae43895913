import { Refusal } from '../errors.ts';
import { VaultError } from '../types.ts';

/** What a vault or a minter said, or the kind of any other error only: its text may quote a secret. */
export function asVaultError(name: string, error: unknown): VaultError {
  const known = error instanceof Refusal ? error.cause : error;
  if (known instanceof VaultError) return known;
  const { name: kind = 'Error', code = '' } = (known ?? {}) as { name?: string; code?: string };
  return new VaultError('unavailable', `credential "${name}": minting failed with ${kind} ${code}`.trimEnd());
}
