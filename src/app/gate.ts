import type { Server } from 'node:net';
import type { AuditLog } from '../audit/log.ts';
import type { Gauges, Metrics } from '../audit/metrics.ts';
import type { Compiled, Config, ResolvedTo } from '../config/types.ts';
import type { Observer } from '../flow/observed.ts';
import type { StubIds } from '../inject/signing.ts';
import type { Authority } from '../intercept/ca.ts';
import type { Sessions } from '../state/sessions.ts';
import type { State } from '../state/state.ts';
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
  /** This gate is one of several processes behind one address. */
  readonly worker?: WorkerSeat;
  /** Name resolution; the system's by default. */
  readonly lookup?: Lookup;
  /** Instead of what the file holds. */
  readonly config?: Config;
  /** Told of every request. */
  readonly observe?: Observer;
  /** Changes each configuration that is loaded, such as where its secrets are. */
  readonly rewrite?: (compiled: Compiled) => Compiled;
}

/** What a process that shares the gate's address with others is given by the one that started it, and tells it to reload. */
export interface WorkerSeat {
  /** The listening socket, and where that is. */
  readonly listener: { readonly fd: number; readonly host: string; readonly port: number };
  /** Undefined: each process opens the one that the configuration names. `key`: what that of the stubs is derived from. */
  readonly state: ((key: Buffer) => State) | undefined;
  /** PEM of the CA that all have: one that was put in its place since is not served with. */
  readonly caPem: string;
  /** Public. Together with the key that all have it makes the keys of TLS session tickets. */
  readonly ticketSalt: string;
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

/** What was counted, and what is so now. */
export interface Measured {
  readonly metrics: Metrics;
  readonly gauges: Gauges;
}

/** What the control plane needs of a gate, be it one process or several. */
export interface Steered {
  readonly config: Config;
  readonly sessions: Sessions;
  readonly events: Events;
  /** The proxy speaks TLS. */
  readonly isTls: boolean;
  /** Where sandboxes connect, `host:port`. */
  readonly address: { readonly host: string; readonly port: number };
  createSession(wanted: NewSession): Promise<{ session: Session; token: string }>;
  /** Environment variable → stub, for one session. */
  stubEnvironment(session: Session): Record<string, string>;
  /** Tells of a listener of this gate's, such as the admin's: it is never dialled. */
  guard(address: string, port: number): void;
  measure(): Promise<Measured>;
}

/** A running gate without its control plane. */
export interface Gate extends Steered {
  readonly metrics: Metrics;
  readonly audit: AuditLog;
  readonly authority: Authority;
  /** For sandboxes: our CA alone, and the system's, the operator's and ours together. */
  readonly caFile: string;
  readonly bundleFile: string;
  readonly openTunnels: number;
  /** What belongs to a stub that is an AWS key. */
  readonly stubIds: StubIds;
  /** Takes the connections of one more listener, which another process opened. */
  adopt(listener: Server): void;
  /** Reads the configuration again; a bad one is reported and changes nothing. */
  reload(): void;
  /** Takes another configuration. False, and reported, if a file that it names cannot be used; then nothing changes. */
  use(next: Compiled): boolean;
  /**
   * Ends: no new connections, requests under way get `limits.drain`. `settleMs`: what came just before it may still begin
   * in that time, as somebody else accepts what comes now.
   */
  stop(settleMs?: number): Promise<void>;
}
