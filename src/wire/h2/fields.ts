import { type OutgoingHttpHeaders, sensitiveHeaders } from 'node:http2';
import type { RawHeaders } from '../../types.ts';

/** Node separates names and values by NUL, and cuts characters to one byte. */
const UNWRITABLE = /[\0\r\n]|[^\x00-\xff]/;

export interface Head {
  readonly headers: OutgoingHttpHeaders;
  /** Bytes as HTTP/1.1 would write them; for the audit. */
  readonly size: number;
}

/** A head for node:http2. `pseudo`: values by name. `sensitive`: names that no intermediary may index (RFC 7541, section 7.1.3). */
export function headOf(
  pseudo: Readonly<Record<string, string | number>>,
  headers: RawHeaders,
  sensitive: readonly string[] = [],
): Head {
  const all: Record<string, string | number | string[]> = Object.assign(Object.create(null), pseudo);
  let size = 2;
  for (const [name, value] of Object.entries(pseudo)) size += name.length + writable(`${value}`).length + 4;
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = writable(headers[i + 1] as string);
    size += name.length + value.length + 4;
    const known = all[name];
    if (known === undefined) all[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else all[name] = [`${known}`, value];
  }
  if (sensitive.length > 0) Object.assign(all, { [sensitiveHeaders]: sensitive });
  return { headers: all, size };
}

function writable(value: string): string {
  if (UNWRITABLE.test(value)) throw new Error('a header holds a character that cannot be written');
  return value;
}

/** Bytes of a received head, as HTTP/1.1 would write them. */
export function sizeOf(raw: RawHeaders): number {
  let size = 2;
  for (let i = 0; i < raw.length; i++) size += (raw[i] as string).length + 2;
  return size;
}
