import { Refusal } from '../../errors.ts';
import { get, isNamed } from '../../fields.ts';
import type { OutboundHead } from '../../types.ts';
import { fieldValues, unreadable } from '../fields.ts';
import { keyOf, pairsOf } from '../pairs.ts';
import { percentDecode } from '../percent.ts';
import { ECDSA } from './multi-region.ts';
import { HMAC, type Scope } from './signer.ts';

/** A signature as it stands in a request. */
export interface Authorization extends Scope {
  readonly at: 'header' | 'query';
  readonly signedHeaders: readonly string[];
  /** Hex. */
  readonly signature: string;
  /** Life of a presigned URL, seconds. */
  readonly expires: number;
}

/** Query parameters that sign a request. */
const OF_QUERY = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  'X-Amz-Signature',
  'X-Amz-Security-Token',
  'X-Amz-Region-Set',
];
/** In lower case, as some servers read them, and with the one that version 2 has. */
const SIGNS = new Set([...OF_QUERY.map(name => name.toLowerCase()), 'awsaccesskeyid']);
const HEADER = /^(AWS4-[A-Z0-9-]+) +Credential=([^\s,]+), *SignedHeaders=([^\s,]+), *Signature=([0-9a-f]+)$/;
const CREDENTIAL = /^\w{1,128}\/(\d{8})\/(?:([A-Za-z0-9-]{1,64})\/)?([A-Za-z0-9-]{1,64})\/aws4_request$/;
/** Of each algorithm. */
const SIGNATURES = new Map([
  [HMAC, /^[0-9a-f]{64}$/],
  [ECDSA, /^30(?:[0-9a-f]{2}){7,71}$/],
]);
/** A member of a region set; a rule writes it the same way. */
const REGION = /^(?:\*|[A-Za-z0-9][A-Za-z0-9-]{0,63}\*?)$/;
const TIME = /^\d{8}T\d{6}Z$/;
/** AWS takes a presigned URL for a week at most. */
const MAX_EXPIRES = 604_800;

/** Ids of the access keys that a request is signed with, in whatever form; else what stands there. */
export function accessKeyIds(out: OutboundHead): readonly string[] {
  const ids = fieldValues(out, 'authorization').map(
    value => /^AWS4-[A-Z0-9-]+ +Credential=(\w{1,128})\//.exec(value)?.[1] ?? unreadable(value),
  );
  const signing = signingPairs(out.originForm);
  if (signing.length > 0) {
    const credentials = signing.filter(([name]) => name === 'X-Amz-Credential');
    const [, value] = credentials[0] ?? [];
    ids.push(value?.split('/')[0] || unreadable('a signature in the query'));
  }
  // By itself it is somebody else's, too.
  return ids.length > 0 ? ids : fieldValues(out, 'x-amz-security-token').map(unreadable);
}

/** The one signature of a request, as the client sent it. Throws for any other form than AWS documents. */
export function authorizationOf({ source: { headers }, originForm }: OutboundHead): Authorization {
  const values = fieldsOf(headers, 'authorization');
  const signing = signingPairs(originForm);
  if (values.length + Math.min(signing.length, 1) !== 1) throw unclear('is signed more than once');
  const [value = ''] = values;
  return signing.length > 0 ? fromQuery(signing, headers) : fromHeader(value, headers);
}

function fromHeader(value: string, headers: readonly string[]): Authorization {
  const [, algorithm = '', credential = '', names = '', signature = ''] = HEADER.exec(value) ?? [];
  const times = fieldsOf(headers, 'x-amz-date');
  const time = times[0] ?? basicTime(get(headers, 'date'));
  if (times.length > 1) throw unclear('has more than one X-Amz-Date');
  requireForm(algorithm, signature);
  const sets = fieldsOf(headers, 'x-amz-region-set');
  const regions = algorithm === ECDSA ? sets : undefined;
  return { at: 'header', ...scoped(credential, time, names, regions), signature, expires: 0 };
}

