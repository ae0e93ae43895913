import { Buffer } from 'node:buffer';
import { Secret } from '../secret.ts';
import type { OutboundHead, Placement, RequestHead } from '../types.ts';
import { tokensOf } from './json.ts';
import { type SigningPlacement, signs, type StubIds } from './signing.ts';
import { timeText } from './sigv4/authorization.ts';
import { canonicalHash, isS3, sha256 } from './sigv4/canonical.ts';
import { ECDSA, MultiRegionSigner } from './sigv4/multi-region.ts';
import { HMAC, scopeText, Signer } from './sigv4/signer.ts';

/** A request that carries a stub where a placement looks for it. */
export interface Example {
  /** Origin-form. */
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  /** Of a WebSocket, behind its handshake. */
  readonly message?: Buffer;
}

/** No placement but one that signs looks at what the client sent besides. */
const NO_SOURCE = { headers: [] as readonly string[], length: 0 } as RequestHead;
const TYPES = { json: 'application/json', form: 'application/x-www-form-urlencoded' } as const;

/** What a request is made for. */
export interface Wanted {
  readonly method: string;
  /** As in the field Host. */
  readonly authority: string;
  readonly path: string;
  readonly stub: string;
  readonly ids: StubIds;
}

/**
 * What a client sends that holds a stub. Undefined: the path has no such place. A slot says where that is: `json /a/b`,
 * `websocket /a/b`.
 */
export function exampleOf(placement: Placement, wanted: Wanted): Example | undefined {
  const { method, path, stub } = wanted;
  if (signs(placement)) return signedExample(placement, wanted);
  const pointer = placement.slot.slice(placement.slot.indexOf('/'));
  if (placement.type === 'websocket')
    return {
      target: path,
      headers: [],
      body: Buffer.alloc(0),
      message: Buffer.from(jsonWith(pointer, stub)),
    };
  const kind = placement.body?.kind;
  const content = kind && Buffer.from(kind === 'json' ? jsonWith(pointer, '') : '');
  const out: OutboundHead = {
    method,
    target: path,
    headers: [],
    body: kind && content && { kind, content },
    originForm: path,
    source: NO_SOURCE,
    capturesKeys: false,
  };
  if (placement.type === 'path' && placement.find(out) === undefined) return undefined;
  placement.inject(out, undefined, new Secret('stub', stub));
  const headers: [string, string][] = kind ? [['Content-Type', TYPES[kind]]] : [];
  for (let i = 0; i < out.headers.length; i += 2)
    headers.push([textOf(out.headers[i]), textOf(out.headers[i + 1])]);
  const body = out.body?.content ?? Buffer.alloc(0);
  return {
    target: textOf(out.target),
    headers,
    body: Buffer.isBuffer(body) ? body : Buffer.from(body.reveal(), 'latin1'),
  };
}

function textOf(part: string | Secret | undefined): string {
  return part instanceof Secret ? part.reveal() : (part ?? '');
}

/** A JSON text with a string at a pointer (RFC 6901). */
function jsonWith(pointer: string, value: string): string {
  return JSON.stringify(
    tokensOf(pointer).reduceRight<unknown>((inner, token) => ({ [token]: inner }), value),
  );
}

/** A request without content, signed with the stub as AWS documents it. */
function signedExample(
  { example }: SigningPlacement,
  { method, authority, path, stub, ids }: Wanted,
): Example {
  const scope = { ...example, time: timeText(Date.now()) };
  const payload = isS3(scope.service) ? 'UNSIGNED-PAYLOAD' : sha256('');
  const fields: [string, string][] = [
    ['host', authority],
    ...(isS3(scope.service) ? ([['x-amz-content-sha256', payload]] as [string, string][]) : []),
    ['x-amz-date', scope.time],
    ...(scope.regionSet ? ([['x-amz-region-set', scope.regionSet.join(',')]] as [string, string][]) : []),
  ];
  const signedHeaders = fields.map(([name]) => name);
  const hash = canonicalHash(
    { method, target: path, headers: fields.flat() },
    { service: scope.service, signedHeaders, payload },
  );
  const id = ids.accessKeyId(stub);
  const credential = `Credential=${id}/${scopeText(scope)}`;
  const signer = scope.regionSet ? new MultiRegionSigner(id, stub, scope) : new Signer(stub, scope);
  const signature = signer.request(hash);
  const authorization = `${scope.regionSet ? ECDSA : HMAC} ${credential}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
  return {
    target: path,
    headers: [...fields.slice(1), ['Authorization', authorization]],
    body: Buffer.alloc(0),
  };
}
