import { z } from 'zod';
import { define } from '../../registry.ts';
import type { Secret } from '../../secret.ts';
import { type SecretRef, type Vault, VaultError, type VaultWatcher } from '../../types.ts';
import { within } from '../at-most.ts';
import { fieldToSecret, named, show } from '../field.ts';
import { type JsonAnswer, JsonClient, type JsonRequest } from '../http.ts';
import { filePath, serverAddress } from '../source.ts';
import { authSchema, authVariables, mountPath } from './auth.ts';
import { Leases } from './leases.ts';
import { Login } from './login.ts';

const schema = z.strictObject({
  address: serverAddress().describe('`https://host:port`; plain http only on loopback.'),
  auth: authSchema,
  mount: mountPath().default('secret').describe('Where the KV engine is mounted (default secret).'),
  kv: z
    .union([z.literal(1), z.literal(2)], 'is not a version of the KV engine; write 1 or 2')
    .default(2)
    .describe('Version of the KV engine: 2 (default) or 1.'),
  dynamic: z
    .array(mountPath())
    .default([])
    .describe(
      'Mounts of engines that make secrets with a lease, such as [database, aws]; an id below one is its whole path, such as database/creds/readonly.',
    ),
  namespace: mountPath().optional().describe('Namespace (Vault Enterprise, OpenBao).'),
  ca_file: filePath()
    .optional()
    .describe('CA certificates to trust for this server instead of the system’s.'),
});
type Options = z.output<typeof schema>;

/**
 * HashiCorp Vault, or OpenBao: the KV engine, where the id is a secret's path below the mount, and engines that make
 * secrets, where it is the whole path.
 */
class HashicorpVault implements Vault {
  readonly variables: readonly string[];
  readonly #options: Options;
  readonly #client: JsonClient;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #login: Login;
  readonly #leases: Leases;

