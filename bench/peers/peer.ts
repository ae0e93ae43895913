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

/** Rounds of a peer that no target needs: enough for a median, so that a whole run stays short. */
export const OTHER_ROUNDS = 2;

export interface Peer {
  readonly name: string;
  /** Whether it makes a certificate for a name when it first sees the name. */
  readonly mints: boolean;
  /** Whether it speaks HTTP/2 with its clients, and is measured at it. */
  readonly h2?: boolean;
  /** The first rounds, in which alone it takes part; all by default. */
  readonly rounds?: number;
  /** Why it cannot run here, if it cannot. */
  missing(): string | undefined;
  version(): string;
  start(site: Site): Promise<Running>;
}

export const takesPart = ({ rounds = Number.POSITIVE_INFINITY }: Peer, round: number): boolean =>
  round < rounds;
