import { createHash, createHmac } from 'node:crypto';
import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4 } from '@smithy/signature-v4';

/** A request as somebody received it. */
export interface AwsRequest {
  readonly method: string;
  /** Origin-form. */
  readonly target: string;
  /** name, value, … */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

export interface AwsKeys {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly SessionToken?: string;
}

interface Claim {
  readonly id: string;
  readonly region: string;
  readonly service: string;
  readonly time: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** Of a presigned URL, seconds. */
  readonly expires?: number;
}

const SKEW_MS = 5 * 60_000;
const EMPTY = createHash('sha256').digest('hex');
const hex = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');
const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();

export const dateOf = (time: string): Date =>
  new Date(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));

export function queryOf(target: string): Record<string, string[]> {
  const query = Object.create(null) as Record<string, string[]>;
  for (const pair of (target.split('?')[1] ?? '').split('&').filter(Boolean)) {
    const [name = '', value = ''] = pair.split(/=(.*)/s).map(decodeURIComponent);
    (query[name] ??= []).push(value);
  }
  return query;
}

function claimOf({ target, headers }: AwsRequest): Claim | string {
  const values = headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === 'authorization');
  const query = queryOf(target);
  const isPresigned = query['X-Amz-Signature'] !== undefined;
  if (values.length + Number(isPresigned) !== 1) return 'not signed exactly once';
  const one = (name: string): string => (query[name]?.length === 1 ? (query[name][0] ?? '') : '');
  const [, credential = '', names = '', signature = ''] = isPresigned
    ? ['', one('X-Amz-Credential'), one('X-Amz-SignedHeaders'), one('X-Amz-Signature')]
    : (/^AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})$/.exec(
        values[0] ?? '',
      ) ?? []);
  const [id = '', date, region = '', service = '', end] = credential.split('/');
  const time = isPresigned ? one('X-Amz-Date') : (headersOf(headers)['x-amz-date'] ?? '');
  if (end !== 'aws4_request' || date !== time.slice(0, 8)) return 'no credential scope';
  const expires = Number(one('X-Amz-Expires'));
  return {
    id,
    region,
    service,
    time,
    signedHeaders: names.split(';'),
    signature,
    ...(isPresigned && { expires }),
  };
}

function headersOf(headers: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = headers[i + 1] as string;
    found[name] = found[name] === undefined ? value : `${found[name]},${value}`;
  }
  return found;
}

/** What AWS would find wrong with a request; undefined: nothing. Signed anew by AWS's own code, and compared. */
export async function awsFault(request: AwsRequest, keys: AwsKeys): Promise<string | undefined> {
  const claim = claimOf(request);
  if (typeof claim === 'string') return claim;
  const headers = headersOf(request.headers);
  const age = Date.now() - dateOf(claim.time).getTime();
  if (!(age > -SKEW_MS)) return 'signed in the future';
  if (age > (claim.expires === undefined ? SKEW_MS : claim.expires * 1000)) return 'expired';
  if (claim.id !== keys.AccessKeyId) return `unknown access key ${claim.id}`;
  const must = ['host', ...Object.keys(headers).filter(name => name.startsWith('x-amz-'))];
  const unsigned = must.find(name => !claim.signedHeaders.includes(name));
  if (unsigned !== undefined) return `${unsigned} is not signed`;
  const query = queryOf(request.target);
  const token =
    claim.expires === undefined ? headers['x-amz-security-token'] : query['X-Amz-Security-Token']?.[0];
  if (token !== keys.SessionToken) return 'another session token';
  const bodyFault = payloadFault(request, claim, headers, keys);
  if (bodyFault !== undefined) return bodyFault;
  const expected = await expectedSignature(request, claim, headers, keys);
  return expected === claim.signature ? undefined : 'SignatureDoesNotMatch';
}

