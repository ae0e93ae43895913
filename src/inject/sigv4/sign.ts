import type { AwsKeys, Secret } from '../../secret.ts';
import type { OutboundHead } from '../../types.ts';
import { Names } from '../../fields.ts';
import { removeFields, setField } from '../fields.ts';
import { keyOf, pairsOf } from '../pairs.ts';
import { percentDecode } from '../percent.ts';
import { type Authorization, timeOf } from './authorization.ts';
import { canonicalHash } from './canonical.ts';
import { ECDSA, type MultiRegionSigner } from './multi-region.ts';
import { HMAC, type Scope, type Signer, scopeText } from './signer.ts';
import { SKEW_MS } from './verify.ts';

const TOKEN = new Names('x-amz-security-token');

/** What a request is signed with. */
export interface Signature {
  readonly keys: AwsKeys;
  readonly signer: Signer | MultiRegionSigner;
  readonly scope: Scope;
  /** As it stands in the canonical request. */
  readonly payload: string;
}

/** Signs what the client signed, as it goes out, where the client did. Returns the signature. */
export function sign(out: OutboundHead, client: Authorization, of: Signature): Secret {
  return client.at === 'header' ? signHeader(out, client, of) : signQuery(out, client, of);
}

function signHeader(out: OutboundHead, client: Authorization, of: Signature): Secret {
  const { keys, scope } = of;
  setField(out, 'X-Amz-Date', scope.time);
  removeFields(out, TOKEN);
  if (keys.token) setField(out, 'X-Amz-Security-Token', keys.token);
  const names = namesIn(out, client);
  const signature = signed(out, textOf(out.target), names, of);
  const credential = `${keys.id.reveal()}/${scopeText(scope)}`;
  const algorithm = scope.regionSet ? ECDSA : HMAC;
  const value = `${algorithm} Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  setField(out, 'Authorization', keys.secretKey.as(value));
  return keys.secretKey.as(signature);
}

function signQuery(out: OutboundHead, client: Authorization, of: Signature): Secret {
  const { keys, scope } = of;
  const names = namesIn(out, client);
  const age = Math.max(0, timeOf(scope.time) - timeOf(client.time));
  const left = Math.max(1, client.expires - Math.floor(age / 1000));
  const values = new Map([
    ['X-Amz-Credential', `${keys.id.reveal()}/${scopeText(scope)}`],
    ['X-Amz-Date', scope.time],
    // It is used at once, and for nothing else.
    ['X-Amz-Expires', `${Math.min(left, SKEW_MS / 1000)}`],
    ['X-Amz-SignedHeaders', names.join(';')],
  ]);
  const target = textOf(out.target);
  const mark = target.indexOf('?');
  const pairs = pairsOf(target.slice(mark + 1)).flatMap(pair => {
    const name = percentDecode(keyOf(pair));
    const value = values.get(name);
    if (name === 'X-Amz-Signature' || name === 'X-Amz-Security-Token') return [];
    return value === undefined ? [pair] : [`${name}=${encodeURIComponent(value)}`];
  });
  if (keys.token) pairs.push(`X-Amz-Security-Token=${encodeURIComponent(keys.token.reveal())}`);
  const unsigned = `${target.slice(0, mark)}?${pairs.join('&')}`;
  const signature = signed(out, unsigned, names, of);
  out.target = keys.secretKey.as(`${unsigned}&X-Amz-Signature=${signature}`);
  return keys.secretKey.as(signature);
}

/** What of the client's list goes out, and what AWS demands. Framing is written anew behind this. */
function namesIn({ headers }: OutboundHead, { signedHeaders }: Authorization): string[] {
  const names = headers.filter((_, i) => i % 2 === 0).map(name => String(name).toLowerCase());
  const wanted = names.filter(name => name.startsWith('x-amz-') || signedHeaders.includes(name));
  return [...new Set(wanted)].toSorted();
}

function signed(
  { method, headers }: OutboundHead,
  target: string,
  signedHeaders: readonly string[],
  { signer, scope: { service }, payload }: Signature,
): string {
  return signer.request(canonicalHash({ method, target, headers }, { service, signedHeaders, payload }));
}

function textOf(target: string | Secret): string {
  return typeof target === 'string' ? target : target.reveal();
}