function fromQuery(pairs: readonly (readonly [string, string])[], headers: readonly string[]): Authorization {
  const found = new Map(pairs);
  if (found.size !== pairs.length || pairs.some(([name]) => !OF_QUERY.includes(name)))
    throw unclear('has a parameter of its signature twice, or misspelled');
  const of = (name: string): string => found.get(name) ?? '';
  const expires = of('X-Amz-Expires');
  const signature = of('X-Amz-Signature');
  const isMulti = of('X-Amz-Algorithm') === ECDSA;
  requireForm(of('X-Amz-Algorithm'), signature);
  if (found.has('X-Amz-Region-Set') !== isMulti) throw unclear(`has X-Amz-Region-Set without ${ECDSA}`);
  if (!/^[1-9]\d{0,5}$/.test(expires) || Number(expires) > MAX_EXPIRES)
    throw unclear(`has no X-Amz-Expires from 1 to ${MAX_EXPIRES} seconds`);
  // A second one, in the head, might be the one that counts.
  const inHead = fieldsOf(headers, 'x-amz-region-set');
  const regions = isMulti ? [of('X-Amz-Region-Set'), ...inHead] : undefined;
  const scope = scoped(of('X-Amz-Credential'), of('X-Amz-Date'), of('X-Amz-SignedHeaders'), regions);
  return { at: 'query', ...scope, signature, expires: Number(expires) };
}

function requireForm(algorithm: string, signature: string): void {
  if (!SIGNATURES.get(algorithm)?.test(signature))
    throw unclear(`has no signature of ${HMAC} or ${ECDSA} in the documented form`);
}

/** `regionSets`: of SigV4A, each as it stands in the request. */
function scoped(
  credential: string,
  time: string,
  names: string,
  regionSets: readonly string[] | undefined,
): Scope & { readonly signedHeaders: readonly string[] } {
  const [, date, region = '', service = ''] = CREDENTIAL.exec(credential) ?? [];
  if (date === undefined || (region === '') !== (regionSets !== undefined))
    throw unclear('has no Credential in the documented form');
  if (!TIME.test(time) || time.slice(0, 8) !== date)
    throw unclear('has no X-Amz-Date of the day that it is signed for');
  const signedHeaders = names.split(';');
  const isOrdered = signedHeaders.every((name, i) => i === 0 || (signedHeaders[i - 1] as string) < name);
  if (!isOrdered || !/^[a-z0-9!#$%&'*+.^_`|~;-]+$/.test(names)) throw unclear('has no sorted SignedHeaders');
  if (!regionSets) return { time, region, service, signedHeaders };
  const regionSet = (regionSets[0] ?? '').split(/[ \t]*,[ \t]*/);
  if (regionSets.length !== 1 || !regionSet.every(one => REGION.test(one)))
    throw unclear('has no X-Amz-Region-Set in the documented form');
  return { time, region, service, regionSet, signedHeaders };
}

/** What of a query signs it: name and value, decoded. */
function signingPairs(target: string): (readonly [name: string, value: string])[] {
  const mark = target.indexOf('?');
  if (mark < 0) return [];
  return pairsOf(target.slice(mark + 1)).flatMap(pair => {
    const name = percentDecode(keyOf(pair));
    return SIGNS.has(name.toLowerCase())
      ? [[name, percentDecode(pair.slice(keyOf(pair).length + 1))] as const]
      : [];
  });
}

/** In the header and in the query. */
export function sessionTokens({ source: { headers }, originForm }: OutboundHead): string[] {
  const inQuery = signingPairs(originForm).filter(([name]) => name === 'X-Amz-Security-Token');
  return [...fieldsOf(headers, 'x-amz-security-token'), ...inQuery.map(([, value]) => value)];
}

export function fieldsOf(headers: readonly string[], name: string): string[] {
  return headers.filter((_, i) => i % 2 === 1 && isNamed(headers[i - 1] as string, name));
}

/** An HTTP date (RFC 9110, section 5.6.7) as AWS writes time; empty if it is none. */
function basicTime(date: string | undefined): string {
  const ms = date === undefined ? Number.NaN : Date.parse(date);
  return Number.isNaN(ms) ? '' : timeText(ms);
}

/** `YYYYMMDDTHHMMSSZ`; `ms` since the epoch. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, '');
}

/** ms since the epoch. */
export function timeOf(text: string): number {
  return Date.parse(text.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
}

function unclear(what: string): Refusal {
  return new Refusal('invalid_signature', {
    message: `The request ${what}`,
    hint: 'Sign it once, as an AWS SDK does, in the header or in the query',
  });
}
