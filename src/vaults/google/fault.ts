import { VaultError } from '../../types.ts';

/** Status codes of gRPC (grpc.github.io/grpc/core/md_doc_statuscodes.html). */
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

const PASSING: ReadonlySet<unknown> = new Set([DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE]);

interface CallError {
  readonly code?: unknown;
  readonly details?: unknown;
  /** google.rpc.ErrorInfo */
  readonly reason?: unknown;
  readonly statusDetails?: unknown;
}

const asCallError = (error: unknown): CallError => error ?? {};

/** Whether a later try may get another answer. A certificate that is not trusted does not pass. */
export function isPassing(error: unknown): boolean {
  return PASSING.has(asCallError(error).code) && !isTrust(error);
}

export function isRefused(error: unknown): boolean {
  return asCallError(error).code === UNAUTHENTICATED;
}

/** Seconds that the server asks for (google.rpc.RetryInfo). */
export function retryAfter(error: unknown): string | undefined {
  const { statusDetails } = asCallError(error);
  for (const detail of Array.isArray(statusDetails) ? (statusDetails as unknown[]) : []) {
    const { retryDelay } = (detail ?? {}) as { retryDelay?: { seconds?: unknown; nanos?: unknown } };
    const seconds = Number(retryDelay?.seconds ?? 0) + Number(retryDelay?.nanos ?? 0) / 1e9;
    if (seconds > 0) return String(Math.ceil(seconds));
  }
  return undefined;
}

function isTrust(error: unknown): boolean {
  const { details } = asCallError(error);
  return typeof details === 'string' && /certificate|self.signed|altnames|issuer/i.test(details);
}

/** A call that failed, in words of our own: the SDK's may quote what was sent. */
export function callFault(error: unknown): VaultError {
  const { code, reason } = asCallError(error);
  switch (code) {
    case INVALID_ARGUMENT:
      return new VaultError('missing', 'Secret Manager refuses the name (INVALID_ARGUMENT); check the ref');
    case NOT_FOUND:
      return new VaultError(
        'missing',
        'there is no such secret or version (NOT_FOUND); check project, name and version',
      );
    case PERMISSION_DENIED:
      return denied(reason);
    case FAILED_PRECONDITION:
      return new VaultError(
        'missing',
        'the version is disabled or destroyed (FAILED_PRECONDITION); enable it, or name another one',
      );
    case RESOURCE_EXHAUSTED:
      return new VaultError(
        'unavailable',
        'Secret Manager throttles (RESOURCE_EXHAUSTED); raise the ttl of its credentials, or the quota',
      );
    case UNAUTHENTICATED:
      return new VaultError(
        'missing',
        'Google refuses the gate’s login (UNAUTHENTICATED); check that its key or identity still exists, and the time',
      );
    case DEADLINE_EXCEEDED:
      return new VaultError('unavailable', 'there was no answer in time; check "endpoint", and try later');
    case UNAVAILABLE:
      return unreachable(isTrust(error));
    default:
      return new VaultError(
        'unavailable',
        `Secret Manager failed (${typeof code === 'number' ? `gRPC status ${code}` : 'no status'}); check "endpoint"`,
      );
  }
}

function denied(reason: unknown): VaultError {
  if (reason === 'SERVICE_DISABLED')
    return new VaultError(
      'missing',
      'the Secret Manager API is not enabled in the project (SERVICE_DISABLED); enable it',
    );
  return new VaultError(
    'missing',
    'the gate’s identity may not read it (PERMISSION_DENIED); grant it roles/secretmanager.secretAccessor, and check the project',
  );
}

function unreachable(isTrustFault: boolean): VaultError {
  const advice = isTrustFault
    ? 'its certificate is not trusted: check "endpoint", or name its CA in "ca_file"'
    : 'check "endpoint", and that it can be reached from here';
  return new VaultError('unavailable', `Secret Manager cannot be reached (UNAVAILABLE); ${advice}`);
}
