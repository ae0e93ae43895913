import { reach } from '../../policy/reach.ts';
import type { Config } from '../types.ts';
import type { Check } from './finding.ts';

/** What the order of the rules does to them. */
export const checkOrder: Check = ({ config }, find) => {
  const { rules } = config;
  const name = (rule: number): string => rules[rule]?.name ?? '';
  const { unreached, overlaps } = reach(rules);
  const byProfile = unreached.length === 0 ? new Map<string, Set<string>>() : unreachedByProfile(config);
  const suspects = unreached.filter(({ rule }) => isUnreachedEverywhere(config, byProfile, name(rule)));
  for (const { rule, hiddenBy, isTunnel } of suspects) {
    const above = list(hiddenBy.map(name));
    if (isTunnel) {
      const message = `no tunnel of rule ${name(rule)} passes unread, because ${above} above it must read the requests`;
      find('SG001', ['rules', rule, 'name'], message, `move ${name(rule)} above ${above}, or take it out`);
    } else {
      const message = `no request reaches rule ${name(rule)}: ${above} above it ${hiddenBy.length > 1 ? 'take' : 'takes'} them all`;
      find('SG001', ['rules', rule, 'name'], message, `move ${name(rule)} above ${above}, or take it out`);
    }
  }
  for (const { allows, denies, example } of overlaps) {
    if (!sharesProfile(config, allows, denies)) continue;
    const message = `rule ${name(denies)} denies ${example}, but rule ${name(allows)} above it allows it`;
    find(
      'SG002',
      ['rules', denies, 'name'],
      message,
      `move ${name(denies)} above ${name(allows)}, or take out of it what is allowed`,
    );
  }
};

/** Rules that are not reached in some profile that names them; each profile is looked at once. */
function unreachedByProfile({ rules, profiles }: Config): ReadonlyMap<string, ReadonlySet<string>> {
  const entries = [...profiles].map(([profile, { rules: names }]) => {
    const chosen = new Set(names);
    const table = rules.filter(({ name }) => chosen.has(name));
    return [profile, new Set(reach(table).unreached.map(({ rule }) => table[rule]?.name ?? ''))] as const;
  });
  return new Map(entries);
}

/** A rule that another one hides is reached in a profile without that one. */
function isUnreachedEverywhere(
  { profiles }: Config,
  unreached: ReadonlyMap<string, ReadonlySet<string>>,
  rule: string,
): boolean {
  const naming = [...profiles].filter(([, { rules }]) => rules.includes(rule));
  return naming.every(([profile]) => unreached.get(profile)?.has(rule));
}

function sharesProfile({ rules, profiles }: Config, ...both: readonly number[]): boolean {
  return [...profiles.values()].some(({ rules: names }) =>
    both.every(rule => names.includes(rules[rule]?.name ?? '')),
  );
}

function list(names: readonly string[]): string {
  const [few, rest] = [names.slice(0, 4), names.length - 4];
  if (rest > 0) return `rules ${few.join(', ')} and ${rest} more`;
  return `${few.length > 1 ? 'rules' : 'rule'} ${few.join(', ')}`;
}
