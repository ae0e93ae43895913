import { compileTable } from '../policy/table.ts';
import { vaultTypes } from '../vaults/index.ts';
import type { Compiled, Config, Profile, ProfileEntry } from './types.ts';

/** A configuration made ready to serve. Does no I/O. */
export function compileConfig(config: Config): Compiled {
  const profiles = [...config.profiles].map(
    ([name, entry]) => [name, compileProfile(config, entry)] as const,
  );
  const vaults = [...config.vaults].map(
    ([name, { type, options }]) => [name, vaultTypes.build(type, options)] as const,
  );
  return { config, profiles: new Map(profiles), credentials: config.credentials, vaults: new Map(vaults) };
}

function compileProfile(config: Config, entry: ProfileEntry): Profile {
  const chosen = new Set(entry.rules);
  const rules = config.rules.filter(({ name }) => chosen.has(name));
  const credentials = rules.flatMap(rule => rule.injections.map(injection => injection.credential));
  return { ...entry, table: compileTable(rules), credentials: [...new Set(credentials)] };
}