function payloadFault(
  { body }: AwsRequest,
  claim: Claim,
  headers: Record<string, string>,
  keys: AwsKeys,
): string | undefined {
  const told = headers['x-amz-content-sha256'];
  if (told === undefined)
    return claim.service === 's3' && claim.expires === undefined ? 'no x-amz-content-sha256' : undefined;
  if (/^[0-9a-f]{64}$/.test(told)) return told === hex(body) ? undefined : 'XAmzContentSHA256Mismatch';
  if (told === 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD') return chunkFault(body, claim, keys, false);
  if (told === 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER') return chunkFault(body, claim, keys, true);
  return told === 'UNSIGNED-PAYLOAD' || told === 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' ? undefined : 'payload';
}

async function expectedSignature(
  { method, target, body }: AwsRequest,
  claim: Claim,
  headers: Record<string, string>,
  keys: AwsKeys,
): Promise<string | undefined> {
  const signer = new SignatureV4({
    credentials: {
      accessKeyId: keys.AccessKeyId,
      secretAccessKey: keys.SecretAccessKey,
      ...(keys.SessionToken !== undefined && { sessionToken: keys.SessionToken }),
    },
    region: claim.region,
    service: claim.service,
    sha256: Sha256,
    uriEscapePath: claim.service !== 's3',
    applyChecksum: false,
  });
  const signed = Object.fromEntries(claim.signedHeaders.map(name => [name, headers[name] ?? '']));
  const all = Object.fromEntries(Object.entries(queryOf(target)).filter(([name]) => !PRESIGN.has(name)));
  const request = {
    method,
    protocol: 'https:',
    hostname: headers['host'] ?? '',
    path: target.split('?')[0] ?? '',
    query: all,
    headers: signed,
    body: body.length === 0 ? undefined : new Uint8Array(body).buffer,
  };
  const signingDate = dateOf(claim.time);
  const signableHeaders = new Set(claim.signedHeaders);
  if (claim.expires === undefined) {
    const made = await signer.sign(request, { signingDate, signableHeaders });
    return made.headers['authorization']?.split('Signature=')[1];
  }
  const hash = 'x-amz-content-sha256';
  if (claim.service === 's3') signed[hash] ??= 'UNSIGNED-PAYLOAD';
  const made = await signer.presign(request, {
    signingDate,
    expiresIn: claim.expires,
    signableHeaders,
    unhoistableHeaders: new Set(Object.keys(signed)),
    ...(!signableHeaders.has(hash) && { unsignableHeaders: new Set([hash]) }),
  });
  return made.query?.['X-Amz-Signature'] as string | undefined;
}

const PRESIGN = new Set(
  ['Algorithm', 'Credential', 'Date', 'Expires', 'SignedHeaders', 'Signature', 'Security-Token'].map(
    name => `X-Amz-${name}`,
  ),
);

/** Signs the chunks of an `aws-chunked` body, from the S3 API's text alone. */
export class ChunkSigner {
  readonly #key: Buffer;
  readonly #context: string;
  #last: string;

  constructor(secret: string, time: string, region: string, service: string, seed: string) {
    const scope = [time.slice(0, 8), region, service, 'aws4_request'];
    this.#key = scope.reduce<Buffer>(hmac, Buffer.from(`AWS4${secret}`));
    this.#context = `${time}\n${scope.join('/')}`;
    this.#last = seed;
  }

  chunk(data: Buffer): string {
    return this.#sign(`AWS4-HMAC-SHA256-PAYLOAD\n${this.#context}\n${this.#last}\n${EMPTY}\n${hex(data)}`);
  }

  trailer(lines: string): string {
    return this.#sign(`AWS4-HMAC-SHA256-TRAILER\n${this.#context}\n${this.#last}\n${hex(lines)}`);
  }

  #sign(text: string): string {
    return (this.#last = hmac(this.#key, text).toString('hex'));
  }
}

/** An `aws-chunked` body; `trailer`: such as `x-amz-checksum-crc32c:sOO8/Q==`. */
export function chunkedBody(signer: ChunkSigner, chunks: readonly Buffer[], trailer?: string): Buffer {
  const parts = chunks.flatMap(data => [
    Buffer.from(`${data.length.toString(16)};chunk-signature=${signer.chunk(data)}\r\n`),
    data,
    Buffer.from('\r\n'),
  ]);
  parts.push(Buffer.from(`0;chunk-signature=${signer.chunk(Buffer.alloc(0))}\r\n`));
  if (trailer !== undefined)
    parts.push(Buffer.from(`${trailer}\r\nx-amz-trailer-signature:${signer.trailer(`${trailer}\n`)}\r\n`));
  return Buffer.concat([...parts, Buffer.from('\r\n')]);
}

function chunkFault(
  body: Buffer,
  { time, region, service, signature }: Claim,
  { SecretAccessKey }: AwsKeys,
  hasTrailer: boolean,
): string | undefined {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = body.toString('latin1', at, body.indexOf('\r\n', at));
    const size = Number.parseInt(line, 16);
    at += line.length + 2;
    if (size === 0) break;
    if (!(size > 0)) return 'not chunked';
    chunks.push(body.subarray(at, at + size));
    at += size + 2;
  }
  const [trailer = ''] = body.toString('latin1', at).split('\r\n');
  const signer = new ChunkSigner(SecretAccessKey, time, region, service, signature);
  const expected = chunkedBody(signer, chunks, hasTrailer ? trailer : undefined);
  return expected.equals(body) ? undefined : 'a chunk signature does not match';
}
