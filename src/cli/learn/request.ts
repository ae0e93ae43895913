import type { Reason } from '../../errors.ts';
import type { Sighting } from '../../flow/observed.ts';
import { canonicalHost } from '../../policy/host.ts';
import { canonicalPath } from '../../policy/path.ts';
import type { AuditEvent } from '../../types.ts';

/** A request of a run, as its rule has to see it. */
export interface SeenRequest {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** `CONNECT`: nothing was asked for inside. */
  readonly method: string;
  /** Absent: it cannot be read, or the audit withheld it. */
  readonly path?: string;
  readonly verdict: AuditEvent['verdict'];
  readonly reason: Reason | null;
  readonly rule: string | null;
  readonly status: number;
  readonly injected: readonly { credential: string; placement: string }[];
  readonly client?: string;
  readonly credentials: Sighting['credentials'];
}

/** Undefined for a line that names no request: a refused login, or something that is no audit line. */
export function requestOf(line: string, sighting?: Sighting): SeenRequest | undefined {
  const event = parsed(line);
  if (!event) return undefined;
  const { scheme, host, port, method } = event;
  if (scheme !== 'http' && scheme !== 'https') return undefined;
  if (typeof host !== 'string' || canonicalHost(host.includes(':') ? `[${host}]` : host) !== host)
    return undefined;
  if (!Number.isInteger(port) || typeof method !== 'string' || !/^[A-Z][A-Z_-]{0,31}$/.test(method))
    return undefined;
  const path = sighting?.path ?? event.path;
  const isPath = typeof path === 'string' && canonicalPath(path)?.path === path;
  return {
    scheme,
    host,
    port: Number(port),
    method,
    ...(isPath && { path }),
    verdict: event.verdict === 'allow' || event.verdict === 'tunnel' ? event.verdict : 'deny',
    reason: event.reason ?? null,
    rule: typeof event.rule === 'string' ? event.rule : null,
    status: Number(event.status) || 0,
    injected: Array.isArray(event.injected) ? event.injected.filter(isInjected) : [],
    ...(sighting?.client !== undefined && { client: sighting.client }),
    credentials: sighting?.credentials ?? [],
  };
}

function isInjected(one: unknown): one is { credential: string; placement: string } {
  const { credential, placement } = Object(one) as Record<string, unknown>;
  return [credential, placement].every(text => typeof text === 'string' && /^[\w ./:-]{1,128}$/.test(text));
}

function parsed(line: string): Partial<AuditEvent> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
