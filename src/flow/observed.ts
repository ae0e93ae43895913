import { Buffer } from 'node:buffer';
import { Flow } from '../flow.ts';
import { isNamed } from '../fields.ts';
import type { RequestHead, Session } from '../types.ts';
import type { Exchange } from '../wire/server.ts';
import type { Entry } from './entry.ts';
import type { Rooms } from './rooms.ts';
import type { Channel } from './target.ts';

/** What a request shows and the audit does not keep. No value of a field ever. */
export interface Sighting {
  readonly requestId: string;
  /** First product of User-Agent, without its version. */
  readonly client?: string;
  /** Without the query; absent if it holds a stub. */
  readonly path?: string;
  readonly credentials: readonly SeenCredential[];
}

export interface SeenCredential {
  /** Such as `header authorization (Bearer)` or `query key`. */
  readonly at: string;
  /** Whose stub it is; absent: it is no stub of the session. */
  readonly credential?: string;
}

export type Observer = (sighting: Sighting) => void;

/** A flow that tells of every request, for an operator who learns rules from a run. */
export class ObservedFlow extends Flow {
  readonly #observe: Observer;

  constructor(rooms: Rooms, observe: Observer) {
    super(rooms);
    this.#observe = observe;
  }

  override entry(x: Exchange, channel: Partial<Channel>, originForm = ''): Entry {
    const entry = super.entry(x, channel, originForm);
    const stubs = channel.session?.stubs ?? new Map<string, string>();
    const path = originForm.split('?')[0] ?? '';
    const isShown = path !== '' && this.rooms.stubs.count(path) === 0;
    this.#observe({
      requestId: entry.event.request_id,
      ...clientOf(x.head),
      ...(isShown && { path }),
      credentials: [...inFields(x.head, stubs), ...inTarget(originForm, stubs)],
    });
    return entry;
  }
}

/** Words that clients put before a credential in Authorization (IANA's registry, and what vendors made of it). */
const SCHEMES = ['Bearer', 'Basic', 'Digest', 'Token', 'Bot', 'Key', 'ApiKey', 'AWS4-HMAC-SHA256'];
const CREDENTIAL_FIELD =
  /^(?:authorization|cookie|(?:[a-z]+-)*(?:api-?key|key|token|secret|password|auth))$/i;
const CREDENTIAL_PARAMETER =
  /^(?:(?:api|access|auth|private|client)?[_-]?(?:key|token|secret)|password|sig|signature)$/i;

function clientOf({ headers }: RequestHead): { client?: string } {
  const at = headers.findIndex((name, i) => i % 2 === 0 && isNamed(name, 'user-agent'));
  const client = /^[A-Za-z][A-Za-z.-]{0,23}(?=[/ ]|$)/.exec(headers[at + 1] ?? '')?.[0];
  return at >= 0 && client !== undefined ? { client } : {};
}

function inFields({ headers }: RequestHead, stubs: Session['stubs']): SeenCredential[] {
  return headers.flatMap((value, i) => {
    if (i % 2 === 0) return [];
    const name = headers[i - 1] ?? '';
    if (isNamed(name, 'proxy-authorization')) return [];
    const [word = ''] = value.split(' ', 1);
    const isField = CREDENTIAL_FIELD.test(name);
    const scheme = isNamed(name, 'authorization') && SCHEMES.find(one => isNamed(word, one.toLowerCase()));
    const text = scheme === 'Basic' ? Buffer.from(value.slice(6), 'base64').toString('latin1') : value;
    const credential = ownerOf(text, stubs);
    if (!isField && credential === undefined) return [];
    const where = isField ? `header ${name.toLowerCase()}` : 'another header';
    return [{ at: scheme ? `${where} (${scheme})` : where, ...(credential !== undefined && { credential }) }];
  });
}

function inTarget(target: string, stubs: Session['stubs']): SeenCredential[] {
  const [path = '', query = ''] = target.split('?');
  const inPath = ownerOf(path, stubs);
  const inQuery = [...new URLSearchParams(query)].flatMap(([name, value]) => {
    const credential = ownerOf(value, stubs);
    if (credential === undefined && !(CREDENTIAL_PARAMETER.test(name) && value !== '')) return [];
    const at = CREDENTIAL_PARAMETER.test(name) ? `query ${name}` : 'the query';
    return [{ at, ...(credential !== undefined && { credential }) }];
  });
  return inPath === undefined ? inQuery : [{ at: 'the path', credential: inPath }, ...inQuery];
}

function ownerOf(text: string, stubs: Session['stubs']): string | undefined {
  for (const [name, stub] of stubs) if (stub !== '' && text.includes(stub)) return name;
  return undefined;
}
