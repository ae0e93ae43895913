import type { STSClientConfig } from '@aws-sdk/client-sts';
import { VaultError } from './types.ts';

/** Variables that hold the gate's own AWS identity, or lead to it: no sandbox may inherit them. */
export const AWS_VARIABLES: readonly string[] = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_SECURITY_TOKEN',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
];

export const AWS_REGION = /^[a-z]{2,4}(-[a-z]+){1,3}-\d{1,2}$/;
export const ROLE_ARN = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\x21-\x7e]{1,512}$/;
/** sts:ExternalId */
export const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/;

/** The region of an option, else that of the gate's environment. */
export function awsRegion(written: string | undefined): string | undefined {
  const region = written ?? process.env['AWS_REGION'];
  return region !== undefined && AWS_REGION.test(region) ? region : undefined;
}

const MAX_BYTES = 1_048_576;
/** Of one try, so that one that hangs leaves time for the next. */
const TRY_MS = 4_000;
const CONNECT_MS = 2_000;
const TRIES = 4;
const MAX_SOCKETS = 8;
/** For the gate's own identity: less than what one read gets, so that its own fault is told. */
const IDENTITY_MS = 8_000;

/** Else the SDK writes warnings to the console. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/** How a client of the SDK tries, whatever variables and files say: its standard mode, with jitter. */
export const AWS_CLIENT = {
  maxAttempts: TRIES,
  retryMode: 'standard',
  // They could lead to plain http.
  ignoreConfiguredEndpointUrls: true,
  logger: SILENT,
  requestHandler: {
    connectionTimeout: CONNECT_MS,
    requestTimeout: TRY_MS,
    throwOnRequestTimeout: true,
    // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
    httpsAgent: { keepAlive: true, maxSockets: MAX_SOCKETS, rejectUnauthorized: true },
  },
} satisfies STSClientConfig;

export type AwsIdentity = Extract<NonNullable<STSClientConfig['credentials']>, Function>;

export interface IdentityOptions {
  readonly region: string;
  readonly profile?: string | undefined;
  readonly stsEndpoint?: string | undefined;
  /** Taken on with what the chain gives. */
  readonly roleArn?: string | undefined;
  readonly externalId?: string | undefined;
}

/**
 * Whoever the gate is to AWS: the SDK's default chain, of variables, profile, web identity (IRSA), container and instance
 * role. Its failures are VaultErrors.
 */
export async function awsIdentity(options: IdentityOptions): Promise<AwsIdentity> {
  const { region, profile, stsEndpoint, roleArn, externalId } = options;
  const { fromNodeProviderChain, fromTemporaryCredentials } = await import('@aws-sdk/credential-providers');
  const clientConfig = { ...AWS_CLIENT, region, ...(stsEndpoint !== undefined && { endpoint: stsEndpoint }) };
  const own = fromNodeProviderChain({
    clientConfig,
    logger: SILENT,
    // A file that was rotated is seen.
    ignoreCache: true,
    ...(profile !== undefined && { profile }),
  });
  const chain = told(own, 'the gate’s own AWS identity cannot be had', NO_IDENTITY);
  if (roleArn === undefined) return chain;
  const taken = fromTemporaryCredentials({
    masterCredentials: chain,
    params: {
      RoleArn: roleArn,
      RoleSessionName: 'stubgate',
      ...(externalId !== undefined && { ExternalId: externalId }),
    },
    clientConfig,
    logger: SILENT,
  });
  return told(taken, 'the role of "role_arn" cannot be assumed', NO_ROLE);
}

const NO_IDENTITY =
  'give the gate a web identity, a container or instance role, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';
const NO_ROLE =
  'let its trust policy name the gate’s identity (and "external_id"), and allow that one sts:AssumeRole';

