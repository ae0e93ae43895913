import { createHash, randomBytes } from 'node:crypto';
import { type HttpUpstream, startHttp } from '../upstream.ts';

export interface OAuthServer extends HttpUpstream {
  /** Every secret that was handed out, in order. */
  readonly handedOut: readonly string[];
  /** A user code is confirmed at once, or only then. */
  confirm(): void;
}

export interface OAuthOptions {
  hosts: readonly string[];
  /** Rotates refresh tokens: each is good once. */
  rotates?: boolean;
  /** Of a device's login. */
  confirmed?: boolean;
}

/** Tokens as GitHub makes them, whose length its clients do not check. */
const token = (prefix: string): string =>
  `${prefix}${randomBytes(27).toString('base64url').replace(/[-_]/g, 'x')}`;

/**
 * An authorization server (RFC 6749, RFC 7636, RFC 8628) and the API behind it, as GitHub has them on one host: answers
 * are forms unless JSON is asked for. Refuses every code and token that it did not hand out, and each that was used.
 */
export async function startOAuth({
  hosts,
  rotates = true,
  confirmed = true,
}: OAuthOptions): Promise<OAuthServer> {
  const handedOut: string[] = [];
  const [access, refresh, devices] = [new Set<string>(), new Set<string>(), new Set<string>()];
  const codes = new Map<string, string>();
  let isConfirmed = confirmed;
  const make = (prefix: string, into: Set<string>): string => {
    const made = token(prefix);
    into.add(made);
    handedOut.push(made);
    return made;
  };
  const grant = (form: URLSearchParams): Record<string, unknown> => {
    const tokens = () => ({
      access_token: make('gho_', access),
      refresh_token: make('ghr_', refresh),
      token_type: 'bearer',
      scope: 'repo,read:org,gist',
      expires_in: 28_800,
    });
    switch (form.get('grant_type')) {
      case 'urn:ietf:params:oauth:grant-type:device_code': {
        const device = form.get('device_code') ?? '';
        if (!devices.has(device)) return { error: 'expired_token', error_description: 'no such device code' };
        if (!isConfirmed) return { error: 'authorization_pending', error_description: 'not yet' };
        devices.delete(device);
        return tokens();
      }
      case 'authorization_code': {
        const challenge = codes.get(form.get('code') ?? '');
        const verifier = createHash('sha256')
          .update(form.get('code_verifier') ?? '')
          .digest('base64url');
        if (challenge !== verifier || !codes.delete(form.get('code') ?? ''))
          return { error: 'invalid_grant' };
        return tokens();
      }
      case 'refresh_token': {
        const given = form.get('refresh_token') ?? '';
        if (!refresh.has(given)) return { error: 'invalid_grant' };
        if (rotates) refresh.delete(given);
        return { ...tokens(), ...(!rotates && { refresh_token: given }) };
      }
      default:
        return { error: 'unsupported_grant_type' };
    }
  };
  const server = await startHttp({ hosts }, (request, response) => {
    const path = request.url
      .replace(/\?.*/, '')
      .replace(/^\/api\/v3/, '')
      .replace(/^\/api\/graphql/, '/graphql');
    const form = new URLSearchParams(request.body.toString());
    const isJson = /json/.test(request.headers.accept ?? '');
    const json = (status: number, body: unknown): void => {
      response.writeHead(status, {
        'content-type': 'application/json; charset=utf-8',
        'x-oauth-scopes': 'repo, read:org, gist',
      });
      response.end(JSON.stringify(body));
    };
    const answer = (body: Record<string, unknown>): void => {
      if (isJson) return json(200, body);
      response.writeHead(200, { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' });
      response.end(new URLSearchParams(body as Record<string, string>).toString());
    };
    if (path === '/login/device/code') {
      return answer({
        device_code: make('', devices),
        user_code: 'WDJB-MJHT',
        verification_uri: `https://${hosts[0]}/login/device`,
        expires_in: 900,
        interval: 1,
      });
    }
    if (path === '/authorize') {
      const code = token('code');
      codes.set(code, new URL(request.url, 'https://x').searchParams.get('code_challenge') ?? '');
      return json(200, { code });
    }
    if (path === '/login/oauth/access_token') return answer(grant(form));
    const [, given = ''] = (request.headers.authorization ?? '').split(' ');
    if (!access.has(given)) return json(401, { message: 'Bad credentials' });
    // A careless service that repeats the credential it was given.
    if (path === '/user') return json(200, { login: 'octo', id: 1, debug: request.headers.authorization });
    if (path === '/graphql') return json(200, { data: { viewer: { login: 'octo' } } });
    json(200, {});
  });
  return { ...server, handedOut, confirm: () => void (isConfirmed = true) };
}
