import { Refusal } from '../errors.ts';
import { isNamed } from '../fields.ts';
import type { RawHeaders } from '../types.ts';

/** The one Proxy-Authorization; undefined if there is none. Two could be read as either of them: throws `unauthenticated`. */
export function credentialOf(headers: RawHeaders): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (!isNamed(headers[i] as string, 'proxy-authorization')) continue;
    if (found !== undefined) throw new Refusal('unauthenticated');
    found = headers[i + 1];
  }
  return found;
}
