import type { Origin } from '../origin.ts';
import type { Group } from '../processes.ts';

/** What a proxy is started with. */
export interface Site {
  /** Empty folder of its own. */
  readonly dir: string;
  readonly core: number;
  readonly origin: Origin;
  /** Every host name that will be asked for. */
  readonly hosts: readonly string[];
}

/** A proxy that serves. */
export interface Running {
  readonly group: Group;
  /** Port on 127.0.0.1. */
  readonly port: number;
  /** Whether a client must CONNECT; otherwise TLS begins at once. */
  readonly connect: boolean;
  /** Header line on CONNECT. */
  readonly connectHeader?: string;
  /** What the client sends; the proxy replaces it with what the origin accepts. */
  readonly authorization: string;
  /** PEM file that verifies the certificates that the proxy shows. */
  readonly caFile: string;
  /** Proves that the proxy does all of its work; throws what is missing. */
  prove?(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  /** Whether it makes a certificate for a name when it first sees the name. */
  readonly mints: boolean;
  /** Why it cannot run here, if it cannot. */
  missing(): string | undefined;
  version(): string;
  start(site: Site): Promise<Running>;
}
