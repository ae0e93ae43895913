import { Refusal } from '../errors.ts';
import { VaultError } from '../types.ts';

export function unavailable(message: string): Refusal {
  return new Refusal('credential_unavailable', { cause: new VaultError('missing', message) });
}

/** A vault's own error, or one that names the other's kind only: what a client library throws may quote a secret. */
export function asVaultError(name: string, error: unknown): VaultError {
  if (error instanceof VaultError) return error;
  const { name: kind = 'Error', code = '' } = (error ?? {}) as { name?: string; code?: string };
  return new VaultError(
    'unavailable',
    `credential "${name}": the vault failed with ${kind} ${code}`.trimEnd(),
  );
}
