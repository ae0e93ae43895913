import type { Limits } from '../config/types.ts';
import type { Flow } from '../flow.ts';
import type { Contexts } from '../intercept/contexts.ts';
import type { Sessions } from '../state/sessions.ts';
import type { WireLimits } from '../wire/limits.ts';

/** Time for a TLS handshake with a sandbox's client, ms. */
const HANDSHAKE_MS = 10_000;

export interface ListenLimits extends WireLimits {
  /** Open tunnels per session. */
  readonly tunnels: number;
  /** Open tunnels per session to hosts that no rule allows, kept only so that the client can read the refusal. */
  readonly deniedTunnels: number;
  /** Time for a TLS handshake with the sandbox's client, ms. */
  readonly handshakeMs: number;
}

/** What the proxy listener works with. */
export interface ProxyRooms {
  readonly flow: Flow;
  readonly sessions: Sessions;
  readonly contexts: Contexts;
  readonly limits: ListenLimits;
}

export function listenLimits(limits: Limits): ListenLimits {
  return {
    head: limits.headBytes,
    uri: limits.uriBytes,
    headers: limits.headers,
    headMs: limits.headTimeMs,
    idleMs: limits.idleMs,
    bodyIdleMs: limits.bodyIdleMs,
    tunnels: limits.tunnels,
    deniedTunnels: limits.deniedTunnels,
    handshakeMs: HANDSHAKE_MS,
  };
}
