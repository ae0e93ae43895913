import { randomUUID, verify, X509Certificate } from 'node:crypto';
import type http from 'node:http';
import { canary } from '../canary.ts';
import { type HttpUpstream, type Received, startHttp } from '../upstream.ts';
import { answer } from './vault.ts';

export const TENANT = '11111111-2222-3333-4444-555555555555';
export const CLIENT = '66666666-7777-8888-9999-000000000000';
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export interface AzureSecret {
  readonly version: string;
  readonly value: string;
  readonly enabled?: boolean;
}

export interface AzureSetup {
  /** Name → versions, the newest last. */
  secrets: Record<string, AzureSecret[]>;
  /** What the application may log in with. */
  clientSecret?: string;
  federatedToken?: string;
  /** PEM. */
  certificate?: string;
  /** Resource of the challenge. */
  resource?: string;
  /** Tenant of the challenge. */
  tenant?: string;
}

export interface Azure extends HttpUpstream, AzureSetup {
  /** Also the authority. */
  readonly url: string;
  /** Tokens that the vault takes. */
  readonly tokens: Set<string>;
  /** Seconds that a token lives. */
  life: number;
  /** Answers by itself, if it returns true. */
  fault: ((request: Received, response: http.ServerResponse) => boolean) | undefined;
  /** Method and path of the requests so far, those alone whose path holds `part`. */
  asked(part?: string): string[];
}

type Json = Readonly<Record<string, unknown>>;

/** A key vault and the authority that its challenge names, as one server with TLS on 127.0.0.1. */
export async function startAzure(setup: AzureSetup): Promise<Azure> {
  const upstream = await startHttp({ hosts: ['127.0.0.1'] }, (request, response) => {
    if (azure.fault?.(request, response)) return;
    const { pathname, searchParams } = new URL(request.url, azure.url);
    if (pathname.startsWith('/secrets/')) return secret(azure, request, response, pathname, searchParams);
    if (pathname === `/${TENANT}/v2.0/.well-known/openid-configuration` && request.method === 'GET')
      return answer(response, 200, openIdConfiguration(azure.url));
    if (pathname === `/${TENANT}/oauth2/v2.0/token` && request.method === 'POST')
      return token(azure, request, response);
    answer(response, 404, { error: 'not_found', error_description: `no route ${request.url}` });
  });
  const azure: Azure = Object.assign(upstream, setup, {
    url: `https://${upstream.address}`,
    tokens: new Set<string>(),
    life: 3600,
    fault: undefined,
    asked: (part = '') =>
      upstream.requests
        .map(({ method, url }) => `${method} ${url.replace(/\?.*/, '')}`)
        .filter(line => line.includes(part)),
  });
  return azure;
}

/** RFC 8414, as Entra has it. */
function openIdConfiguration(url: string): Json {
  return {
    token_endpoint: `${url}/${TENANT}/oauth2/v2.0/token`,
    authorization_endpoint: `${url}/${TENANT}/oauth2/v2.0/authorize`,
    jwks_uri: `${url}/${TENANT}/discovery/v2.0/keys`,
    issuer: `${url}/${TENANT}/v2.0`,
    response_types_supported: ['code'],
  };
}

function secret(
  azure: Azure,
  { method, headers, body }: Received,
  response: http.ServerResponse,
  pathname: string,
  query: URLSearchParams,
): void {
  const sent = /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1] ?? '';
  if (!azure.tokens.has(sent)) {
    const tenant = azure.tenant ?? TENANT;
    const resource = azure.resource ?? 'https://vault.azure.net';
    response.setHeader(
      'www-authenticate',
      `Bearer authorization="${azure.url}/${tenant}", resource="${resource}"`,
    );
    return fail(response, 401, 'Unauthorized', `AKV10000: Request is missing a Bearer or PoP token ${sent}`);
  }
  if (method !== 'GET' || body.length > 0) return fail(response, 405, 'MethodNotAllowed', 'GET only');
  if (!/^(7\.\d|20\d\d-\d\d-\d\d)$/.test(query.get('api-version') ?? ''))
    return fail(response, 400, 'BadParameter', 'api-version');
  const [, , name = '', wanted = '', ...more] = pathname.split('/');
  const versions = azure.secrets[name] ?? [];
  const found = wanted === '' ? versions.at(-1) : versions.find(({ version }) => version === wanted);
  if (!found || more.length > 0) return fail(response, 404, 'SecretNotFound', `${name} was not found`);
  if (found.enabled === false)
    return fail(response, 403, 'Forbidden', 'Operation get is not allowed on a disabled secret.', {
      code: 'SecretDisabled',
    });
  answer(response, 200, {
    value: found.value,
    id: `${azure.url}/secrets/${name}/${found.version}`,
    attributes: { enabled: true, created: 1_700_000_000, updated: 1_700_000_000, recoveryLevel: 'Purgeable' },
    tags: {},
  });
}

