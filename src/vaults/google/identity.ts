import { z } from 'zod';
import { define } from '../../registry.ts';
import { Secret } from '../../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../../types.ts';
import { named, show } from '../field.ts';
import { Transport } from '../transport.ts';
import { metadata } from './metadata.ts';

const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** Identity tokens of the machine's own service account on Google Cloud; the id is the audience. */
class GcpIdentity implements Vault {
  readonly #transport = new Transport(undefined);

  async read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    try {
      return await this.#read(ref, signal);
    } catch (error) {
      throw named(ref, error);
    }
  }

  async #read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    const { id: audience, version, field } = ref;
    if (version !== undefined || field !== undefined)
      throw new VaultError(
        'missing',
        'an identity token has no versions and fields; write the audience alone',
      );
    if (!/^[\x21-\x7e]{1,1024}$/.test(audience))
      throw new VaultError(
        'missing',
        'is not an audience; write printable ASCII, such as https://api.example.com',
      );
    const path = `identity?audience=${encodeURIComponent(audience)}&format=full`;
    const token = (await metadata(this.#transport, path, signal)).trim();
    const { aud, exp } = JWT.test(token) ? claimsOf(token) : {};
    if (aud !== audience || typeof exp !== 'number')
      throw new VaultError('unavailable', 'the metadata server gave no token for this audience');
    if (exp * 1000 <= Date.now())
      throw new VaultError('unavailable', 'the token has ended already; check the time of this machine');
    return new Secret(
      show(ref),
      token,
      `expires ${new Date(exp * 1000).toISOString().replace(/\.\d+Z$/, 'Z')}`,
    );
  }
}

function claimsOf(token: string): { aud?: unknown; exp?: unknown } {
  try {
    const value: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

export const gcpIdentity = define({
  type: 'gcp-identity',
  summary: 'Identity tokens of the gate’s own machine on Google Cloud; the id is the audience',
  schema: z.strictObject({}),
  build: (): Vault => new GcpIdentity(),
});
