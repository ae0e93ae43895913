import { Buffer } from 'node:buffer';
import { timingSafeEqual } from 'node:crypto';
import { Refusal } from '../../errors.ts';
import type { OutboundHead } from '../../types.ts';
import { bytesOf } from '../body.ts';
import { type Authorization, fieldsOf, timeOf } from './authorization.ts';
import { canonicalHash, isS3, sha256 } from './canonical.ts';
import { MultiRegionSigner } from './multi-region.ts';
import { Signer } from './signer.ts';

/** How far a client's clock may be off: what S3 allows ("Authenticating Requests", RequestTimeTooSkewed). */
export const SKEW_MS = 15 * 60_000;

/**
 * How a signature covers the body. `hash`: the client says it; `implied`: of the whole body, untold; `chunks`: each by
 * itself (`aws-chunked`), `trailer` too; `unsigned`: not at all.
 */
export type Coverage = 'hash' | 'implied' | 'chunks' | 'trailer' | 'unsigned';

const WORDS: ReadonlyMap<string, Coverage> = new Map([
  ['UNSIGNED-PAYLOAD', 'unsigned'],
  ['STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'unsigned'],
  ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'chunks'],
  ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER', 'trailer'],
]);

export interface Payload {
  readonly coverage: Coverage;
  /** As it stands in the canonical request; undefined: the hash of a body that is not here yet. */
  readonly text: string | undefined;
}

/** Throws invalid_signature for a payload that is told in a way that AWS does not know. */
export function payloadOf(out: OutboundHead, { at, service }: Authorization): Payload {
  const { headers, length } = out.source;
  const told = fieldsOf(headers, 'x-amz-content-sha256');
  const inQuery = at === 'query' ? /[?&]X-Amz-Content-Sha256=([^&]*)/.exec(out.originForm)?.[1] : undefined;
  const [text = inQuery ?? (at === 'query' && isS3(service) ? 'UNSIGNED-PAYLOAD' : undefined)] = told;
  if (text === undefined) {
    if (isS3(service))
      throw invalid(
        'The request has no X-Amz-Content-Sha256, which S3 demands',
        'Sign it as an AWS SDK does',
      );
    return { coverage: 'implied', text: length === 0 || out.body ? hashOf(out) : undefined };
  }
  const coverage = /^[0-9a-f]{64}$/.test(text) ? 'hash' : WORDS.get(text);
  if (coverage === undefined || told.length > 1) {
    const known = ['the hex SHA-256 of the body', ...WORDS.keys()].join(', ');
    throw invalid(
      'The request has an X-Amz-Content-Sha256 that the gate cannot verify',
      `Send one of: ${known}`,
    );
  }
  const isHere = length === 0 || out.body !== undefined;
  if (coverage === 'hash' && isHere && text !== hashOf(out)) throw differentBody();
  return { coverage, text };
}

function hashOf({ body }: OutboundHead): string {
  return sha256(body ? bytesOf(body) : '');
}

/** Throws invalid_signature unless the request was signed, now, as AWS demands. False: its body is needed first. */
export function verify(
  out: OutboundHead,
  auth: Authorization,
  keys: { readonly id: string; readonly secretKey: string },
  now: number,
): boolean {
  const { method, headers } = out.source;
  const { service, signedHeaders } = auth;
  requireTime(auth, now);
  requireSigned(headers, signedHeaders);
  const { coverage, text } = payloadOf(out, auth);
  if (auth.regionSet && (coverage === 'chunks' || coverage === 'trailer'))
    throw invalid('SigV4A with signed chunks is not supported', 'Send the body with its hash, or unsigned');
  if (text === undefined) return false;
  const request = { method, target: out.originForm, headers };
  const hash = canonicalHash(request, { service, signedHeaders, payload: text });
  const isRight = auth.regionSet
    ? new MultiRegionSigner(keys.id, keys.secretKey, auth).verifies(hash, auth.signature)
    : isSame(new Signer(keys.secretKey, auth).request(hash), auth.signature);
  if (isRight) return true;
  throw invalid(
    'The request was not signed like this with the keys of the session',
    'Use the keys from your environment, and let nothing change the request once it is signed',
  );
}

function requireTime({ at, time, expires }: Authorization, now: number): void {
  const age = now - timeOf(time);
  if (at === 'query' && age > expires * 1000)
    throw invalid('The presigned URL has expired', 'Sign a new one');
  // Of a URL that was signed for later use, only the future is wrong.
  if (!(age >= -SKEW_MS) || (at === 'header' && age > SKEW_MS))
    throw invalid('The request was signed more than 15 minutes off the time of the gate', 'Set your clock');
}

/** AWS demands it of Host and of each X-Amz- field. */
function requireSigned(headers: readonly string[], signedHeaders: readonly string[]): void {
  const names = headers.filter((_, i) => i % 2 === 0).map(name => name.toLowerCase());
  const absent = signedHeaders.find(name => !names.includes(name));
  if (absent !== undefined)
    throw invalid(`The request has no ${absent}, which it is signed with`, 'Sign what you send');
  const unsigned = ['host', ...names].find(
    name => (name === 'host' || name.startsWith('x-amz-')) && !signedHeaders.includes(name),
  );
  if (unsigned !== undefined)
    throw invalid(`${unsigned} is not signed`, 'Sign Host and every field whose name begins with X-Amz-');
}

export function isSame(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'));
}

export function differentBody(): Refusal {
  return invalid('The body is not the one that was signed', 'Sign the body that you send');
}

export function invalid(message: string, hint: string): Refusal {
  return new Refusal('invalid_signature', { message, hint });
}
