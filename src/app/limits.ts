import type { Limits } from '../config/types.ts';
import type { ListenLimits } from '../listen/rooms.ts';
import type { UpstreamLimits } from '../upstream/pool.ts';
import { CLIENT_LIMITS } from '../wire/limits.ts';

/** Time for a TLS handshake with a sandbox's client, ms. */
const HANDSHAKE_MS = 10_000;

/** What one sandbox may use up, as the listener and the wire have it. */
export function listenLimits(limits: Limits): ListenLimits {
  return {
    head: limits.headBytes,
    uri: limits.uriBytes,
    headers: limits.headers,
    headMs: limits.headTimeMs,
    idleMs: limits.idleMs,
    bodyIdleMs: limits.bodyIdleMs,
    http2: limits.http2,
    tunnels: limits.tunnels,
    deniedTunnels: limits.deniedTunnels,
    sessionStreams: limits.http2.sessionStreams,
    handshakeMs: HANDSHAKE_MS,
  };
}

/** What an upstream may take, and use up. */
export function upstreamLimits(limits: Limits): UpstreamLimits {
  return {
    ...CLIENT_LIMITS,
    responseMs: limits.responseTimeMs,
    bodyIdleMs: limits.bodyIdleMs,
    connectMs: 10_000,
    idleMs: 30_000,
    maxIdlePerOrigin: 64,
    maxPerOrigin: 1024,
  };
}