  constructor(options: Options) {
    const { address, ca_file, namespace, auth } = options;
    this.#options = options;
    this.variables = authVariables(auth);
    this.#client = new JsonClient(address, ca_file);
    this.#headers = {
      'x-vault-request': 'true',
      ...(namespace !== undefined && { 'x-vault-namespace': namespace }),
    };
    this.#leases = new Leases((request, signal) => this.#call(request, signal));
    this.#login = new Login(auth, this.#client, this.#headers, {
      isHeld: () => this.#leases.any,
      lost: token => this.#leases.lost(token),
    });
  }

  watch(watcher: VaultWatcher): void {
    this.#leases.watcher = watcher;
  }

  isLeased(id: string): boolean {
    return this.#options.dynamic.some(mount => id.startsWith(`${mount}/`));
  }

  release(id: string, signal: AbortSignal): Promise<void> {
    return this.#leases.release(id, signal);
  }

  /** Leases first: some end with the login, others do not. */
  async close(signal: AbortSignal): Promise<void> {
    const leases = await Promise.allSettled([this.#leases.close(signal)]);
    await this.#login.close(signal);
    if (leases[0].status === 'rejected') throw leases[0].reason;
  }

  async read(ref: SecretRef, signal: AbortSignal, refused?: string): Promise<Secret> {
    const path = this.#pathOf(ref);
    try {
      if (this.isLeased(ref.id)) {
        const { fields, version } = await within(signal, this.#leases.read(ref.id, refused));
        return pick(ref, fields, version);
      }
      const { answer } = await this.#call({ method: 'GET', path }, signal);
      if (answer.status !== 200) throw this.#refused(answer);
      return this.#secretOf(ref, answer.body);
    } catch (error) {
      throw named(ref, error);
    }
  }

  /** A token that Vault no longer knows is replaced once. */
  async #call(
    request: Omit<JsonRequest, 'headers'>,
    signal: AbortSignal,
  ): Promise<{ answer: JsonAnswer; token: string }> {
    const token = await within(signal, this.#login.token());
    const answer = await this.#ask(request, token, signal);
    if (answer.status !== 403 || !(await within(signal, this.#login.isRejected(token))))
      return { answer, token };
    const next = await within(signal, this.#login.token());
    return { answer: await this.#ask(request, next, signal), token: next };
  }

  #ask(request: Omit<JsonRequest, 'headers'>, token: string, signal: AbortSignal): Promise<JsonAnswer> {
    const headers = { ...this.#headers, 'x-vault-token': token };
    return this.#client.send({ ...request, headers }, signal);
  }

  #pathOf(ref: SecretRef): string {
    const { mount, kv } = this.#options;
    const { version } = ref;
    const segments = ref.id.split('/');
    if (segments.some(segment => segment === '' || segment === '.' || segment === '..')) {
      throw new VaultError(
        'missing',
        `${show(ref)}: write the path below "${mount}" alone, such as ci/github`,
      );
    }
    if (version !== undefined && (kv === 1 || !/^[1-9]\d{0,8}$/.test(version))) {
      const advice =
        kv === 1 ? 'KV 1 has no versions; leave out "?version="' : 'write ?version= with a number';
      throw new VaultError('missing', `${show(ref)}: ${advice}`);
    }
    if (version !== undefined && this.isLeased(ref.id))
      throw new VaultError('missing', `${show(ref)}: a lease has no versions; leave out "?version="`);
    const base = kv === 1 ? `/v1/${mount}/` : `/v1/${mount}/data/`;
    return base + segments.map(encodeURIComponent).join('/') + (version ? `?version=${version}` : '');
  }

  #secretOf(ref: SecretRef, body: unknown): Secret {
    const { data } = asObject(body);
    if (this.#options.kv === 1) return pick(ref, data, undefined);
    const { data: fields, metadata } = asObject(data);
    const { version } = asObject(metadata);
    return pick(ref, fields, typeof version === 'number' ? String(version) : undefined);
  }

  #refused({ status, body }: JsonAnswer): VaultError {
    const { mount, kv } = this.#options;
    switch (status) {
      case 403: {
        const below = kv === 1 ? mount : `${mount}/data`;
        return new VaultError('missing', `Vault denies it (403); let the gate's policy read below ${below}/`);
      }
      case 404:
        return new VaultError(
          'missing',
          deleted(body) ?? 'there is no such secret; check path, "mount" and "kv"',
        );
      case 429:
        return new VaultError('unavailable', 'Vault is asked too often (429); raise its quota, or the ttl');
      case 472:
      case 473:
        return new VaultError(
          'unavailable',
          `it is a standby (${status}); write the address of the active node`,
        );
      case 503:
        return new VaultError('unavailable', 'Vault is sealed or in maintenance (503); unseal it');
      default:
        return new VaultError('unavailable', `Vault answered ${status}; check "mount", "kv" and its own log`);
    }
  }
}

/** A version of KV 2 that is gone answers 404 too, with its metadata. */
function deleted(body: unknown): string | undefined {
  const { metadata } = asObject(asObject(body)['data']);
  if (metadata === undefined) return undefined;
  const { destroyed } = asObject(metadata);
  return `this version was ${destroyed === true ? 'destroyed' : 'deleted'}; write the secret again, or name another version`;
}

/** The named field; without a name the only one. */
function pick(ref: SecretRef, fields: unknown, version: string | undefined): Secret {
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw new VaultError('missing', 'the answer holds no fields; check "mount" and "kv"');
  }
  const [first, ...more] = Object.keys(fields);
  const field = ref.field ?? (more.length === 0 ? first : undefined);
  if (field !== undefined) return fieldToSecret(ref, fields, field, version);
  throw new VaultError(
    'missing',
    `the secret has ${more.length + (first === undefined ? 0 : 1)} fields; name one with "#field"`,
  );
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export const hashicorpVault = define({
  type: 'hashicorp-vault',
  summary:
    'HashiCorp Vault or OpenBao; the id is a secret’s path below the KV mount, or the whole path of one that is made with a lease',
  schema,
  build: (options): Vault => new HashicorpVault(options),
});
