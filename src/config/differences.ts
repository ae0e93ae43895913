import { isDeepStrictEqual } from 'node:util';
import { type Change, compareTables } from '../policy/changes.ts';
import type { Injection } from '../types.ts';
import type { Policy } from './load.ts';
import { items, mapping, placementOptions } from './raw.ts';
import type { Config } from './types.ts';

/** What a change of a configuration does to those who run under it. */
export interface Difference {
  /** `widens`: somebody may do more, or it cannot be told that nobody may; `narrows`; `changes`: neither. */
  readonly effect: 'widens' | 'narrows' | 'changes';
  /** Of a change in the rules; otherwise absent. */
  readonly profile?: string;
  readonly change?: Change;
  /** Of any other change: what it is about, such as `credentials.github`, and what happens. */
  readonly path?: string;
  readonly text?: string;
}

const WIDENS: ReadonlySet<Change['kind']> = new Set(['allows', 'tunnels', 'loosens']);

/** Everything in which two configurations differ. Misses no widening; what cannot be compared counts as one. */
export function differences(old: Policy, next: Policy): Difference[] {
  return [
    ...compareProfiles(old, next),
    ...compareCredentials(old.config, next.config),
    ...compareUpstream(old.config, next.config),
    ...compareRest(old.config, next.config),
  ];
}

function compareProfiles(old: Policy, next: Policy): Difference[] {
  const describe = describer(old, next);
  const names = new Set([...old.config.profiles.keys(), ...next.config.profiles.keys()]);
  return [...names].flatMap(profile => {
    const [before, after] = [old, next].map(({ config }) => config.profiles.get(profile));
    const changes = compareTables(rulesOf(old.config, profile), rulesOf(next.config, profile), describe);
    const found: Difference[] = changes.map(change => ({
      effect: WIDENS.has(change.kind) ? 'widens' : change.kind === 'reads' ? 'changes' : 'narrows',
      profile,
      change,
    }));
    const path = `profiles.${profile}`;
    if (!before) found.unshift({ effect: 'widens', path, text: 'this profile is new' });
    if (!after)
      found.unshift({ effect: 'narrows', path, text: 'this profile is gone: its sessions are denied' });
    if (before && after && before.ttlMs !== after.ttlMs) {
      const effect = after.ttlMs > before.ttlMs ? 'widens' : 'narrows';
      const text = `sessions may live ${after.ttlMs / 1000} s, before ${before.ttlMs / 1000} s`;
      found.push({ effect, path: `${path}.ttl`, text });
    }
    return found;
  });
}

function rulesOf(config: Config, profile: string) {
  const chosen = new Set(config.profiles.get(profile)?.rules);
  return config.rules.filter(({ name }) => chosen.has(name));
}

/** A placement with all its options, as they were written. */
function describer(...policies: readonly Policy[]): (injection: Injection) => string {
  const texts = new Map<Injection, string>();
  for (const { config, root } of policies) {
    for (const [i, { injections }] of config.rules.entries()) {
      const written = items(mapping(items(root['rules'])[i])['inject']);
      for (const [j, injection] of injections.entries()) {
        const options = Object.entries(placementOptions(mapping(written[j]))).toSorted(([a], [b]) =>
          a < b ? -1 : 1,
        );
        const told = options.map(([key, value]) => `, ${key}: ${String(value)}`).join('');
        texts.set(injection, `${injection.placement.type}${told}`);
      }
    }
  }
  return injection => texts.get(injection) ?? injection.placement.slot;
}

/** Whether another secret can do more than the old one, nobody can tell from here. */
function compareCredentials(old: Config, next: Config): Difference[] {
  return [...next.credentials].flatMap(([name, after]) => {
    const before = old.credentials.get(name);
    if (!before) return [];
    const path = `credentials.${name}`;
    const found: Difference[] = [];
    const vaults = [old, next].map(config => after.ref && config.vaults.get(after.ref.vault));
    if (!isDeepStrictEqual(before.ref, after.ref) || !isDeepStrictEqual(vaults[0], vaults[1]))
      found.push({ effect: 'widens', path, text: 'is read from another place: it may be another secret' });
    if (!isDeepStrictEqual(before.mint, after.mint))
      found.push({
        effect: 'widens',
        path,
        text: 'is minted in another way: the token may have other rights',
      });
    if (before.ttlMs !== after.ttlMs || !isDeepStrictEqual(before.stub, after.stub))
      found.push({ effect: 'changes', path, text: 'its stub or its time to live is another one' });
    return found;
  });
}

function compareUpstream({ upstream: old }: Config, { upstream: next }: Config): Difference[] {
  const found: Difference[] = [];
  const range = ({ value, prefix, bits }: { value: bigint; prefix: number; bits: number }) =>
    `${bits}/${value}/${prefix}`;
  const [before, after] = [old, next].map(({ allowPrivate }) => new Set(allowPrivate.map(range)));
  const tell = (effect: Difference['effect'], path: string, text: string): void => {
    found.push({ effect, path: `upstream.${path}`, text });
  };
  if ([...(after ?? [])].some(one => !before?.has(one)))
    tell('widens', 'allow_private', 'further private addresses may be dialled');
  if ([...(before ?? [])].some(one => !after?.has(one)))
    tell('narrows', 'allow_private', 'fewer private addresses may be dialled');
  for (const [host, to] of next.resolve) {
    if (!isDeepStrictEqual(old.resolve.get(host), to))
      tell('widens', `resolve.${host}`, 'is dialled at another address');
  }
  for (const host of old.resolve.keys()) {
    if (!next.resolve.has(host))
      tell('widens', `resolve.${host}`, 'is no longer dialled at a fixed address, but where DNS says');
  }
  if (!isDeepStrictEqual(old.proxy, next.proxy)) tell('widens', 'proxy', 'hosts are reached in another way');
  if (old.caFile !== next.caFile) tell('widens', 'ca_file', 'other upstreams are trusted');
  return found;
}

const REST = ['listen', 'ca', 'state', 'audit', 'limits'] as const;

function compareRest(old: Config, next: Config): Difference[] {
  return REST.filter(section => !isDeepStrictEqual(old[section], next[section])).map(section => ({
    effect: 'changes',
    path: section,
    text: 'is not the same',
  }));
}
