import type { JSONWebKeySet } from 'jose';
import type { Dial } from '../mint/http.ts';
import { sender } from '../mint/http.ts';
import { VaultError } from '../types.ts';
import type { KeySource } from './entry.ts';
import { isEndpoint } from '../mint/fields.ts';

/** For all of one fetch, discovery included, ms. */
const FETCH_MS = 5000;
const MAX_KEYS = 100;
/** Kinds of public keys; a symmetric one (`oct`) is none. */
const KINDS = new Set(['RSA', 'EC', 'OKP']);

/** An issuer's keys, as they are published now. Rejects with an Error that is safe to log. */
export async function fetchKeys(
  source: Exclude<KeySource, { kind: 'file' }>,
  issuer: string,
  dial: Dial,
  ms = FETCH_MS,
): Promise<JSONWebKeySet> {
  const signal = AbortSignal.timeout(ms);
  const late = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => late.reject(new Error(`no answer within ${ms} ms`)), { once: true });
  const get = async (url: string): Promise<unknown> => {
    const { status, text } = await sender(dial, signal)(new URL(url), {}, '', 'GET');
    if (status !== 200) throw new VaultError('unavailable', `${url} answered ${status}`);
    return parse(text, `${url} `);
  };
  const found = async (): Promise<JSONWebKeySet> => {
    const url = source.kind === 'url' ? source.url : await discover(source.url, issuer, get);
    return keySet(await get(url), `${url} `);
  };
  return Promise.race([found(), late.promise]);
}

/** `jwks_uri` (OpenID Connect Discovery 1.0, section 4). */
async function discover(
  url: string,
  issuer: string,
  get: (url: string) => Promise<unknown>,
): Promise<string> {
  const { issuer: named, jwks_uri: keys } = ((await get(url)) ?? {}) as Record<string, unknown>;
  // Section 4.3: or one issuer could speak for another.
  if (named !== issuer) throw new Error(`${url} is the document of another issuer`);
  const isTls = url.startsWith('https:');
  if (typeof keys !== 'string' || !isEndpoint(keys) || (isTls && !keys.startsWith('https:')))
    throw new Error(`${url} has no usable jwks_uri`);
  return keys;
}

/** The usable public keys of a JWK Set (RFC 7517, section 5). Throws an Error if it is none. `where`: before its message. */
export function keySet(value: unknown, where = ''): JSONWebKeySet {
  const { keys } = (value ?? {}) as { keys?: unknown };
  if (!Array.isArray(keys) || keys.length > MAX_KEYS)
    throw new Error(`${where}is no JWK Set of at most ${MAX_KEYS} keys`);
  // A set may hold keys of a kind that came later (section 5).
  return { keys: keys.filter(isPublicKey) };
}

function isPublicKey(key: unknown): key is JSONWebKeySet['keys'][number] {
  if (typeof key !== 'object' || key === null || Object.hasOwn(key, 'd')) return false;
  const { kty, kid } = key as { kty?: unknown; kid?: unknown };
  return typeof kty === 'string' && KINDS.has(kty) && (kid === undefined || typeof kid === 'string');
}

export function parse(text: string, where = ''): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${where}is not JSON`);
  }
}
