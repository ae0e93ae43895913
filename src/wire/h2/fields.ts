import { type OutgoingHttpHeaders, sensitiveHeaders } from 'node:http2';
import type { RawHeaders } from '../../types.ts';

/** Node separates names and values by NUL, and cuts characters to one byte. */
const UNWRITABLE = /[\0\r\n]|[^\x00-\xff]/;

export interface Head {
  /** name, value, …, pseudo-header fields first: node:http2 writes a list as it is, and sorts and copies an object. */
  readonly list: RawHeaders;
  /** Bytes as HTTP/1.1 would write them; for the audit. */
  readonly size: number;
}

/** A head for node:http2. `pseudo`: name, value, … `sensitive`: names that no intermediary may index (RFC 7541, section 7.1.3). */
export function headOf(pseudo: RawHeaders, headers: RawHeaders, sensitive: readonly string[] = []): Head {
  const list = [...pseudo, ...headers];
  let size = 2;
  for (let i = 0; i < list.length; i += 2) {
    const value = list[i + 1] as string;
    if (UNWRITABLE.test(value)) throw new Error('a header holds a character that cannot be written');
    size += (list[i] as string).length + value.length + 4;
  }
  if (sensitive.length > 0) Object.assign(list, { [sensitiveHeaders]: sensitive });
  return { list, size };
}

/** The same for those methods of node:http2 that take no list. */
export function objectOf({ list }: Head): OutgoingHttpHeaders {
  const all: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < list.length; i += 2) {
    const name = (list[i] as string).toLowerCase();
    const value = list[i + 1] as string;
    const known = all[name];
    if (known === undefined) all[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else all[name] = [known, value];
  }
  return all;
}

/** Bytes of a received head, as HTTP/1.1 would write them. */
export function sizeOf(raw: RawHeaders): number {
  let size = 2;
  for (let i = 0; i < raw.length; i++) size += (raw[i] as string).length + 2;
  return size;
}
