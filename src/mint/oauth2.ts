import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { authenticate, clientAuthFields } from './client-auth.ts';
import { endpoint, printable, secretRef } from './fields.ts';
import { malformed, refused } from './http.ts';
import { BACKDATED_S, signJwt } from './jwt.ts';
import type { Material, Minter, Revocation, Token } from './minter.ts';
import { secretOf, tokenOf } from './token.ts';
import { lifetime, requireGranted } from './token-answer.ts';

/** Google allows an hour. s */
const ASSERTION_LIFE_S = 9 * 60;
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

const schema = z
  .strictObject({
    grant: z
      .enum(['client_credentials', 'refresh_token', 'jwt-bearer'])
      .describe(
        'client_credentials: `from` is the client secret, or its private key; refresh_token: `from` is one; jwt-bearer (RFC 7523): `from` is a private key in PEM, RSA or P-256.',
      ),
    token_url: endpoint().describe('Token endpoint of the authorization server.'),
    client_id: printable('my-client').describe(
      'Who asks; for jwt-bearer the issuer of the assertion, such as the address of a Google service account.',
    ),
    client_secret: secretRef()
      .optional()
      .describe('Where the client secret is, `<vault>:<id>`, if the grant needs one besides `from`.'),
    ...clientAuthFields,
    scope: printable('"repo user"').optional().describe('Scopes, separated by spaces.'),
    audience: printable('https://api.example.com')
      .optional()
      .describe('Whom the token is for; of a jwt-bearer whom the assertion is for (default `token_url`).'),
    subject: printable('user@example.com')
      .optional()
      .describe('jwt-bearer: for whom the token is asked. Most servers want it, Google only for delegation.'),
    revocation_url: endpoint()
      .optional()
      .describe(
        'Revocation endpoint (RFC 7009): a token is revoked when the last session that has it ends. A server may end the refresh token with it.',
      ),
  })
  .refine(({ grant, client_secret }) => grant !== 'client_credentials' || client_secret === undefined, {
    path: ['client_secret'],
    message: 'is not for client_credentials; write where the client secret is in `from` of the credential',
  })
  .refine(({ grant, audience }) => grant !== 'refresh_token' || audience === undefined, {
    path: ['audience'],
    message: 'is not for refresh_token; leave it out',
  })
  .refine(({ grant, subject }) => grant === 'jwt-bearer' || subject === undefined, {
    path: ['subject'],
    message: 'is for jwt-bearer only; leave it out',
  })
  .refine(
    ({ grant, client_auth, key_id }) =>
      grant === 'jwt-bearer' || client_auth === 'private_key_jwt' || key_id === undefined,
    { path: ['key_id'], message: 'is for jwt-bearer and private_key_jwt only; leave it out' },
  )
  .refine(
    ({ client_auth, certificate_thumbprint: print }) =>
      client_auth === 'private_key_jwt' || print === undefined,
    { path: ['certificate_thumbprint'], message: 'is for private_key_jwt only; leave it out' },
  );

/** An OAuth 2.0 access token (RFC 6749, sections 4.4 and 6; RFC 7523, section 2.1). */
class OAuth2 implements Minter {
  readonly rotates: boolean;
  readonly #options: z.output<typeof schema>;
  readonly revoke?: (token: Secret, revocation: Revocation) => Promise<void>;
  readonly #url: URL;

  constructor(options: z.output<typeof schema>) {
    this.#options = options;
    this.#url = new URL(options.token_url);
    this.rotates = options.grant === 'refresh_token';
    if (options.revocation_url !== undefined) {
      const url = new URL(options.revocation_url);
      this.revoke = (token, revocation) => this.#revoke(url, token, revocation);
    }
  }

  /** The same for every session. */
  scope(): string {
    return '';
  }

  async mint(_: string, material: Material): Promise<Token> {
    const { from, further, now, post, rotate, ttlMs } = material;
    const form = this.#grant(material);
    const isOwn = this.#options.grant === 'client_credentials';
    const headers = this.#authenticate(isOwn ? from : further.get('client_secret'), form, now);
    const answer = await post(this.#url, headers, form.toString());
    const { body } = answer;
    requireGranted(this.#url, answer);
    // Whatever else the answer holds: the old one is spent.
    if (this.rotates && body['refresh_token'] !== undefined) {
      const next = secretOf(this.#url, 'refresh_token', body['refresh_token']);
      if (!next.equals(from)) rotate(next);
    }
    this.#requireBearer(body['token_type']);
    const expiresAt = now + lifetime(this.#url, body['expires_in'], ttlMs);
    return tokenOf(this.#url, 'access_token', body['access_token'], expiresAt, now);
  }

  /** RFC 7009, section 2.1; who asks proves it as for a token. */
  async #revoke(url: URL, token: Secret, { post, secret }: Revocation): Promise<void> {
    const isOwn = this.#options.grant === 'client_credentials';
    const form = new URLSearchParams({ token: token.reveal(), token_type_hint: 'access_token' });
    const headers = this.#authenticate(await secret(isOwn ? '' : 'client_secret'), form, Date.now());
    if (!headers['authorization']) form.set('client_id', this.#options.client_id);
    const { status } = await post(url, headers, form.toString(), 'revoke by POST');
    if (status !== 200) throw refused(url, status);
  }

  #grant({ from, now }: Material): URLSearchParams {
    const { grant, scope, audience } = this.#options;
    const form = new URLSearchParams();
    if (grant === 'jwt-bearer') {
      form.set('grant_type', JWT_BEARER);
      form.set('assertion', this.#assertion(from, now));
    } else {
      form.set('grant_type', grant);
      if (grant === 'refresh_token') form.set('refresh_token', from.reveal());
      if (audience !== undefined) form.set('audience', audience);
    }
    if (scope !== undefined) form.set('scope', scope);
    return form;
  }

  /** RFC 7523, section 3. Google reads the scope here, others read the parameter. */
  #assertion(key: Secret, now: number): string {
    const { client_id: issuer, subject, audience = this.#url.href, scope, key_id: keyId } = this.#options;
    const seconds = Math.floor(now / 1000);
    const claims = {
      iss: issuer,
      ...(subject !== undefined && { sub: subject }),
      aud: audience,
      ...(scope !== undefined && { scope }),
      iat: seconds - BACKDATED_S,
      exp: seconds + ASSERTION_LIFE_S,
      jti: randomUUID(),
    };
    return signJwt(key, claims, keyId === undefined ? {} : { kid: keyId });
  }

  /** RFC 6749, section 2.3.1; a client without a secret only says who it is (section 3.2.1). */
  #authenticate(secret: Secret | undefined, form: URLSearchParams, now: number): Record<string, string> {
    const { grant, client_id: id } = this.#options;
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    if (secret) return { ...headers, ...authenticate(this.#url, this.#options, secret, form, now) };
    if (grant === 'refresh_token') form.set('client_id', id);
    return headers;
  }

  #requireBearer(type: unknown): void {
    // What proves possession of a key is worth nothing by itself.
    if (type !== undefined && (typeof type !== 'string' || type.toLowerCase() !== 'bearer'))
      throw malformed(this.#url, 'holds a token of another type than Bearer');
  }
}

export const oauth2 = define({
  type: 'oauth2',
  summary: 'OAuth 2.0 access token, from a client secret, a refresh token or a private key',
  schema,
  build: (options): Minter => new OAuth2(options),
});
