/**
 * Every reason why the gate refuses, in one table: what the sandbox reads (contract, section 3).
 * `README.md` shows the same table; a test compares the two.
 */
interface Row {
  readonly status: number;
  readonly message: string;
  readonly hint: string;
}

const row = (status: number, message: string, hint: string): Row => ({ status, message, hint });

export const REASONS = {
  no_rule: row(403, 'No rule allows this request', 'Ask your operator to allow it'),
  rule_denies: row(403, 'A rule denies this request', 'Ask your operator about that rule'),
  stub_misplaced: row(
    403,
    'A stub stands where it does not belong',
    'Send it only to the host, and at the place, that it was issued for',
  ),
  stub_missing: row(
    403,
    'The stub that this rule requires is missing',
    'Send the stub from your environment at its place',
  ),
  foreign_credential: row(
    403,
    'A credential that is not the session’s stub stands where the gate injects one',
    'Use the stub from your environment',
  ),
  invalid_signature: row(
    403,
    'The AWS signature is not right',
    'Sign the request with the keys from your environment, as an AWS SDK does',
  ),
  secret_in_request: row(
    403,
    'The request holds a real credential',
    'A sandbox must not hold one: tell your operator',
  ),
  forbidden_address: row(
    403,
    'The host resolves to an address that may not be dialled',
    'Ask your operator about upstream.allow_private',
  ),
  unauthenticated: row(
    407,
    'No or wrong session token',
    'Set HTTPS_PROXY to the value that the session was created with',
  ),
  session_expired: row(407, 'The session has expired', 'Create a new session'),
  session_revoked: row(407, 'The session was revoked', 'Ask your operator'),
  host_mismatch: row(
    400,
    'Host, :authority or SNI differs from the host that was asked for',
    'Send the request to the host of its own tunnel',
  ),
  ambiguous_path: row(
    400,
    'The path can be read in more than one way',
    'Send a path without dot segments, backslashes or control characters',
  ),
  malformed_request: row(400, 'The request is not strict HTTP (RFC 9112, RFC 9113)', 'Mend the client'),
  request_timeout: row(408, 'The request took too long to arrive', 'Send it faster'),
  body_too_large: row(
    413,
    'The request body is too large for this rule',
    'Send less, or ask your operator for a higher limit',
  ),
  uri_too_long: row(414, 'The request target is too long', 'Send a shorter URL'),
  head_too_large: row(431, 'The request head is too large', 'Send fewer or shorter headers'),
  rate_limited: row(429, 'A limit of this session is reached', 'Wait, then try again'),
  upgrade_refused: row(
    501,
    'This gate carries no protocol upgrade but WebSocket',
    'Use plain requests, or a WebSocket',
  ),
  internal_error: row(500, 'The gate failed', 'Tell your operator the request_id'),
  dns_failure: row(502, 'The host name does not resolve', 'Check the name'),
  upstream_unreachable: row(502, 'The upstream cannot be reached', 'Try again later'),
  upstream_tls: row(
    502,
    'The upstream could not prove who it is',
    'Tell your operator: upstream.ca_file may be missing its CA',
  ),
  upstream_malformed: row(
    502,
    'The upstream did not answer in strict HTTP (RFC 9112, RFC 9113)',
    'Tell the owner of the upstream',
  ),
  undecodable_response: row(
    502,
    'The response is in a coding that cannot be searched for secrets',
    'Ask for gzip, deflate, br, zstd or identity',
  ),
  capture_failed: row(
    502,
    'The response should hand out a credential, and the gate cannot take it out',
    'Ask your operator about `capture` of this rule',
  ),
  credential_unavailable: row(
    503,
    'The credential cannot be fetched',
    'Try again later; your operator sees the cause',
  ),
  state_unavailable: row(
    503,
    'The session cannot be checked',
    'Try again later; your operator sees the cause',
  ),
  audit_unavailable: row(503, 'The audit cannot be written', 'Try again later; your operator sees the cause'),
  shutting_down: row(503, 'The gate is shutting down', 'Try again'),
  upstream_timeout: row(504, 'The upstream took too long', 'Try again later'),
} as const satisfies Record<string, Row>;

export type Reason = keyof typeof REASONS;

export interface RefusalDetail {
  /** Replaces the table's message. It reaches the sandbox: no secret, no internal cause. */
  message?: string;
  /** Replaces the table's hint. It reaches the sandbox. */
  hint?: string;
  /** What really happened: goes to the log, never to the sandbox. */
  cause?: unknown;
  /** Until it may be tried again. */
  retryAfterMs?: number;
}

/** A request that is refused. Any room may throw it. */
export class Refusal extends Error {
  readonly code: Reason;
  readonly hint: string;
  /** `Retry-After` in seconds, 1 or more (RFC 9110, section 10.2.3); undefined: nobody knows. */
  readonly retryAfter: number | undefined;

  constructor(code: Reason, detail: RefusalDetail = {}) {
    super(detail.message ?? REASONS[code].message, { cause: detail.cause });
    this.name = 'Refusal';
    this.code = code;
    this.hint = detail.hint ?? REASONS[code].hint;
    const { retryAfterMs = this.status === 429 ? 0 : undefined } = detail;
    this.retryAfter = retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000));
  }

  get status(): number {
    return REASONS[this.code].status;
  }

  /** The answer's JSON body (contract, section 3). */
  body(requestId: string): string {
    const error = { code: this.code, message: this.message, hint: this.hint, request_id: requestId };
    return `${JSON.stringify({ error })}\n`;
  }
}

/** Whatever was thrown, as a refusal: what is not one becomes `internal_error` and keeps its cause for the log. */
export function asRefusal(thrown: unknown): Refusal {
  return thrown instanceof Refusal ? thrown : new Refusal('internal_error', { cause: thrown });
}

/** Why a body cannot be read. Neither text holds anything that stands in it. */
export class BodyFault extends Error {
  /** What to send instead; empty for an answer's. */
  readonly hint: string;

  /** `message` follows "The body", such as `is not JSON (RFC 8259)`. */
  constructor(message: string, hint: string) {
    super(message);
    this.name = 'BodyFault';
    this.hint = hint;
  }
}
