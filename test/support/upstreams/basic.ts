import type { Received } from '../upstream.ts';

/** `user:password` of a request's Basic credential (RFC 7617), if there is one. */
export function basicOf(request: Received): string | undefined {
  const match = /^Basic ([A-Za-z0-9+/=]+)$/.exec(request.headers.authorization ?? '');
  return match?.[1] === undefined ? undefined : Buffer.from(match[1], 'base64').toString('utf8');
}
