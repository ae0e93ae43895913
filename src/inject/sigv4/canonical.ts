import { hash } from 'node:crypto';
import type { Secret } from '../../secret.ts';
import { isNamed } from '../../fields.ts';
import { keyOf, pairsOf } from '../pairs.ts';
import { percentDecode } from '../percent.ts';

/** A request as it is signed (AWS General Reference, "Create a signed AWS API request"). */
export interface Signable {
  readonly method: string;
  /** Origin-form. */
  readonly target: string;
  /** name, value, … */
  readonly headers: readonly (string | Secret)[];
}

/** What a canonical request is made with. */
export interface Canon {
  readonly service: string;
  /** Lower case, sorted. */
  readonly signedHeaders: readonly string[];
  /** Lower-case hex SHA-256, or the word that stands instead. */
  readonly payload: string;
}

/** Hex SHA-256 of the canonical request. */
export function canonicalHash({ method, target, headers }: Signable, canon: Canon): string {
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const lines = [
    method,
    isS3(canon.service) ? encodedOnce(path) : encodedTwice(path),
    canonicalQuery(mark < 0 ? '' : target.slice(mark + 1)),
    ...canon.signedHeaders.map(name => `${name}:${canonicalValue(headers, name)}`),
    '',
    canon.signedHeaders.join(';'),
    canon.payload,
  ];
  return sha256(lines.join('\n'));
}

/** Hex; of latin1 text, or of bytes. */
export function sha256(content: string | Buffer): string {
  return hash('sha256', typeof content === 'string' ? Buffer.from(content, 'latin1') : content);
}

/** Services whose object keys are paths: encoded once, and never normalised. */
export function isS3(service: string): boolean {
  return service === 's3' || service === 's3-outposts' || service === 's3-object-lambda';
}

function encodedOnce(path: string): string {
  return path.split('/').map(percentDecode).map(encoded).join('/');
}

/** The path is encoded on the wire, and once more here. Empty segments are dropped; dot segments reach no rule. */
function encodedTwice(path: string): string {
  return path
    .replace(/\/{2,}/g, '/')
    .split('/')
    .map(encoded)
    .join('/');
}

/** Sorted by name, then by value, as encoded; without the signature itself. */
function canonicalQuery(query: string): string {
  return pairsOf(query)
    .filter(pair => pair !== '')
    .map(pair => {
      const name = keyOf(pair);
      return [encoded(percentDecode(name)), encoded(percentDecode(pair.slice(name.length + 1)))] as const;
    })
    .filter(([name]) => name !== 'X-Amz-Signature')
    .toSorted(([a, x], [b, y]) => order(a, b) || order(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A latin1 text with all but the unreserved characters percent-encoded (RFC 3986, section 2.3). */
function encoded(text: string): string {
  return text.replace(
    /[^A-Za-z0-9._~-]/g,
    c => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

/** Every value of a field, trimmed, runs of spaces made one; no other byte of latin1 is a space. */
function canonicalValue(headers: readonly (string | Secret)[], name: string): string {
  const values: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if (!isNamed(headers[i] as string, name)) continue;
    const value = headers[i + 1] as string | Secret;
    const text = typeof value === 'string' ? value : value.reveal();
    values.push(text.replace(/[ \t]+/g, ' ').replace(/^ | $/g, ''));
  }
  return values.join(',');
}