function told(provider: AwsIdentity, what: string, advice: string): AwsIdentity {
  // Without what the SDK hands over of the client that asks: the one below it would send as that one does.
  return async () => {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new VaultError('unavailable', `${what} in time; check what it is asked from`)),
      IDENTITY_MS,
    );
    try {
      return await Promise.race([late, provider()]);
    } catch (thrown) {
      if (thrown instanceof VaultError) throw thrown;
      const fault = passingFault(thrown);
      if (fault) throw new VaultError('unavailable', `${what}: ${fault.message}`);
      throw new VaultError('unavailable', `${what}${codeIn(thrown)}; ${advice}`);
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Errors that say that the caller is nobody, by any spelling that an AWS service has for it. */
const UNKNOWN_CALLER: ReadonlySet<string> = new Set([
  'ExpiredToken',
  'RequestExpired',
  'InvalidClientTokenId',
  'UnrecognizedClient',
  'InvalidSignature',
  'SignatureDoesNotMatch',
  'IncompleteSignature',
  'MissingAuthenticationToken',
  'InvalidAccessKeyId',
  'AuthFailure',
]);
/** Errors that are told by name: what an answer calls its error may be anything. */
const TOLD: ReadonlySet<string> = new Set([
  ...UNKNOWN_CALLER,
  'AccessDenied',
  'CredentialsProviderError',
  'IDPRejectedClaim',
  'InvalidIdentityToken',
  'MalformedPolicyDocument',
  'PackedPolicyTooLarge',
  'RegionDisabled',
  'TokenProviderError',
  'ValidationError',
  'Validation',
]);
const THROTTLED = /^(Throttl\w*|TooManyRequests|RequestLimitExceeded|RequestThrottled\w*|SlowDown)$/;

const NETWORK = /^(ECONN[A-Z]+|EPIPE|EPROTO|E?TIMEDOUT|EAI_[A-Z]+|E(HOST|NET)[A-Z]+|ENOTFOUND)$/;
const TRUST = /^(?=[A-Z_]{1,60}$).*(CERT|SELF_SIGNED|ISSUER|SIGNATURE|TLS|SSL)/;

/** What an error of the SDK is called, without `Exception`: services differ; the empty text for what is none. */
export function nameOf(thrown: unknown): string {
  const { name } = (thrown ?? {}) as { name?: unknown };
  return typeof name === 'string' ? name.replace(/Exception$/, '') : '';
}

/** Whether AWS does not know who asks, or no longer: other keys may help. */
export function isUnknownCaller(thrown: unknown): boolean {
  return UNKNOWN_CALLER.has(nameOf(thrown));
}

/** ` (AccessDenied)`, or ` (403)`; nothing that an answer made up. */
export function codeIn(thrown: unknown): string {
  const name = nameOf(thrown);
  const status = statusOf(thrown);
  if (TOLD.has(name)) return ` (${name})`;
  return status === 0 ? '' : ` (${status})`;
}

/** What may pass by itself: throttling, a fault of the server or of the way there. Undefined: it is another error. */
export function passingFault(thrown: unknown): VaultError | undefined {
  const fault = (message: string) => new VaultError('unavailable', message);
  const name = nameOf(thrown);
  const status = statusOf(thrown);
  if (THROTTLED.test(name) || status === 429)
    return fault('AWS is asked too often; raise its quota, or the ttl of the credentials');
  const code = status === 0 ? ((thrown ?? {}) as { code?: unknown }).code : undefined;
  if (typeof code === 'string' && NETWORK.test(code))
    return fault(`AWS cannot be reached (${code}); check "region", "endpoint" and the network`);
  if (typeof code === 'string' && TRUST.test(code))
    return fault(
      `the server’s certificate is not trusted (${code}); check "endpoint", or add its CA with NODE_EXTRA_CA_CERTS`,
    );
  if (name === 'TimeoutError' || name === 'AbortError')
    return fault('there was no answer in time; check "region", "endpoint" and the network');
  if (name === 'IDPCommunicationError') return fault('AWS cannot reach the issuer of the token; try again');
  if (status >= 500) return fault(`AWS failed (${status}); try again, and look at its status page`);
  // Not an error that a service states.
  if (status >= 200 && status < 400)
    return fault(`the answer (${status}) is not that of AWS; check "endpoint"`);
  return undefined;
}

/** Of the answer; 0 if there was none. */
export function statusOf(thrown: unknown): number {
  const { $metadata, $response } = (thrown ?? {}) as {
    $metadata?: { httpStatusCode?: unknown };
    $response?: { statusCode?: unknown };
  };
  const status = $metadata?.httpStatusCode ?? $response?.statusCode;
  return typeof status === 'number' ? status : 0;
}

/** The body of an answer, whole and bounded: the SDK itself would take any amount. */
export async function bounded(body: unknown): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_BYTES)
      throw new VaultError('unavailable', `the answer is larger than ${MAX_BYTES} bytes; check "endpoint"`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
