import { Buffer } from 'node:buffer';
import type { Method } from './claim.ts';

/** `Basic base64(session:token)` (RFC 7617, section 2): what clients make of a proxy URL. */
export const basic: Method = {
  scheme: 'basic',
  parse(credentials) {
    const bytes = Buffer.from(credentials, 'base64');
    if (bytes.toString('base64') !== credentials) return undefined;
    const text = bytes.toString('latin1');
    const colon = text.indexOf(':');
    return colon < 0 ? undefined : { session: text.slice(0, colon), token: text.slice(colon + 1) };
  },
};
