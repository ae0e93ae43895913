import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Secret } from '../secret.ts';
import { printable } from './fields.ts';
import { BACKDATED_S, signJwt } from './jwt.ts';

/** Entra allows ten minutes. s */
const ASSERTION_LIFE_S = 9 * 60;
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** How a client proves to a token endpoint who it is (RFC 6749, section 2.3). */
export const clientAuthFields = {
  client_auth: z
    .enum(['basic', 'post', 'private_key_jwt'])
    .default('basic')
    .describe(
      'How the client proves itself: its secret in the Authorization field (basic, default) or in the body (post), or, in the secret’s place, a private key in PEM that signs an assertion (private_key_jwt, RFC 7523; Entra, Okta).',
    ),
  key_id: printable('key-1').optional().describe('`kid` of the key that signs, if the server needs it.'),
  certificate_thumbprint: z
    .string()
    .regex(
      /^(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$/,
      'is not a thumbprint; write the SHA-1 or SHA-256 of the certificate, in hexadecimal digits',
    )
    .optional()
    .describe(
      'private_key_jwt: SHA-1 or SHA-256 thumbprint of the key’s certificate, in hexadecimal digits (`x5t`, `x5t#S256`); Entra needs it.',
    ),
};

export interface ClientAuth {
  readonly client_id?: string | undefined;
  readonly client_auth: 'basic' | 'post' | 'private_key_jwt';
  readonly key_id?: string | undefined;
  readonly certificate_thumbprint?: string | undefined;
}

/** Adds to the form, and gives the header fields. `secret`: the client's, or its private key. */
export function authenticate(
  url: URL,
  client: ClientAuth & { readonly client_id: string },
  secret: Secret,
  form: URLSearchParams,
  now: number,
): Record<string, string> {
  const { client_id: id, client_auth: method } = client;
  switch (method) {
    case 'basic': {
      const pair = `${encoded(id)}:${encoded(secret.reveal())}`;
      return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
    }
    case 'post':
      form.set('client_id', id);
      form.set('client_secret', secret.reveal());
      return {};
    case 'private_key_jwt':
      form.set('client_id', id);
      form.set('client_assertion_type', ASSERTION_TYPE);
      form.set('client_assertion', assertion(url, client, secret, now));
      return {};
  }
}

/** RFC 7523, section 3. */
function assertion(
  url: URL,
  client: ClientAuth & { readonly client_id: string },
  key: Secret,
  now: number,
): string {
  const seconds = Math.floor(now / 1000);
  const claims = {
    iss: client.client_id,
    sub: client.client_id,
    aud: url.href,
    iat: seconds - BACKDATED_S,
    nbf: seconds - BACKDATED_S,
    exp: seconds + ASSERTION_LIFE_S,
    jti: randomUUID(),
  };
  return signJwt(key, claims, assertionHeader(client));
}

/** RFC 7515, sections 4.1.4, 4.1.7 and 4.1.8. Entra takes SHA-256 with RSASSA-PSS alone. */
function assertionHeader({ key_id: keyId, certificate_thumbprint: print }: ClientAuth) {
  const isLong = print?.length === 64;
  const x5t = print === undefined ? undefined : Buffer.from(print, 'hex').toString('base64url');
  return {
    ...(keyId !== undefined && { kid: keyId }),
    ...(x5t !== undefined && (isLong ? { alg: 'PS256', 'x5t#S256': x5t } : { x5t })),
  };
}

/** application/x-www-form-urlencoded */
function encoded(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}
