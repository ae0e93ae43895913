import type { SecretSource } from '../../config/types.ts';
import { type Vault, VaultError } from '../../types.ts';
import { until } from '../../vaults/at-most.ts';
import { errorText } from '../log.ts';
import { type Check, failed, type Finding, note, ok } from './check.ts';

const TIMEOUT_MS = 10_000;

/** Reads every secret once, and lets it go. */
export const vaultAccess: Check = {
  name: 'vaults',
  run: async ({ compiled: { sources, vaults } }) => {
    if (sources.size === 0) return [note('no credential is read from a vault')];
    try {
      return await Promise.all(
        [...sources.values()].map(source => read(source, vaults.get(source.ref.vault))),
      );
    } finally {
      const closing = [...vaults.values()].map(async vault => vault.close?.(AbortSignal.timeout(TIMEOUT_MS)));
      await Promise.allSettled(closing);
    }
  },
};

async function read({ name, ref }: SecretSource, vault: Vault | undefined): Promise<Finding> {
  const fix = `put it there, or correct credentials.${name.split('/')[0]}; vaults are in docs/vaults.md`;
  if (!vault) return failed(`${name}: there is no vault "${ref.vault}"`, fix);
  if (vault.isLeased?.(ref.id))
    return note(`${name}: not read, because ${ref.vault} makes a new one each time`);
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const reading = vault.read(ref, signal);
    // Also of a vault that does not listen to the signal.
    await until(signal, reading);
    if (signal.aborted)
      return failed(`${name}: no answer from ${ref.vault} within ${TIMEOUT_MS / 1000} s`, fix);
    await reading;
    return ok(`${name}: read from ${ref.vault}`);
  } catch (error) {
    // Only a VaultError is known to hold no value.
    return failed(`${name}: ${error instanceof VaultError ? errorText(error) : `${ref.vault} failed`}`, fix);
  }
}
