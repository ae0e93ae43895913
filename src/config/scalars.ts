import { parseAuthority } from '../policy/host.ts';
import { mayDial, parseCidr } from '../policy/address.ts';
import { formatIp, parseIp } from '../policy/ip.ts';
import type { SecretRef } from '../types.ts';
import type { ListenAddress, ParentProxy, ResolvedTo } from './types.ts';

export { parseSize } from '../inject/size.ts';

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
/** What a timer of Node can wait for, in whole days. */
const MAX_DURATION_MS = 24 * UNIT_MS.d;

/** Processes of one gate. */
export const MAX_WORKERS = 64;

const NO_PORT = -1;
const EVERYWHERE = ['0.0.0.0/0', '::/0'].map(parseCidr).filter(range => range !== undefined);

/** Names of vaults, credentials, rules and profiles. */
export const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;

/** `500ms`, `30s`, `5m`, `1h`, `1d`, in ms; from 1 ms to 24 days. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  const duration = Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
  return duration <= MAX_DURATION_MS ? duration : undefined;
}

/** `host:port` or `unix:/path`; port 0 takes a free one. The path may still be relative. */
export function parseListen(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) return text.length > 5 ? { path: text.slice(5) } : undefined;
  const free = text.endsWith(':0');
  const authority = parseAuthority(free ? `${text.slice(0, -1)}1` : text);
  return authority && { host: authority.host, port: free ? 0 : authority.port };
}

/** A number of processes, or `auto`. */
export function parseWorkers(text: string): number | 'auto' | undefined {
  if (text === 'auto') return text;
  const workers = /^[1-9]\d?$/.test(text) ? Number(text) : Number.NaN;
  return workers <= MAX_WORKERS ? workers : undefined;
}

/** `<vault>:<id>[?version=V][#json-field]` */
export function parseSecretRef(text: string): SecretRef | undefined {
  const [, vault, id, version, field] =
    /^([^:]+):([^?#\s][^?#\x00-\x1f\x7f]*)(?:\?version=([^?#\s]+))?(?:#([^#\x00-\x1f\x7f]+))?$/.exec(text) ??
    [];
  if (vault === undefined || id === undefined || !NAME.test(vault)) return undefined;
  return { vault, id, ...(version !== undefined && { version }), ...(field !== undefined && { field }) };
}

/** `127.0.0.1`, `127.0.0.1:9443`, `::1` or `[::1]:9443`. No metadata address: the gate never dials one. */
export function parseResolvedTo(text: string): ResolvedTo | undefined {
  const ip = parseIp(text);
  const withPort = ip ? undefined : parseAuthority(text, NO_PORT);
  const address = ip ? formatIp(ip) : withPort?.host;
  if (address === undefined || !mayDial(address, EVERYWHERE)) return undefined;
  return withPort && withPort.port !== NO_PORT ? { address, port: withPort.port } : { address };
}

/** `http://host:port`, or https; nothing behind it, no user and password. */
export function parseParentProxy(text: string): ParentProxy | undefined {
  const [, scheme, authority] = /^(https?):\/\/([^/]+)\/?$/.exec(text) ?? [];
  const parsed = authority === undefined ? undefined : parseAuthority(authority);
  return parsed && { scheme: scheme as ParentProxy['scheme'], ...parsed };
}
