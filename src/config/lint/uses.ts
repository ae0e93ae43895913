import { isDeepStrictEqual } from 'node:util';
import { hostsAsked } from '../../mint/index.ts';
import type { SecretRef } from '../../types.ts';
import type { Path } from '../document.ts';
import { items, mapping } from '../raw.ts';
import type { Config, Credential } from '../types.ts';
import type { Check, Find } from './finding.ts';

/** What nothing uses, and what is there twice. */
export const checkUses: Check = ({ config, root }, find) => {
  const inProfile = new Set([...config.profiles.values()].flatMap(({ rules }) => rules));
  for (const [i, { name }] of config.rules.entries()) {
    if (inProfile.has(name)) continue;
    const message = `rule ${name} stands in no profile, so it does nothing`;
    find('SG008', ['rules', i, 'name'], message, 'name it in a profile, or take it out');
  }
  checkCredentials(config, inProfile, find);
  checkVaults(config, mapping(root['vaults']), find);
  for (const [i, rule] of items(root['rules']).entries()) {
    for (const key of ['hosts', 'methods', 'paths', 'ports', 'schemes']) {
      repeated(items(mapping(rule)[key]), ['rules', i, key], find);
    }
  }
  checkAddresses(config, find);
};

function checkAddresses(config: Config, find: Find): void {
  const asked = askedByGate(config);
  const named = new Set(config.rules.flatMap(({ hosts }) => hosts));
  for (const host of config.upstream.resolve.keys()) {
    const isNamed = [...named].some(
      of => of === host || of === '*' || (of.startsWith('*.') && host.endsWith(of.slice(1))),
    );
    if (!isNamed && asked?.has(host) === false)
      find(
        'SG016',
        ['upstream', 'resolve', host],
        `no rule names ${host}, so it is never dialled`,
        'write a rule for it, or take it out',
      );
  }
}

/** Hosts that the gate itself asks; undefined if only the run can tell. */
function askedByGate({ credentials, identity, alarms }: Config): ReadonlySet<string> | undefined {
  const hosts = [...credentials.values()].flatMap(({ mint }) =>
    mint ? hostsAsked(mint.type, mint.options) : [],
  );
  for (const entry of identity) {
    if (entry.type !== 'jwt' || entry.keys.kind === 'file') continue;
    // The discovery document may say that the keys are at another host.
    if (entry.keys.kind === 'discovery') return undefined;
    hosts.push(new URL(entry.keys.url).hostname);
  }
  const webhook = alarms.webhook?.url;
  if (typeof webhook === 'object') return undefined;
  return new Set(webhook === undefined ? hosts : [...hosts, new URL(webhook).hostname]);
}

function checkCredentials({ rules, credentials }: Config, inProfile: ReadonlySet<string>, find: Find): void {
  const injecting = rules.filter(({ name }) => inProfile.has(name));
  const used = new Set(injecting.flatMap(({ injections }) => injections.map(({ credential }) => credential)));
  for (const name of credentials.keys()) {
    if (used.has(name)) continue;
    const message = `no rule of a profile injects credential ${name}`;
    find('SG006', ['credentials', name], message, 'write a rule that injects it, or take it out');
  }
  const all = [...credentials.values()];
  for (const [i, credential] of all.entries()) {
    const first = all.slice(0, i).find(other => isSame(other, credential));
    if (!first) continue;
    const message = `credential ${credential.name} is credential ${first.name} again: the same secret, the same stub`;
    find(
      'SG009',
      ['credentials', credential.name],
      message,
      `inject ${first.name} instead, and take this one out`,
    );
  }
}

/** One secret may well have two stubs, in two variables. */
function isSame(a: Credential, b: Credential): boolean {
  return isDeepStrictEqual({ ...a, name: '' }, { ...b, name: '' });
}

function checkVaults({ vaults, credentials }: Config, written: object, find: Find): void {
  const refs = [...credentials.values()].flatMap(({ ref, mint }): SecretRef[] => [
    ...(ref ? [ref] : []),
    ...(mint?.refs.values() ?? []),
  ]);
  const used = new Set(refs.map(({ vault }) => vault));
  const names = Object.keys(written);
  for (const [i, name] of names.entries()) {
    if (!used.has(name)) {
      find(
        'SG007',
        ['vaults', name],
        `no credential is read from vault ${name}`,
        'read one from it, or take it out',
      );
    }
    const first = names.slice(0, i).find(other => isDeepStrictEqual(vaults.get(other), vaults.get(name)));
    if (first !== undefined) {
      find(
        'SG009',
        ['vaults', name],
        `vault ${name} is vault ${first} again`,
        `read from ${first} instead, and take this one out`,
      );
    }
  }
}

function repeated(list: readonly unknown[], path: Path, find: Find): void {
  const seen = new Set<unknown>();
  for (const [i, item] of list.entries()) {
    const same =
      typeof item === 'string' && path.at(-1) === 'hosts' ? item.toLowerCase().replace(/\.$/, '') : item;
    if (seen.has(same)) find('SG009', [...path, i], 'this stands in the list twice', 'keep one');
    seen.add(same);
  }
}
