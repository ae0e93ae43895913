import type { SecretClient } from '@azure/keyvault-secrets';
import { z } from 'zod';
import { define } from '../../registry.ts';
import type { Secret } from '../../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../../types.ts';
import { within } from '../at-most.ts';
import { named, toSecret } from '../field.ts';
import { filePath, serverAddress } from '../source.ts';
import { Transport } from '../transport.ts';
import { type Auth, authSchema, type Proof, prove, variablesOf } from './auth.ts';
import { clientOptions, type Seen, witness } from './http.ts';
import { isAzureVault, logIn } from './login.ts';

const NAME = /^[0-9A-Za-z-]{1,127}$/;
const VERSION = /^[0-9A-Za-z]{1,64}$/;

const https = () =>
  serverAddress().refine(
    text => text.startsWith('https:'),
    'is not https, which Azure’s SDK needs; write https://',
  );

const schema = z.strictObject({
  vault_url: https().describe('`https://NAME.vault.azure.net`, or that of another cloud.'),
  auth: authSchema.prefault({ method: 'ambient' }),
  authority: https()
    .optional()
    .describe('Where the gate logs in, for other clouds; default https://login.microsoftonline.com.'),
  ca_file: filePath()
    .optional()
    .describe('CA certificates to trust for vault and authority besides the system’s.'),
});
type Options = z.output<typeof schema>;

interface Opened {
  readonly key: string;
  readonly client: Promise<SecretClient>;
}

/** Secrets of one Azure Key Vault; the id is the name of one. */
class AzureKeyVault implements Vault {
  readonly variables: readonly string[];
  readonly #url: URL;
  readonly #auth: Auth;
  readonly #authority: string | undefined;
  readonly #transport: Transport;
  #opened: Opened | undefined;

  constructor({ vault_url: url, auth, authority, ca_file: caFile }: Options) {
    this.variables = variablesOf(auth);
    this.#url = new URL(url);
    this.#auth = auth;
    this.#authority = authority;
    this.#transport = new Transport(caFile);
  }

  async read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    try {
      return await this.#read(ref, signal);
    } catch (error) {
      throw named(ref, error);
    }
  }

  async #read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    const { id: name, version } = ref;
    if (!NAME.test(name))
      throw new VaultError('missing', 'is not the name of a secret; write letters, digits and "-" alone');
    if (version !== undefined && !VERSION.test(version))
      throw new VaultError('missing', 'is not a version; write the id that Key Vault shows, or none');
    const proof = await prove(this.#auth);
    const before = this.#open(proof);
    const found = await within(signal, this.#get(before, name, version, signal)).catch((error: unknown) => {
      // The token may have been revoked, which only a new login can tell.
      if (!(error instanceof TokenRefused)) throw error;
      if (this.#opened === before) this.#opened = undefined;
      return within(signal, this.#get(this.#open(proof), name, version, signal));
    });
    const { version: current = '' } = found.properties;
    if (typeof found.value === 'string')
      return toSecret(ref, found.value, VERSION.test(current) ? current : undefined);
    throw new VaultError('unavailable', 'the answer holds no value; check that "vault_url" is a key vault');
  }

  async #get({ client }: Opened, name: string, version: string | undefined, abortSignal: AbortSignal) {
    const seen: Seen = {};
    try {
      const opened = await client;
      const options = { ...(version !== undefined && { version }), abortSignal };
      return await witness.run(seen, () => opened.getSecret(name, options));
    } catch (error) {
      if (error instanceof VaultError) throw error;
      throw faultOf(seen);
    }
  }

  /** One login for as long as what the gate proves itself with stays. */
  #open(proof: Proof): Opened {
    if (this.#opened?.key === proof.key) return this.#opened;
    const opened: Opened = { key: proof.key, client: this.#connect(proof) };
    // What could not be opened is tried anew.
    opened.client.catch(() => {
      if (this.#opened === opened) this.#opened = undefined;
    });
    this.#opened = opened;
    return opened;
  }

  async #connect(proof: Proof): Promise<SecretClient> {
    const { SecretClient: Client } = await import('@azure/keyvault-secrets');
    const [vaultUrl, transport] = [this.#url, this.#transport];
    const login = { auth: this.#auth, authority: this.#authority, vaultUrl, transport };
    return new Client(vaultUrl.origin, await logIn(proof, login), {
      ...clientOptions(transport),
      disableChallengeResourceVerification: !isAzureVault(vaultUrl.hostname),
    });
  }
}

/** The login's token is no good, or no longer. */
class TokenRefused extends VaultError {}

const REASONS: Readonly<Record<string, string>> = {
  SecretDisabled: 'the secret is disabled; enable it, or name another version',
  ForbiddenByRbac: 'the gate’s identity may not read it; give it the role "Key Vault Secrets User"',
  AccessDenied: 'the gate’s identity may not read it; give it "get" for secrets in the access policy',
  ForbiddenByPolicy: 'the gate’s identity may not read it; give it "get" for secrets in the access policy',
  ForbiddenByFirewall: 'the vault’s firewall refuses this machine; allow its network',
  ForbiddenByConnection: 'the vault takes private connections alone; reach it by its private endpoint',
};

function faultOf({ fault, answer }: Seen): VaultError {
  if (fault) return fault;
  const { status = 0, text = '' } = answer ?? {};
  switch (status) {
    case 0:
    case 200:
    case 204:
      return new VaultError(
        'unavailable',
        'the answer is not one of a key vault; check that "vault_url" is the address of one',
      );
    case 400:
      return new VaultError('missing', 'Key Vault refuses the name or the version (400); check both');
    case 401:
      return new TokenRefused(
        'missing',
        'Key Vault refuses the login’s token (401); check that the vault is in the identity’s tenant',
      );
    case 403: {
      const reason = reasonOf(text);
      const advice =
        REASONS[reason] ?? 'give the gate’s identity the role "Key Vault Secrets User", or "get" for secrets';
      return new VaultError('missing', `Key Vault denies it (403${reason && `, ${reason}`}); ${advice}`);
    }
    case 404:
      return new VaultError(
        'missing',
        'there is no such secret or version (404); check name and "vault_url"',
      );
    case 429:
      return new VaultError('unavailable', 'Key Vault throttles (429); raise the ttl of its credentials');
    default:
      return new VaultError('unavailable', `Key Vault answered ${status}; check "vault_url", and try later`);
  }
}

/** A word of Key Vault's that is known here; any other text of an answer may quote what was sent. */
function reasonOf(text: string): string {
  let body: { error?: { code?: unknown; innererror?: { code?: unknown } } } | null;
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    return '';
  }
  const code = body?.error?.innererror?.code ?? body?.error?.code;
  return typeof code === 'string' && Object.hasOwn(REASONS, code) ? code : '';
}

export const azureKeyVault = define({
  type: 'azure-key-vault',
  summary: 'Azure Key Vault; the id is the name of a secret',
  schema,
  build: (options): Vault => new AzureKeyVault(options),
});
