import type { Flow } from '../flow.ts';
import type { Identities } from '../identity/identities.ts';
import type { Contexts } from '../intercept/contexts.ts';
import type { Sessions } from '../state/sessions.ts';
import type { Session } from '../types.ts';
import type { WireLimits } from '../wire/limits.ts';
import type { TlsDoorOptions } from './tls-door.ts';

export interface ListenLimits extends WireLimits {
  /** Open tunnels per session. */
  readonly tunnels: number;
  /** Open tunnels per session to hosts that no rule allows, kept only so that the client can read the refusal. */
  readonly deniedTunnels: number;
  /** HTTP/2 streams under way per session: each may hold a window of data that its client does not read. */
  readonly sessionStreams: number;
  /** Time for a TLS handshake with the sandbox's client, ms. */
  readonly handshakeMs: number;
}

/** What the proxy listener works with. */
export interface ProxyRooms {
  readonly flow: Flow;
  readonly sessions: Sessions;
  readonly identities: Identities;
  /** Environment variable → stub. */
  readonly stubsOf: (session: Session) => Readonly<Record<string, string>>;
  /** PEM of our CA, for sandboxes. */
  readonly caPem: string;
  /** Absent: the proxy speaks plain HTTP. */
  readonly tls?: TlsDoorOptions;
  readonly contexts: Contexts;
  readonly limits: ListenLimits;
}
