import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../types.ts';
import { fieldToSecret, named } from './field.ts';
import { JsonClient } from './http.ts';
import { filePath, oneOf, readSource, serverAddress, variable } from './source.ts';

/** Of vaults and items; a name may look so too, which is then not found. */
const ID = /^[a-z0-9]{26}$/;

const schema = z
  .strictObject({
    address: serverAddress().describe(
      '`https://host:port` of the Connect server; plain http only on loopback.',
    ),
    token_file: filePath().optional().describe('File that holds the access token.'),
    token_env: variable().optional().describe('Variable of the gate that holds the access token.'),
    ca_file: filePath()
      .optional()
      .describe('CA certificates to trust for this server instead of the system’s.'),
  })
  .refine(oneOf('token_file', 'token_env'), 'write one of token_file and token_env');
type Options = z.output<typeof schema>;

type Fields = Readonly<Record<string, unknown>>;

/** Items of 1Password, through a Connect server (its API 1.8); the id is `vault/item`, by name or id. */
class OnePasswordConnect implements Vault {
  readonly variables: readonly string[];
  readonly #options: Options;
  readonly #client: JsonClient;

  constructor(options: Options) {
    this.#options = options;
    this.variables = options.token_env === undefined ? [] : [options.token_env];
    this.#client = new JsonClient(options.address, options.ca_file);
  }

  async read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    try {
      return await this.#read(ref, signal);
    } catch (error) {
      throw named(ref, error);
    }
  }

  async #read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    if (ref.version !== undefined)
      throw new VaultError(
        'missing',
        'a Connect server gives the present version only; leave out "?version="',
      );
    const [vault = '', item = '', ...more] = ref.id.split('/');
    if (vault === '' || item === '' || more.length > 0)
      throw new VaultError('missing', 'is not vault/item; write names without "/", or ids');
    const { token_file: file, token_env: env } = this.#options;
    const token = await readSource({ name: 'token', file, env });
    const get = (path: string) => this.#get(path, token, signal);
    const vaultId = await this.#find('vault', '/v1/vaults', 'name', vault, get);
    const items = `/v1/vaults/${vaultId}/items`;
    const itemId = await this.#find('item', items, 'title', item, get);
    return secretOf(ref, await get(`${items}/${itemId}`));
  }

  /** The id of what has that name. */
  async #find(
    what: string,
    path: string,
    key: string,
    name: string,
    get: (path: string) => Promise<unknown>,
  ): Promise<string> {
    if (ID.test(name)) return name;
    if (/["\\]/.test(name))
      throw new VaultError('missing', `the name of the ${what} holds a quote or a backslash; write its id`);
    const found = asList(await get(`${path}?filter=${encodeURIComponent(`${key} eq "${name}"`)}`));
    const named = found.filter(entry => entry[key] === name && entry['state'] !== 'ARCHIVED');
    const ids = named.map(entry => entry['id']);
    const [id] = ids;
    if (ids.length > 1)
      throw new VaultError('missing', `${ids.length} ${what}s have that name; write the id of one`);
    if (typeof id === 'string' && ID.test(id)) return id;
    throw new VaultError('missing', `the token sees no such ${what}; check the name, and the token's vaults`);
  }

  async #get(path: string, token: string, signal: AbortSignal): Promise<unknown> {
    const headers = { authorization: `Bearer ${token}` };
    const { status, body } = await this.#client.send({ method: 'GET', path, headers }, signal);
    if (status === 200) return body;
    if (status === 401)
      throw new VaultError('missing', 'the Connect server refuses the token (401); issue another one');
    if (status === 403)
      throw new VaultError('missing', 'the token may not read this vault (403); issue one that may');
    if (status === 404)
      throw new VaultError('missing', 'there is no such vault or item (404); check the ids');
    const advice = status === 429 ? 'raise the ttl of its credentials' : 'check its log';
    throw new VaultError('unavailable', `the Connect server answered ${status}; ${advice}`);
  }
}

/** The named field; without a name the password, or an API credential's own. */
function secretOf(ref: SecretRef, item: unknown): Secret {
  const { fields, sections, version } = asFields(item);
  const wanted = ref.field;
  const fits = (field: Fields): boolean =>
    wanted === undefined
      ? field['purpose'] === 'PASSWORD' || field['id'] === 'credential'
      : field['id'] === wanted || field['label'] === wanted || pathOf(field, asList(sections)) === wanted;
  const found = asList(fields).filter(fits);
  const [field] = found;
  if (field === undefined) {
    const advice = wanted === undefined ? 'name a field with "#label"' : 'check its label';
    throw new VaultError('missing', `the item has no such field; ${advice}`);
  }
  if (found.length > 1)
    throw new VaultError('missing', `${found.length} fields fit; write "#section.label", or the id of one`);
  return fieldToSecret(ref, field, 'value', typeof version === 'number' ? String(version) : undefined);
}

/** `section.label`; undefined for a field outside of every section. */
function pathOf({ section, label }: Fields, sections: readonly Fields[]): string | undefined {
  const { id } = asFields(section);
  const { label: of } = asFields(id === undefined ? undefined : sections.find(entry => entry['id'] === id));
  return typeof of === 'string' && typeof label === 'string' ? `${of}.${label}` : undefined;
}

function asFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function asList(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(asFields) : [];
}

export const onepasswordConnect = define({
  type: 'onepassword-connect',
  summary: 'Items of 1Password, through a Connect server; the id is vault/item',
  schema,
  build: (options): Vault => new OnePasswordConnect(options),
});
