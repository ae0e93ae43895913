import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { type HttpUpstream, type Received, startHttp } from '../upstream.ts';
import type { AwsKeys } from './aws.ts';
import { iamFault } from './vault-aws.ts';

/** Versions of one secret, the first one first; undefined: deleted. */
export type Versions = (Readonly<Record<string, unknown>> | undefined)[];

export interface VaultSetup {
  /** Names of the certificate; none: plain HTTP. */
  hosts?: readonly string[];
  /** Path below the mount `secret` (KV 2) → its versions. */
  secrets?: Readonly<Record<string, Versions>>;
  /** Path below the mount `kv1` (KV 1) → its fields. */
  flat?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Of a login; 3600 s. 0: the token does not expire. */
  leaseSeconds?: number;
  /** Every request must name it. */
  namespace?: string;
  /** Who may log in at `auth/aws`, with the role `stubgate`. */
  aws?: VaultAws;
}

export interface VaultAws {
  readonly keys: ReadonlyMap<string, AwsKeys>;
  /** Of the STS that is asked; the global one by default. */
  readonly region?: string;
  /** What X-Vault-AWS-IAM-Server-ID must be. */
  readonly serverId?: string;
}

/** What a login must send, by the path of its mount. */
const LOGINS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  approle: { role_id: 'role-1', secret_id: 'sesame-secret-id' },
  'team/approle': { role_id: 'role-2', secret_id: 'sesame-secret-id' },
  kubernetes: { role: 'stubgate', jwt: 'sesame-jwt' },
  jwt: { role: 'stubgate', jwt: 'sesame-jwt' },
};

/** Answers in the place of the server; true: it did. */
export type Fault = (request: Received, response: ServerResponse) => boolean;

export interface VaultServer extends HttpUpstream {
  readonly secrets: Record<string, Versions>;
  /** Valid tokens. */
  readonly tokens: Set<string>;
  fault: Fault | undefined;
  /** What was wrong with each login at `auth/aws`; `none`. */
  readonly iamFaults: string[];
  /** Requests whose path begins so, as `METHOD path`. */
  asked(prefix?: string): string[];
  /** Settles at the next request to that path. */
  next(path: string): Promise<void>;
}

/** HashiCorp Vault as far as a reader sees it: KV 1 and 2, logins, lookup, renewal. Tokens begin with `hvs.sesame`. */
export async function startVault(setup: VaultSetup = {}): Promise<VaultServer> {
  const { namespace, leaseSeconds = 3600 } = setup;
  const secrets: Record<string, Versions> = { ...setup.secrets };
  const tokens = new Set<string>();
  const waiting = new Map<string, () => void>();
  const http = await startHttp(setup.hosts ? { hosts: setup.hosts } : {}, (request, response) => {
    const { pathname } = new URL(request.url, 'http://vault');
    waiting.get(pathname)?.();
    if (server.fault?.(request, response)) return;
    if (namespace !== undefined && request.headers['x-vault-namespace'] !== namespace)
      return answer(response, 404, { errors: ['no handler for route'] });
    route(request, response);
  });
  const server: VaultServer = {
    ...http,
    secrets,
    tokens,
    fault: undefined,
    iamFaults: [],
    asked: (prefix = '') =>
      http.requests
        .map(({ method, url }) => `${method} ${url}`)
        .filter(line => line.includes(` /v1/${prefix}`)),
    next: path =>
      new Promise(resolve => {
        waiting.set(path, resolve);
      }),
  };

  function route(request: Received, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url, 'http://vault');
    const path = decodeURIComponent(pathname.replace(/^\/v1\//, ''));
    const mount = /^auth\/(.+)\/login$/.exec(path)?.[1];
    if (mount === 'aws' && setup.aws) return void logInWithIam(setup.aws, request, response);
    if (mount !== undefined) return logIn(mount, request, response);
    const token = String(request.headers['x-vault-token']);
    if (!tokens.has(token)) return answer(response, 403, { errors: ['permission denied', 'invalid token'] });
    const auth = { client_token: token, lease_duration: leaseSeconds, renewable: leaseSeconds > 0 };
    if (path === 'auth/token/renew-self') return answer(response, 200, { auth });
    if (path === 'auth/token/lookup-self')
      return answer(response, 200, { data: { id: token, ttl: leaseSeconds, renewable: auth.renewable } });
    if (path.includes('denied')) return answer(response, 403, { errors: ['1 error: permission denied'] });
    const flat = setup.flat?.[path.replace(/^kv1\//, '')];
    if (path.startsWith('kv1/') && flat) return answer(response, 200, { data: flat });
    if (path.startsWith('secret/data/')) return read(path, searchParams.get('version'), response);
    answer(response, 404, { errors: [] });
  }

  function logIn(mount: string, { method, body }: Received, response: ServerResponse): void {
    const wanted = LOGINS[mount];
    if (!wanted) return answer(response, 404, { errors: ['no handler for route'] });
    const sent = JSON.parse(body.toString()) as Record<string, string>;
    const matches = Object.keys(wanted).every(key => sent[key] === wanted[key]);
    if (!matches || !/^(POST|PUT)$/.test(method))
      return answer(response, 400, { errors: [`invalid ${JSON.stringify(sent)}`] });
    welcome(response);
  }

  async function logInWithIam(
    aws: VaultAws,
    { method, body }: Received,
    response: ServerResponse,
  ): Promise<void> {
    const sent = JSON.parse(body.toString()) as Record<string, string>;
    const fault = method === 'POST' ? await iamFault(sent, aws) : 'no POST';
    server.iamFaults.push(fault ?? 'none');
    if (fault === undefined) welcome(response);
    else answer(response, 400, { errors: [`${fault} in ${JSON.stringify(sent)}`] });
  }

  function welcome(response: ServerResponse): void {
    const token = `hvs.sesame${randomBytes(12).toString('hex')}`;
    tokens.add(token);
    const auth = { client_token: token, lease_duration: leaseSeconds, renewable: leaseSeconds > 0 };
    answer(response, 200, { auth: { ...auth, accessor: 'a', policies: ['default'] } });
  }

  function read(path: string, asked: string | null, response: ServerResponse): void {
    const versions = secrets[path.slice('secret/data/'.length)] ?? [];
    const version = asked === null || asked === '0' ? versions.length : Number(asked);
    if (version < 1 || version > versions.length) return answer(response, 404, { errors: [] });
    const data = versions[version - 1] ?? null;
    const deletion_time = data ? '' : '2026-01-02T03:04:05Z';
    const metadata = { version, created_time: '2026-01-01T00:00:00Z', deletion_time, destroyed: false };
    answer(response, data ? 200 : 404, { data: { data, metadata } });
  }
  return server;
}

export function answer(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}
