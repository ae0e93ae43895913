import { createLocalJWKSet, jwtVerify, SignJWT } from 'jose';
import { type HttpUpstream, startHttp } from '../upstream.ts';
import { makeKey, type OidcIssuer, seconds } from './oidc.ts';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';

/** An authorization server that exchanges the tokens of one issuer (RFC 8693). */
export interface ExchangeServer extends HttpUpstream {
  /** What it gave for whom, in order. */
  readonly issued: { readonly sub: string; readonly token: string }[];
  /** `error` of what it refused, in order. */
  readonly refused: string[];
  /** Of its tokens, in seconds. */
  lives: number;
  /** The `sub` whom its tokens are said to be for; a token that nobody can read. */
  isOpaque: boolean;
}

export interface ExchangeOptions {
  readonly host: string;
  readonly subjects: Pick<OidcIssuer, 'issuer' | 'keys'>;
  /** The one actor that may act for others, and the token by which it is known. */
  readonly actor: { readonly sub: string; readonly token: string };
  readonly audience: string;
}

/** Takes a subject only if its issuer signed it and it has not ended, and an actor only if it is the one. */
export async function startExchange({
  host,
  subjects,
  actor,
  audience,
}: ExchangeOptions): Promise<ExchangeServer> {
  const key = await makeKey('exchange');
  const grant = async (form: URLSearchParams): Promise<object> => {
    const once = [...form.keys()].every(name => form.getAll(name).length === 1);
    if (!once || form.get('grant_type') !== GRANT) return { error: 'invalid_request' };
    if (form.get('audience') !== audience) return { error: 'invalid_target' };
    if (form.get('scope') !== 'orders.read') return { error: 'invalid_scope' };
    const isActor =
      form.get('actor_token') === actor.token && form.get('actor_token_type') === `${TYPE}access_token`;
    if (!isActor) return { error: 'invalid_client' };
    if (form.get('subject_token_type') !== `${TYPE}jwt`) return { error: 'invalid_request' };
    const keys = createLocalJWKSet({ keys: subjects.keys.map(({ publicJwk }) => publicJwk) });
    const verified = await jwtVerify(form.get('subject_token') ?? '', keys, {
      issuer: subjects.issuer,
    }).catch(() => undefined);
    if (!verified) return { error: 'invalid_request', error_description: form.get('subject_token') };
    const { sub = '', act: before } = verified.payload;
    const act = { sub: actor.sub, ...(before !== undefined && { act: before }) };
    const claims = { sub, act, scope: 'orders.read', jti: crypto.randomUUID() };
    const signed = await new SignJWT({ ...claims, iat: seconds(), exp: seconds(server.lives) })
      .setProtectedHeader({ alg: key.alg, kid: key.kid })
      .setIssuer(`https://${host}`)
      .setAudience(audience)
      .sign(key.privateKey);
    const token = server.isOpaque ? `opaque-${crypto.randomUUID()}` : signed;
    server.issued.push({ sub, token });
    return {
      access_token: token,
      issued_token_type: `${TYPE}access_token`,
      token_type: 'Bearer',
      expires_in: server.lives,
    };
  };
  const http = await startHttp({ hosts: [host] }, async (request, response) => {
    const isRight =
      request.method === 'POST' &&
      request.url === '/token' &&
      request.headers['content-type'] === 'application/x-www-form-urlencoded';
    const answer = isRight
      ? await grant(new URLSearchParams(request.body.toString()))
      : { error: 'invalid_request' };
    if ('error' in answer) server.refused.push(String(answer.error));
    response.writeHead('error' in answer ? 400 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  });
  const server: ExchangeServer = { ...http, issued: [], refused: [], lives: 600, isOpaque: false };
  return server;
}
