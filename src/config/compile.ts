import { exchangesSession, minters } from '../mint/index.ts';
import type { MintSource } from '../mint/minter.ts';
import { TableBuilder } from '../policy/table.ts';
import type { Placement } from '../types.ts';
import { vaultTypes } from '../vaults/index.ts';
import { atOnce, type Steps } from './steps.ts';
import type { Compiled, Config, Credential, Profile, ProfileEntry, SecretSource } from './types.ts';

/** Rules that are compiled at a time. */
const AT_A_TIME = 64;

/** A configuration made ready to serve. Does no I/O. */
export function compileConfig(config: Config): Compiled {
  return atOnce(compileSteps(config));
}

/** The same in steps, each of a few rules. */
export function* compileSteps(config: Config): Steps<Compiled> {
  const profiles: [string, Profile][] = [];
  for (const [name, entry] of config.profiles) profiles.push([name, yield* compileProfile(config, entry)]);
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

function* compileProfile(config: Config, entry: ProfileEntry): Steps<Profile> {
  const chosen = new Set(entry.rules);
  const table = new TableBuilder();
  const placements = new Map<string, Placement[]>();
  let captures = false;
  let left = AT_A_TIME;
  for (const rule of config.rules) {
    if (--left === 0) {
      left = AT_A_TIME;
      yield;
    }
    if (!chosen.has(rule.name)) continue;
    table.add(rule);
    captures ||= rule.captures !== undefined;
    for (const { credential, placement } of rule.injections) {
      const known = placements.get(credential);
      if (known) known.push(placement);
      else placements.set(credential, [placement]);
    }
  }
  const isCaptured = (name: string): boolean => config.credentials.get(name)?.isCaptured === true;
  const injected = [...placements.keys()];
  const credentials = injected.filter(name => !isCaptured(name));
  captures ||= injected.some(isCaptured);
  const vaulted = credentials.filter(name => config.credentials.get(name)?.ref !== undefined);
  const exchanged = credentials.find(name => {
    const mint = config.credentials.get(name)?.mint;
    return mint && exchangesSession({ type: mint.type, ...mint.options });
  });
  const optional = { ...(exchanged !== undefined && { exchanged }) };
  return { ...entry, table: table.build(), credentials, placements, vaulted, captures, ...optional };
}
