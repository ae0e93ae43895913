import type { Server } from 'node:net';
import type { AuditLog } from '../audit/log.ts';
import type { Metrics } from '../audit/metrics.ts';
import type { Compiled, Config, ResolvedTo } from '../config/types.ts';
import type { Observer } from '../flow/observed.ts';
import type { StubIds } from '../inject/signing.ts';
import type { Authority } from '../intercept/ca.ts';
import type { Sessions } from '../state/sessions.ts';
import type { CanonicalHost, Log, Session } from '../types.ts';
import type { Lookup } from '../upstream/resolve.ts';
import type { Events } from './events.ts';

export interface GateOptions {
  /** Absolute path of the configuration. */
  readonly configFile: string;
  readonly log: Log;
  /** Hosts that the caller serves itself, such as the demo's; `caFile` is PEM, added to the trust. */
  readonly extraUpstreams?: {
    readonly resolve: ReadonlyMap<CanonicalHost, ResolvedTo>;
    readonly caFile: string;
  };
  /** Listen here, whatever the configuration says; for a gate embedded in another command. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** Audit here instead of where the configuration says. */
  readonly auditFile?: string;
  /** Name resolution; the system's by default. */
  readonly lookup?: Lookup;
  /** Instead of what the file holds. */
  readonly config?: Config;
  /** Told of every request. */
  readonly observe?: Observer;
  /** Changes each configuration that is loaded, such as where its secrets are. */
  readonly rewrite?: (compiled: Compiled) => Compiled;
}

export interface NewSession {
  readonly profile: string;
  /** At most the profile's own. */
  readonly ttlMs?: number;
  readonly sub?: string;
  readonly act?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** What its profile exchanges on its behalf (RFC 8693). */
  readonly subjectToken?: string;
}

/** A running gate without its control plane. */
export interface Gate {
  readonly config: Config;
  readonly sessions: Sessions;
  readonly metrics: Metrics;
  readonly events: Events;
  readonly audit: AuditLog;
  readonly authority: Authority;
  /** For sandboxes: our CA alone, and the system's, the operator's and ours together. */
  readonly caFile: string;
  readonly bundleFile: string;
  /** The proxy speaks TLS. */
  readonly isTls: boolean;
  /** Where sandboxes connect, `host:port`. */
  readonly address: { readonly host: string; readonly port: number };
  readonly openTunnels: number;
  createSession(wanted: NewSession): Promise<{ session: Session; token: string }>;
  /** What belongs to a stub that is an AWS key. */
  readonly stubIds: StubIds;
  /** Environment variable → stub, for one session. */
  stubEnvironment(session: Session): Record<string, string>;
  /** Takes the connections of one more listener, which another process opened. */
  adopt(listener: Server): void;
  /** Tells of a listener of this gate's, such as the admin's: it is never dialled. */
  guard(address: string, port: number): void;
  /** Reads the configuration again; a bad one is reported and changes nothing. */
  reload(): void;
  /** Ends: no new connections, requests under way get `limits.drain`. */
  stop(): Promise<void>;
}
