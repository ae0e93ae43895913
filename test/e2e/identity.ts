import { onTestFinished } from 'vitest';
import type { AuditEvent } from '../../src/types.ts';
import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate } from '../support/gate.ts';
import { dial, header, readReply, type Reply, request } from '../support/raw-client.ts';
import type { GateSetup } from '../support/setup.ts';
import { type HttpUpstream, startEcho, type Upstream } from '../support/upstream.ts';
import { type OidcIssuer, startOidc } from '../support/upstreams/oidc.ts';

export const API = 'api.corp.test';
export const ISSUER = 'id.corp.test';

/** A gate that has one credential and takes identities. */
export interface IdentityScene {
  readonly gate: LocalGate;
  readonly issuer: OidcIssuer;
  readonly api: HttpUpstream;
  readonly secret: string;
  /** What a session says of itself. */
  session(authorization: string): Promise<Reply>;
  /** A request for the API with a credential of the proxy's, and with `stub` as its token. */
  call(authorization: string, stub?: string): Promise<Reply>;
  /** The one line that the audit has of what `act` does. */
  line(act: () => Promise<unknown>): Promise<AuditEvent>;
}

export const closing = <T extends Pick<Upstream, 'close'>>(one: T): T => {
  onTestFinished(() => one.close());
  return one;
};

export const bearer = (token: string): string => `Bearer ${token}`;
export const basic = (token: string, user = 'jwt'): string =>
  `Basic ${Buffer.from(`${user}:${token}`, 'latin1').toString('base64')}`;

export const RULES = [
  { name: 'api', hosts: [API], inject: [{ credential: 'api', as: 'bearer' }] },
  { name: 'open', hosts: ['open.corp.test'] },
];
export const PROFILES = {
  default: { rules: ['api'] },
  ci: { rules: ['api'], ttl: '1h' },
  closed: { rules: ['open'] },
};
export const JWT = {
  type: 'jwt',
  issuer: `https://${ISSUER}`,
  audience: 'stubgate',
  match: 'any',
  profile: 'ci',
} as const;

/** `identity`: entries as the configuration has them. */
export async function identityScene(
  identity: readonly object[],
  more: Omit<GateSetup, 'rules'> = {},
): Promise<IdentityScene> {
  const secret = canary();
  const api = closing(await startEcho({ hosts: [API] }));
  const issuer = closing(await startOidc(ISSUER));
  const gate = await startTestGate({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: RULES,
    profiles: PROFILES,
    ...more,
    upstreams: { [API]: api, [ISSUER]: issuer, ...more.upstreams },
    config: { identity, ...more.config },
  });
  onTestFinished(() => gate.stop());
  return sceneOf(gate, issuer, api, secret);
}

export function sceneOf(
  gate: LocalGate,
  issuer: OidcIssuer,
  api: HttpUpstream,
  secret: string,
): IdentityScene {
  return {
    gate,
    issuer,
    api,
    secret,
    session: authorization => ownPage(gate.proxyPort, authorization),
    call: (authorization, stub = 'x') => callApi(gate, authorization, stub),
    line: async act => {
      const before = linesOf(gate);
      await act();
      const lines = await gate.audit(before + 1);
      if (lines.length !== before + 1) throw new Error(`${lines.length - before} lines, not one`);
      return lines[before] as AuditEvent;
    },
  };
}

function linesOf(gate: LocalGate): number {
  return gate.auditText().split('\n').length - 1;
}

/** One of the gate's own pages, over the proxy's own connection. */
export async function ownPage(
  port: number,
  authorization: string,
  page = '/session',
  more: readonly string[] = [],
): Promise<Reply> {
  const peer = await dial(port);
  const lines = [
    `GET http://stubgate.invalid${page} HTTP/1.1`,
    'Host: stubgate.invalid',
    ...(authorization === '' ? [] : [`Proxy-Authorization: ${authorization}`]),
    ...more,
  ];
  await peer.send(`${lines.join('\r\n')}\r\n\r\n`);
  const reply = await readReply(peer);
  peer.cut();
  return reply;
}

/** What the session, or the refusal of the CONNECT, answers. */
async function callApi(gate: LocalGate, authorization: string, stub: string): Promise<Reply> {
  const peer = await dial(gate.proxyPort);
  await peer.send(
    `CONNECT ${API}:443 HTTP/1.1\r\nHost: ${API}:443\r\nProxy-Authorization: ${authorization}\r\n\r\n`,
  );
  const reply = await readReply(peer, 'CONNECT');
  peer.cut();
  if (reply.status !== 200) return reply;
  const head = `GET /me HTTP/1.1\r\nHost: ${API}\r\nAuthorization: Bearer ${stub}`;
  return (await request({ port: gate.proxyPort, authorization }, gate.ca, API, head)).reply;
}

export interface Told {
  readonly id: string;
  readonly profile: string;
  readonly sub: string;
  readonly act: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly expires_at: string;
  readonly env: Readonly<Record<string, string>>;
  readonly ca: string;
}

export const told = (reply: Reply): Told => {
  if (reply.status !== 200) throw new Error(`${reply.status} ${reply.body.toString()}`);
  return JSON.parse(reply.body.toString()) as Told;
};

/** Status and reason. */
export const verdict = (reply: Reply): string =>
  `${reply.status} ${header(reply, 'stubgate-reason') ?? 'ok'}`;
