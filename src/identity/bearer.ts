import type { Method } from './claim.ts';

/** `Bearer token` (RFC 6750, section 2.1). */
export const bearer: Method = {
  scheme: 'bearer',
  parse: credentials => ({ token: credentials }),
};
