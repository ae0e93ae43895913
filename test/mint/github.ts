import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import type http from 'node:http';
import { canary } from '../support/canary.ts';
import { type HttpOptions, type HttpUpstream, type Received, startHttp } from '../support/upstream.ts';

export const APP_ID = 4711;
export const INSTALLATION = 815;

/** A private key in PEM (PKCS#1, as GitHub hands it out) and its public half. */
export function appKey(): { pem: string; publicKey: KeyObject } {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    pem: privateKey.export({ type: 'pkcs1', format: 'pem' }),
    publicKey: createPublicKey(privateKey),
  };
}

export type Json = Readonly<Record<string, unknown>>;

/** The claims of a compact JWS; throws unless the signature is right. */
export function verified(
  jwt: string,
  publicKey: KeyObject,
  algorithm = 'RS256',
): { header: Json; claims: Json } {
  const [header = '', claims = '', signature = ''] = jwt.split('.');
  const parsed = (part: string): Json => JSON.parse(Buffer.from(part, 'base64url').toString()) as Json;
  if (parsed(header)['alg'] !== algorithm) throw new Error(`signed with ${String(parsed(header)['alg'])}`);
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
  const isRight = verify(
    'sha256',
    Buffer.from(`${header}.${claims}`),
    key,
    Buffer.from(signature, 'base64url'),
  );
  if (!isRight) throw new Error('the signature is wrong');
  return { header: parsed(header), claims: parsed(claims) };
}

export interface Issued {
  readonly token: string;
  readonly repositories: readonly string[] | undefined;
  readonly permissions: Json;
}

export interface Github extends HttpUpstream {
  /** Tokens handed out so far. */
  readonly issued: readonly Issued[];
  /** Tokens that were revoked. */
  readonly revoked: readonly string[];
  /** Takes the place of the answer, once the request was found right. */
  answer: ((response: http.ServerResponse, json: Json) => void) | undefined;
  /** Takes the place of the answer to a revocation. */
  fault: ((response: http.ServerResponse) => void) | undefined;
  /** What the App's key is now. */
  publicKey: KeyObject;
  /** Lifetime of a token, ms. */
  lifeMs: number;
}

export function reply(response: http.ServerResponse, status: number, json: Json): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(json));
}

/** Hands out installation tokens as GitHub does, narrowed as asked, to who signs as the App. */
export async function startGithub(options: HttpOptions, publicKey: KeyObject): Promise<Github> {
  const issued: Issued[] = [];
  const revoked: string[] = [];
  const upstream = await startHttp(options, (request, response) => {
    if (request.method === 'DELETE' && github.fault) return github.fault(response);
    if (request.method === 'DELETE') return revoke(request, response);
    const fault = requestFault(request, github.publicKey);
    if (fault !== undefined) return reply(response, 401, { message: fault });
    const asked = JSON.parse(request.body.toString()) as Omit<Issued, 'token'>;
    const one = { ...asked, token: canary('ghs_', 36) };
    issued.push(one);
    const json = {
      token: one.token,
      expires_at: new Date(Date.now() + github.lifeMs).toISOString().replace(/\.\d+/, ''),
      permissions: asked.permissions,
      repository_selection: asked.repositories ? 'selected' : 'all',
    };
    if (github.answer) github.answer(response, json);
    else reply(response, 201, json);
  });
  /** docs.github.com/rest/apps/installations#revoke-an-installation-access-token */
  function revoke({ url, headers }: Received, response: http.ServerResponse): void {
    const token = (headers.authorization ?? '').replace(/^Bearer /, '');
    const isValid = issued.some(one => one.token === token) && !revoked.includes(token);
    if (url !== '/installation/token') return reply(response, 404, { message: 'no such route' });
    if (!isValid) return reply(response, 401, { message: 'Bad credentials' });
    revoked.push(token);
    response.writeHead(204).end();
  }
  const github: Github = Object.assign(upstream, {
    issued,
    revoked,
    publicKey,
    lifeMs: 3_600_000,
    answer: undefined,
    fault: undefined,
  });
  return github;
}

function requestFault({ method, url, headers }: Received, publicKey: KeyObject): string | undefined {
  if (method !== 'POST' || url !== `/app/installations/${INSTALLATION}/access_tokens`) return 'no such route';
  try {
    const { claims } = verified((headers.authorization ?? '').replace(/^Bearer /, ''), publicKey);
    const now = Date.now() / 1000;
    const { iat, exp, iss } = claims as { iat: number; exp: number; iss: string };
    if (iss !== String(APP_ID)) return 'another issuer';
    if (iat > now - 55 || iat < now - 70) return 'iat is not about 60 s ago';
    if (exp <= now || exp > now + 600) return 'exp is not within 10 minutes';
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
