import { Secret } from '../secret.ts';
import { type SecretRef, VaultError } from '../types.ts';

/** Controls other than tab and line ends: no credential holds one, and one in a header would split it. */
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

/**
 * The secret that `ref` names, out of the text that a vault holds: the JSON field if one is named, without the
 * line end that editors and `echo` leave. Throws VaultError; no part of the text ever stands in it.
 */
export function toSecret(ref: SecretRef, text: string, version?: string): Secret {
  const value = (ref.field === undefined ? text : jsonField(ref, ref.field, text)).replace(/[\r\n]+$/, '');
  if (CONTROL.test(value) || !value.isWellFormed()) {
    throw new VaultError('missing', `${show(ref)} holds a control character or is not text; store it again`);
  }
  return new Secret(show(ref), value, version ?? ref.version);
}

/** `<vault>:<id>[?version=V][#field]` as the operator wrote it; safe to log. */
export function show(ref: SecretRef): string {
  const version = ref.version === undefined ? '' : `?version=${ref.version}`;
  const field = ref.field === undefined ? '' : `#${ref.field}`;
  return `${ref.vault}:${ref.id}${version}${field}`;
}

/** The string at a path of own properties, such as `token` or `github.token`. */
function jsonField(ref: SecretRef, path: string, text: string): string {
  let value: unknown = parseJson(ref, text);
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) {
      throw new VaultError('missing', `${show(ref)}: the secret's JSON has no field "${path}"`);
    }
    value = (value as Record<string, unknown>)[name];
  }
  if (typeof value === 'string') return value;
  throw new VaultError('missing', `${show(ref)}: the field "${path}" is not a JSON string`);
}

function parseJson(ref: SecretRef, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own error quotes the text, which is the secret.
    throw new VaultError('missing', `${show(ref)}: the secret is not JSON; leave out "#${ref.field}"`);
  }
}
