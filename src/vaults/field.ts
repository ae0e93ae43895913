import { Secret } from '../secret.ts';
import { type SecretRef, VaultError } from '../types.ts';

/** Controls other than tab and line ends: no credential holds one, and one in a header would split it. */
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

/**
 * The secret that `ref` names, out of the text that a vault holds, or its bytes in UTF-8: the JSON field if one is named, without the
 * line end that editors and `echo` leave. Throws VaultError; no part of the text ever stands in it.
 */
export function toSecret(ref: SecretRef, held: string | Uint8Array, version?: string): Secret {
  const text = typeof held === 'string' ? held : decodeUtf8(ref, held);
  const value = ref.field === undefined ? text : stringAt(ref, ref.field, parseJson(ref, text));
  return checked(ref, value, version);
}

/** The same out of fields that a vault holds by name; `field` is a name, or a path into JSON. */
export function fieldToSecret(ref: SecretRef, fields: object, field: string, version?: string): Secret {
  return checked(ref, stringAt(ref, field, fields), version);
}

function checked(ref: SecretRef, text: string, version: string | undefined): Secret {
  const value = text.replace(/[\r\n]+$/, '');
  if (CONTROL.test(value) || !value.isWellFormed()) {
    throw new VaultError('missing', `${show(ref)} holds a control character or is not text; store it again`);
  }
  return new Secret(show(ref), value, version ?? ref.version);
}

function decodeUtf8(ref: SecretRef, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new VaultError('missing', `${show(ref)} is not UTF-8 text; store it again`);
  }
}

/** What a read of the ref throws: a vault's own error names it first. */
export function named(ref: SecretRef, error: unknown): unknown {
  if (!(error instanceof VaultError) || error.message.startsWith(show(ref))) return error;
  return new VaultError(error.kind, `${show(ref)}: ${error.message}`);
}

/** `<vault>:<id>[?version=V][#field]` as the operator wrote it; safe to log. */
export function show(ref: SecretRef): string {
  const version = ref.version === undefined ? '' : `?version=${ref.version}`;
  const field = ref.field === undefined ? '' : `#${ref.field}`;
  return `${ref.vault}:${ref.id}${version}${field}`;
}

/** The string under a name, or else at a path of own properties, such as `token` or `github.token`. */
function stringAt(ref: SecretRef, path: string, root: unknown): string {
  let value: unknown = root;
  const isName = typeof root === 'object' && root !== null && Object.hasOwn(root, path);
  for (const name of isName ? [path] : path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) {
      throw new VaultError('missing', `${show(ref)}: the secret has no field "${path}"`);
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
