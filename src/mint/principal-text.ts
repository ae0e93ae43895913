import { createHash } from 'node:crypto';
import { type Principal, VaultError } from '../types.ts';

/** `{label.NAME}`, `{sub}`, `{act}` */
const PLACE = /\{(?:label\.([A-Za-z0-9][A-Za-z0-9_./-]{0,62})|(sub|act))\}/g;

/** RoleSessionName of STS. */
export const SESSION_NAME = /^[\w+=,.@-]{2,64}$/;
/** Value of a session tag. */
export const TAG = /^[\p{L}\p{Z}\p{N}_.:/=+@-]{0,256}$/u;
const NOT_NAME = /[^A-Za-z0-9_+=,.@-]+/g;
const HASH_LENGTH = 12;

/** What is wrong with a template of which `allowed` may be made. */
export function templateFault(text: string, allowed: RegExp): string | undefined {
  return allowed.test(text.replaceAll(PLACE, 'xx')) ? undefined : 'is not valid';
}

/**
 * A RoleSessionName with what is the session's own in its places. Other characters become `-`, and what is too long is
 * cut; a hash then keeps different ones apart, as a trust policy may ask for one.
 */
export function sessionName(template: string, who: Principal): string {
  const text = filled(template, who);
  if (SESSION_NAME.test(text)) return text;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, HASH_LENGTH);
  return `${text.replaceAll(NOT_NAME, '-').slice(0, 64 - 1 - HASH_LENGTH)}-${hash}`;
}

/** Tags decide what may be reached: a value that STS would not take is refused, never changed. */
export function tagsOf(
  tags: Readonly<Record<string, string>>,
  who: Principal,
): [key: string, value: string][] {
  return Object.entries(tags).map(([key, template]) => {
    const value = filled(template, who);
    if (TAG.test(value)) return [key, value];
    throw new VaultError(
      'missing',
      `the session's own texts give no value for the tag "${key}"; write at most 256 letters, digits, spaces and _ . : / = + - @`,
    );
  });
}

function filled(template: string, { labels, ...who }: Principal): string {
  return template.replaceAll(PLACE, (_, label: string | undefined, own: 'sub' | 'act') => {
    const value = label === undefined ? who[own] : Object.hasOwn(labels, label) ? labels[label] : undefined;
    if (value !== undefined && value !== '') return value;
    const what = label === undefined ? `"${own}"` : `label "${label}"`;
    throw new VaultError(
      'missing',
      `the session has no ${what}, which its AWS keys are for; create it with one`,
    );
  });
}
