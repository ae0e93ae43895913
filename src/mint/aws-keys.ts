import type { Credentials } from '@aws-sdk/client-sts';
import type { Secret } from '../secret.ts';
import { VaultError } from '../types.ts';
import { malformed } from './http.ts';
import type { Token } from './minter.ts';
import { tokenOf } from './token.ts';

/** What AWS makes its keys of. */
const KEY_ID = /^\w{16,128}$/;
const SECRET_KEY = /^[A-Za-z0-9/+=]{16,128}$/;
const SESSION_TOKEN = /^[A-Za-z0-9/+=_.:-]{1,16000}$/;

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** The format is that of `credential_process` of the AWS CLI. */
export function keysIn(from: Secret): Keys {
  let value: unknown;
  try {
    value = JSON.parse(from.reveal());
  } catch {
    // The parser's own error quotes the text.
    value = undefined;
  }
  const {
    AccessKeyId: id,
    SecretAccessKey: key,
    SessionToken: written,
  } = (value ?? {}) as Readonly<Record<string, unknown>>;
  const token = written === null || written === '' ? undefined : written;
  const isToken = token === undefined || (typeof token === 'string' && SESSION_TOKEN.test(token));
  if (typeof id === 'string' && KEY_ID.test(id) && typeof key === 'string' && SECRET_KEY.test(key) && isToken)
    return {
      accessKeyId: id,
      secretAccessKey: key,
      ...(token !== undefined && { sessionToken: token }),
    };
  throw new VaultError(
    'missing',
    `${from.name} is no pair of keys; store {"AccessKeyId":"…","SecretAccessKey":"…"} as JSON, or write web_identity: true for a token`,
  );
}

/** Its text has the same format; a placement takes it apart. */
export function tokenIn(url: URL, credentials: Credentials | undefined, now: number): Token {
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = credentials ?? {};
  const isWhole =
    KEY_ID.test(AccessKeyId ?? '') &&
    SECRET_KEY.test(SecretAccessKey ?? '') &&
    SESSION_TOKEN.test(SessionToken ?? '');
  if (!isWhole) throw malformed(url, 'has no usable keys');
  const value = JSON.stringify({ AccessKeyId, SecretAccessKey, SessionToken });
  return tokenOf(url, 'Credentials', value, Expiration?.getTime() ?? Number.NaN, now);
}
