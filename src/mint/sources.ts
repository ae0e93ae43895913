import { Secret } from '../secret.ts';
import type { Minted } from './credential.ts';

/** Where the long-lived secrets are: the vaults' cache. */
export interface Vaulted {
  get(name: string): Secret | Promise<Secret>;
  refetch(name: string, rejected: Secret): Promise<Secret>;
}

/** In the place of `from` where there is none. */
const NONE = new Secret('', '');

/** The options that say where a mint's secrets are; the empty text is `from`. */
export const sourceNames = ({ source }: Minted): string[] => ['', ...source.further.keys()];

/** Those secrets. */
export function readSources(minted: Minted, vaulted: Vaulted): Promise<Secret[]> {
  const read = async (option: string) =>
    isNone(minted, option) ? NONE : vaulted.get(minted.vaulted(option));
  return Promise.all(sourceNames(minted).map(read));
}

/** The same after the issuer refused them; undefined if the vault has nothing else. */
export async function rereadSources(
  minted: Minted,
  vaulted: Vaulted,
  refused: readonly Secret[],
): Promise<Secret[] | undefined> {
  const reread = async (option: string, i: number) =>
    isNone(minted, option) ? NONE : vaulted.refetch(minted.vaulted(option), refused[i] as Secret);
  const again = await Promise.all(sourceNames(minted).map(reread)).catch(() => undefined);
  return again?.some((secret, i) => !secret.equals(refused[i] as Secret)) ? again : undefined;
}

function isNone({ source }: Minted, option: string): boolean {
  return option === '' && !source.isVaulted;
}
