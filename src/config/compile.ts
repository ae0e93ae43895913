import { exchangesSession, minters } from '../mint/index.ts';
import type { MintSource } from '../mint/minter.ts';
import { compileTable } from '../policy/table.ts';
import { vaultTypes } from '../vaults/index.ts';
import type { Compiled, Config, Credential, Profile, ProfileEntry, SecretSource } from './types.ts';

/** A configuration made ready to serve. Does no I/O. */
export function compileConfig(config: Config): Compiled {
  const profiles = [...config.profiles].map(
    ([name, entry]) => [name, compileProfile(config, entry)] as const,
  );
  const vaults = [...config.vaults].map(
    ([name, { type, options }]) => [name, vaultTypes.build(type, options)] as const,
  );
  const credentials = [...config.credentials.values()];
  return {
    config,
    profiles: new Map(profiles),
    credentials: config.credentials,
    sources: new Map(credentials.flatMap(sourcesOf).map(source => [source.name, source])),
    mints: new Map(credentials.flatMap(mintSource).map(source => [source.name, source])),
    vaults: new Map(vaults),
  };
}

function sourcesOf({ name, ref, ttlMs, staleForMs, mint }: Credential): SecretSource[] {
  const life = { ttlMs, ...(staleForMs !== undefined && { staleForMs }) };
  const further = [...(mint?.refs ?? [])].map(([option, of]) => ({
    name: `${name}/${option}`,
    ref: of,
    ...life,
  }));
  return ref ? [{ name, ref, ...life }, ...further] : further;
}

function mintSource({ name, ref, ttlMs, mint }: Credential): MintSource[] {
  if (!mint) return [];
  const { type, options, refs } = mint;
  const further = [...refs.keys()].map(option => [option, `${name}/${option}`] as const);
  const id = JSON.stringify([type, options, ref, [...refs], ttlMs]);
  const minter = minters.build(type, options);
  return [{ name, type, minter, isVaulted: ref !== undefined, id, further: new Map(further), ttlMs }];
}

function compileProfile(config: Config, entry: ProfileEntry): Profile {
  const chosen = new Set(entry.rules);
  const rules = config.rules.filter(({ name }) => chosen.has(name));
  const injected = rules.flatMap(rule => rule.injections.map(injection => injection.credential));
  const isCaptured = (name: string): boolean => config.credentials.get(name)?.isCaptured === true;
  const credentials = [...new Set(injected)].filter(name => !isCaptured(name));
  const captures = injected.some(isCaptured) || rules.some(rule => rule.captures);
  const vaulted = credentials.filter(name => config.credentials.get(name)?.ref !== undefined);
  const exchanged = credentials.find(name => {
    const mint = config.credentials.get(name)?.mint;
    return mint && exchangesSession({ type: mint.type, ...mint.options });
  });
  const injections = Map.groupBy(
    rules.flatMap(rule => rule.injections),
    ({ credential }) => credential,
  );
  const placements = new Map([...injections].map(([name, all]) => [name, all.map(one => one.placement)]));
  const optional = { ...(exchanged !== undefined && { exchanged }) };
  return { ...entry, table: compileTable(rules), credentials, placements, vaulted, captures, ...optional };
}