/** As Key Vault says it, with a text that quotes. */
export function fail(
  response: http.ServerResponse,
  status: number,
  code: string,
  message: string,
  inner?: Json,
): void {
  answer(response, status, {
    error: { code, message: `${message} sesame`, ...(inner && { innererror: inner }) },
  });
}

function token(azure: Azure, { headers, body }: Received, response: http.ServerResponse): void {
  const form = Object.fromEntries(new URLSearchParams(body.toString()));
  const refuse = (error: string, number: number) =>
    answer(response, 401, {
      error,
      error_description: `AADSTS${number}: no: ${body.toString()} Trace ID: x`,
      error_codes: [number],
    });
  if (!headers['content-type']?.startsWith('application/x-www-form-urlencoded'))
    return refuse('invalid_request', 900144);
  if (form['grant_type'] !== 'client_credentials') return refuse('unsupported_grant_type', 70003);
  if (form['client_id'] !== CLIENT) return refuse('unauthorized_client', 700016);
  if (!/^https:\/\/\S+\/\.default( |$)/.test(form['scope'] ?? '')) return refuse('invalid_scope', 70011);
  const fault = proofFault(azure, form);
  if (fault !== undefined) return refuse('invalid_client', fault);
  grant(azure, response, { token_type: 'Bearer' });
}

function grant(azure: Azure, response: http.ServerResponse, more: Json): void {
  const value = canary('eyJ.');
  azure.tokens.add(value);
  answer(response, 200, {
    expires_in: azure.life,
    ext_expires_in: azure.life,
    ...more,
    access_token: value,
  });
}

/** AADSTS number. */
function proofFault(azure: Azure, form: Readonly<Record<string, string>>): number | undefined {
  const { client_secret: secretText, client_assertion: assertion = '', client_assertion_type: type } = form;
  if (secretText !== undefined) return secretText === azure.clientSecret ? undefined : 7_000_215;
  if (type !== ASSERTION) return 7_000_216;
  if (azure.federatedToken !== undefined) return assertion === azure.federatedToken ? undefined : 700_213;
  return certificateFault(azure, assertion);
}

function certificateFault(azure: Azure, assertion: string): number | undefined {
  if (azure.certificate === undefined) return 700_027;
  const certificate = new X509Certificate(azure.certificate);
  const [header = '', claims = '', signature = ''] = assertion.split('.');
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Json;
  const { alg, x5t, 'x5t#S256': x5t256 } = read(header);
  const { iss, sub, aud, exp } = read(claims);
  const prints = [certificate.fingerprint, certificate.fingerprint256].map(hex =>
    Buffer.from(hex.replaceAll(':', ''), 'hex').toString('base64url'),
  );
  if (x5t !== prints[0] && x5t256 !== prints[1]) return 700_027;
  const pss = alg === 'PS256' ? { padding: 6, saltLength: 32 } : {};
  const key = { key: certificate.publicKey, ...pss };
  if (!verify('sha256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url')))
    return 700_027;
  if (iss !== CLIENT || sub !== CLIENT || !String(aud).startsWith(`${azure.url}/${TENANT}`)) return 700_024;
  return Number(exp) * 1000 > Date.now() ? undefined : 700_024;
}

/** The metadata that a virtual machine (`imds`) or an App Service (`app-service`) has on plain http. */
export async function startMachine(azure: Azure, identities: readonly string[]): Promise<HttpUpstream> {
  return startHttp({}, ({ method, url, headers }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://machine');
    const isImds =
      /^\/metadata\/identity\/oauth2\/token\/?$/.test(pathname) && headers['metadata'] === 'true';
    const isApp = /^\/msi\/token\/?$/.test(pathname) && headers['x-identity-header'] === 'sesame-header';
    const version = isImds ? '2018-02-01' : '2019-08-01';
    if (method !== 'GET' || !(isImds || isApp) || searchParams.get('api-version') !== version)
      return answer(response, 400, { error: 'invalid_request', error_description: `no: ${url}` });
    const asked = searchParams.get('client_id');
    if (
      (asked !== null && !identities.includes(asked)) ||
      searchParams.get('resource') !== 'https://vault.azure.net'
    )
      return answer(response, 400, { error: 'invalid_request', error_description: 'Identity not found' });
    const end = Math.floor(Date.now() / 1000) + azure.life;
    grant(azure, response, {
      client_id: randomUUID(),
      expires_on: String(end),
      resource: 'https://vault.azure.net',
      token_type: 'Bearer',
    });
  });
}
