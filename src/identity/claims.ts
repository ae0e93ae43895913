import type { ClaimPath, IdentityEntry } from './entry.ts';
import { MAX_TEXT } from './glob.ts';

/** What a credential says, after its issuer was proved. */
export type Claims = Readonly<Record<string, unknown>>;

/** Whom a session is for, and under which profile. */
export interface Named {
  readonly profile: string;
  readonly sub: string;
  readonly act?: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Why an entry does not take a credential; safe to log. */
export class Unfit extends Error {}

/** Whom an entry makes of the claims. Throws Unfit for one that does not match, and where a claim is missing. */
export function nameBy(entry: IdentityEntry, claims: Claims): Named {
  for (const { claim, globs } of entry.match) {
    const texts = textsAt(claims, claim);
    if (!texts.some(text => globs.some(fits => fits(text))))
      throw new Unfit(`its claim ${claim} does not match`);
  }
  const act = entry.act === undefined ? undefined : textAt(claims, entry.act);
  const labels = [...entry.labels].map(([label, claim]) => [label, textAt(claims, claim)] as const);
  return {
    profile: profileOf(entry, claims),
    sub: textAt(claims, entry.sub),
    ...(act !== undefined && { act }),
    labels: Object.fromEntries(labels),
  };
}

function profileOf({ profile }: IdentityEntry, claims: Claims): string {
  if (typeof profile === 'string') return profile;
  const found = profile.values.get(textAt(claims, profile.claim));
  if (found === undefined) throw new Unfit(`its claim ${profile.claim} has no profile`);
  return found;
}

/** The one text that a claim is. Throws Unfit. */
function textAt(claims: Claims, path: ClaimPath): string {
  const value = claimAt(claims, path);
  const text = Array.isArray(value) ? undefined : textsOf(value)[0];
  if (text === undefined || text === '') throw new Unfit(`its claim ${path} is missing, or no text`);
  return text;
}

/** The texts of a claim: itself, or the members of a list. */
export function textsAt(claims: Claims, path: ClaimPath): string[] {
  return textsOf(claimAt(claims, path));
}

function textsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter(one => !Array.isArray(one)).flatMap(textsOf);
  if (typeof value === 'string') return value.length <= MAX_TEXT ? [value] : [];
  return typeof value === 'boolean' || Number.isSafeInteger(value) ? [String(value)] : [];
}

function claimAt(claims: Claims, path: ClaimPath): unknown {
  if (!path.startsWith('/')) return ownOf(claims, path);
  const steps = path.slice(1).split('/');
  return steps.reduce<unknown>(
    (value, step) => ownOf(value, step.replaceAll('~1', '/').replaceAll('~0', '~')),
    claims,
  );
}

function ownOf(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) && !/^\d{1,4}$/.test(key)) return undefined;
  return Object.hasOwn(value, key) ? (value as Claims)[key] : undefined;
}
