import { setTimeout as delay } from 'node:timers/promises';
import {
  exportJWK,
  generateKeyPair,
  type CryptoKey,
  type JWK,
  type JWTHeaderParameters,
  SignJWT,
} from 'jose';
import { type HttpUpstream, startHttp } from '../upstream.ts';

/** A key of the issuer's, both halves. */
export interface IssuerKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

/** How the issuer answers for its keys. */
export type Mood = 'well' | 'hangs' | 'garbage' | 'redirects' | 'fails' | 'huge' | 'resets';

/** An OpenID Connect issuer: discovery, a JWK Set, keys that rotate. */
export interface OidcIssuer extends HttpUpstream {
  readonly issuer: string;
  mood: Mood;
  /** Where it redirects to. */
  elsewhere: string;
  /** Another `issuer` in its discovery document. */
  named: string | undefined;
  readonly keys: IssuerKey[];
  /** What it publishes; by default the public half of each key. */
  published: () => readonly object[];
  /** A new key takes the place of the old ones. */
  rotate(kid: string, alg?: string): Promise<IssuerKey>;
  /** A token with the newest key, good for five minutes unless `claims` says otherwise. */
  sign(claims?: object, header?: Partial<JWTHeaderParameters>, key?: IssuerKey): Promise<string>;
  /** Requests for the keys so far. */
  readonly fetches: number;
}

export async function makeKey(kid: string, alg = 'ES256'): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

export const seconds = (offset = 0): number => Math.floor(Date.now() / 1000) + offset;

/** `host`: of its https URL. */
export async function startOidc(host: string): Promise<OidcIssuer> {
  const issuer = `https://${host}`;
  const keys = [await makeKey('key-1')];
  const http = await startHttp({ hosts: [host] }, async (request, response) => {
    const isKeys = request.url === '/jwks';
    if (request.method !== 'GET' || (!isKeys && request.url !== '/.well-known/openid-configuration')) {
      response.writeHead(404).end();
      return;
    }
    if (state.mood === 'hangs') return delay(60_000, undefined, { ref: false });
    if (state.mood === 'resets') return void response.destroy();
    if (state.mood === 'garbage') return void response.end('<html>not what you want</html>');
    if (state.mood === 'fails') return void response.writeHead(503).end('{"keys":[]}');
    if (state.mood === 'redirects')
      return void response.writeHead(302, { location: state.elsewhere }).end('{"keys":[]}');
    if (state.mood === 'huge') return void response.end(`{"keys":[],"x":"${'x'.repeat(2_000_000)}"}`);
    const answer = isKeys
      ? { keys: state.published() }
      : { issuer: state.named ?? issuer, jwks_uri: `${issuer}/jwks` };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  });
  const state: OidcIssuer = {
    ...http,
    issuer,
    mood: 'well',
    elsewhere: `${issuer}/jwks`,
    named: undefined,
    keys,
    published: () => keys.map(({ publicJwk }) => publicJwk),
    rotate: async (kid, alg) => {
      const key = await makeKey(kid, alg);
      keys.splice(0, keys.length, key);
      return key;
    },
    sign: (claims = {}, header = {}, key = keys.at(-1)) => {
      if (!key) throw new Error('the issuer has no key');
      const all = {
        iss: issuer,
        aud: 'stubgate',
        sub: 'robot',
        iat: seconds(),
        exp: seconds(300),
        ...claims,
      };
      return new SignJWT(all)
        .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header })
        .sign(key.privateKey);
    },
    get fetches() {
      return http.requests.filter(({ url }) => url === '/jwks').length;
    },
  };
  return state;
}
