import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

/** Every refusal of the control plane: status, message, hint. */
const REFUSALS = {
  unauthenticated: [
    401,
    'No or wrong admin token',
    'Send "Authorization: Bearer <content of <ca.dir>/admin-token>"',
  ],
  from_a_browser: [403, 'The control plane does not serve web pages', 'Call it from a program'],
  unknown_host: [
    403,
    'The Host header names neither an IP address, nor localhost, nor the listener',
    'Call the listener by its address',
  ],
  not_found: [404, 'No such resource', 'See "stubgate --help"'],
  method_not_allowed: [405, 'The resource does not take this method', 'See the Allow header'],
  invalid_request: [400, 'The request body is not valid', 'See "stubgate session create --help"'],
  body_too_large: [413, 'The request body is larger than 64 KB', 'Send less'],
  length_required: [411, 'The length of the body is not told', 'Send content-length, not chunks'],
  not_json: [415, 'The body is not declared as JSON', 'Send "content-type: application/json"'],
  too_many_sessions: [429, 'Too many sessions are live', 'Revoke some, or give them a shorter ttl'],
  too_many_watchers: [429, 'Too many clients watch the events', 'Close one, then try again'],
  state_unavailable: [503, 'Redis does not answer', 'Try again; /readyz tells when it does'],
  internal_error: [500, 'The gate failed', 'See its log'],
} as const satisfies Record<string, readonly [ContentfulStatusCode, string, string]>;

/** In the shape that the sandbox's refusals have too. */
export function refuse(c: Context, code: keyof typeof REFUSALS, detail?: string): Response {
  const [status, message, hint] = REFUSALS[code];
  if (status === 401) c.header('www-authenticate', 'Bearer');
  return c.json({ error: { code, message: detail ?? message, hint } }, status);
}
