import { Secret } from '../secret.ts';
import { malformed } from './http.ts';
import type { Token } from './minter.ts';

/** A shorter value could not be told from ordinary text in a response; RFC 6750, section 2.1, allows no others. */
export const TOKEN = /^[\x21-\x7e]{8,16384}$/;
const MAX_LIFE_MS = 366 * 24 * 3_600_000;

/** A secret that an answer holds. Throws VaultError for one that could not be found again in a response. */
export function secretOf(url: URL, field: string, value: unknown, version?: string): Secret {
  if (typeof value === 'string' && TOKEN.test(value)) return new Secret(field, value, version);
  throw malformed(url, `has no usable "${field}": 8 to 16384 visible ASCII characters`);
}

/** The token that an answer holds; its version tells when it ends, and `note`. Times: ms since the epoch. */
export function tokenOf(
  url: URL,
  field: string,
  value: unknown,
  expiresAt: number,
  now: number,
  note = '',
): Token {
  if (!(expiresAt > now))
    throw malformed(url, 'holds a token that has ended already; compare the clocks of both machines');
  const end = Math.min(expiresAt, now + MAX_LIFE_MS);
  const version = `expires ${new Date(end).toISOString().replace(/\.\d+Z$/, 'Z')}${note}`;
  return { secret: secretOf(url, field, value, version), expiresAt: end };
}
