import { type Answer, malformed, refused } from './http.ts';

/** RFC 6749, section 5.2, and RFC 8693, section 2.2.2; any other text of an answer may quote what was sent. */
const ERRORS: ReadonlySet<unknown> = new Set([
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'invalid_target',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
]);

/** Throws VaultError unless the token endpoint gave what was asked for. */
export function requireGranted(url: URL, { status, body }: Answer): void {
  if (status < 400) return;
  throw refused(url, status, ERRORS.has(body['error']) ? (body['error'] as string) : undefined);
}

/** ms. `expires_in` is a number of seconds; some servers write it as text. */
export function lifetime(url: URL, seconds: unknown, otherwise: number): number {
  if (seconds === undefined) return otherwise;
  const isNumber = typeof seconds === 'number' || (typeof seconds === 'string' && /^\d{1,10}$/.test(seconds));
  if (isNumber && Number(seconds) > 0) return Number(seconds) * 1000;
  throw malformed(url, 'has no usable "expires_in"');
}
