import { Refusal } from '../errors.ts';
import { parseAuthority } from '../policy/host.ts';
import { canonicalPath } from '../policy/path.ts';
import type { CanonicalHost, RequestHead, Session, Target } from '../types.ts';
import { get } from '../fields.ts';

/** What a connection, or an absolute-form request, has settled before its request is judged. */
export interface Channel {
  readonly session: Session;
  readonly scheme: 'http' | 'https';
  /** Of the CONNECT, or of the absolute-form target: the host that counts. */
  readonly host: CanonicalHost;
  readonly port: number;
  /** The name that the client asked for in TLS; absent if it sent none. */
  readonly sni?: string;
}

const DEFAULT_PORT = { http: 80, https: 443 } as const;

/**
 * The complete question to the policy: the channel's host with the request's method and canonical path.
 * Throws `host_mismatch` or `ambiguous_path`. `originForm` is the request target without scheme and authority.
 */
export function requestTarget(head: RequestHead, channel: Channel, originForm: string): Target {
  requireSameHost(head, channel);
  return {
    scheme: channel.scheme,
    host: channel.host,
    port: channel.port,
    method: head.method,
    path: pathOf(originForm),
  };
}

function pathOf(originForm: string): string {
  if (originForm === '*') return originForm;
  const canonical = canonicalPath(originForm);
  if (!canonical) throw new Refusal('ambiguous_path');
  return canonical.path;
}

function requireSameHost(head: RequestHead, channel: Channel): void {
  const written = get(head.headers, 'host');
  // The usual spelling, compared before anything is parsed; HTTP/1.0 may leave Host out in absolute-form.
  if (written === undefined || written === authorityOf(channel)) return requireSameName(channel);
  const host = parseAuthority(written, DEFAULT_PORT[channel.scheme]);
  if (!host || host.host !== channel.host || host.port !== channel.port) throw new Refusal('host_mismatch');
  requireSameName(channel);
}

function requireSameName({ sni, host }: Channel): void {
  if (sni !== undefined && sni !== host && sni.toLowerCase() !== host) throw new Refusal('host_mismatch');
}

/** `GET https://host/path`, as refusals show it. */
export function describe(target: Target): string {
  return `${target.method ?? 'CONNECT'} ${target.scheme}://${authorityOf(target)}${target.path ?? ''}`;
}

/** `host`, or `host:port` where the port is not the scheme's own. */
export function authorityOf({ scheme, host, port }: Target): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === DEFAULT_PORT[scheme] ? name : `${name}:${port}`;
}
