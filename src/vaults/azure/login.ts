import type { AccessToken, GetTokenOptions, TokenCredential } from '@azure/identity';
import { VaultError } from '../../types.ts';
import type { Transport } from '../transport.ts';
import type { Auth, Proof } from './auth.ts';
import { clientOptions, type Seen, witness } from './http.ts';

const OWN_CLOUDS = new Set([
  'login.microsoftonline.com',
  'login.microsoftonline.us',
  'login.partner.microsoftonline.cn',
  'login.chinacloudapi.cn',
]);
/** Resources that a vault may ask a token for; any other must be its own domain. */
const RESOURCES = new Set([
  'vault.azure.net',
  'vault.azure.cn',
  'vault.usgovcloudapi.net',
  'managedhsm.azure.net',
  'managedhsm.azure.cn',
  'managedhsm.usgovcloudapi.net',
]);

/** Whether the SDK can tell by the vault's name that its challenge is Azure's. */
export const isAzureVault = (host: string): boolean =>
  [...RESOURCES].some(resource => host.endsWith(`.${resource}`));

export interface LoginOptions {
  readonly auth: Auth;
  readonly authority: string | undefined;
  readonly vaultUrl: URL;
  readonly transport: Transport;
}

/**
 * A login that gives tokens for key vaults alone, to who may have them: the vault's own answer names tenant and resource,
 * and may be anybody's. Its `getToken` throws VaultError.
 */
export async function logIn(proof: Proof, options: LoginOptions): Promise<TokenCredential> {
  const { auth, vaultUrl, transport } = options;
  const authority = options.authority ?? process.env['AZURE_AUTHORITY_HOST'];
  const inner = await proof.open({
    ...clientOptions(transport),
    ...(authority !== undefined && { authorityHost: authority }),
    // Microsoft's own are looked up there; any other is the operator's word.
    ...(authority !== undefined &&
      !OWN_CLOUDS.has(URL.parse(authority)?.hostname ?? '') && { disableInstanceDiscovery: true }),
  });
  const get = async (scopes: string | string[], rest: GetTokenOptions): Promise<AccessToken | null> => {
    const seen: Seen = {};
    try {
      return await witness.run(seen, () => inner.getToken(scopes, rest));
    } catch {
      throw refused(auth, seen);
    }
  };
  const inFlight = new Map<string, Promise<AccessToken | null>>();
  return {
    getToken: async (scopes, { tenantId: asked, claims, enableCae } = {}) => {
      requireOwn(vaultUrl, scopes);
      if (
        proof.tenant !== undefined &&
        asked !== undefined &&
        asked.toLowerCase() !== proof.tenant.toLowerCase()
      )
        throw new VaultError(
          'missing',
          "the vault belongs to another tenant than the gate's identity; write that tenant and an identity of it",
        );
      const key = JSON.stringify([scopes, claims]);
      const options = {
        ...(claims !== undefined && { claims }),
        ...(enableCae !== undefined && { enableCae }),
      };
      // One login however many ask, which no caller's abort ends.
      const login = inFlight.get(key) ?? get(scopes, options).finally(() => inFlight.delete(key));
      inFlight.set(key, login);
      return login;
    },
  };
}

function requireOwn(vaultUrl: URL, scopes: string | readonly string[]): void {
  for (const scope of [scopes].flat()) {
    const host = URL.parse(scope)?.hostname ?? '';
    if (RESOURCES.has(host) || (host !== '' && vaultUrl.hostname.endsWith(`.${host}`))) continue;
    throw new VaultError(
      'missing',
      'the vault asks for a token that is not for key vaults; check that "vault_url" is that of a key vault',
    );
  }
}

/** Entra's own numbers (learn.microsoft.com/entra/identity-platform/reference-error-codes). */
const ADVICE: Readonly<Record<string, string>> = {
  '7000215': 'the client secret is wrong; store the value of the secret, not its id',
  '7000222': 'the client secret has expired; make a new one',
  '7000216': 'the application needs a secret or a certificate; give it one',
  '700016': 'the application is not in this tenant; check client_id and tenant',
  '90002': 'there is no such tenant; check tenant and "authority"',
  '700027': 'the certificate is not one of the application; upload it',
  '70021': 'no federated credential of the application fits; check its issuer, subject and audience',
  '700211': 'no federated credential of the application has this issuer; check it',
  '700213':
    'no federated credential of the application has this subject; check service account and namespace',
  '700024': 'the token or the clock is wrong; check the time of this machine',
  '500011': 'the tenant knows no key vault service; check "authority"',
};

function refused({ method }: Auth, { fault, answer }: Seen): VaultError {
  if (fault) return new VaultError(fault.kind, `the login with ${method}: ${fault.message}`);
  if (!answer)
    return new VaultError(
      'unavailable',
      `the login with ${method} could not begin; check that its files can be read, and its ids`,
    );
  const { status, text } = answer;
  const number = /AADSTS(\d{5,7})\b/.exec(text)?.[1];
  const said = number === undefined ? String(status) : `${status}, AADSTS${number}`;
  const isPassing = status === 429 || status >= 500;
  const advice =
    ADVICE[number ?? ''] ??
    (isPassing
      ? 'try again later'
      : method === 'managed-identity' || method === 'ambient'
        ? 'check that an identity is assigned to this machine, and client_id'
        : 'check tenant, client_id and what the gate logs in with');
  return new VaultError(
    isPassing || number === undefined ? 'unavailable' : 'missing',
    `the login with ${method} was refused (${said}); ${advice}`,
  );
}
