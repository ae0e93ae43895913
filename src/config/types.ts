import type { AlarmOptions } from '../alarms/options.ts';
import type { IdentityEntry } from '../identity/entry.ts';
import type { CredentialLimits, ProfileLimits } from '../limits/budget.ts';
import type { MintSource } from '../mint/minter.ts';
import type { Cidr } from '../policy/address.ts';
import type { Table, RuleSpec } from '../policy/table.ts';
import type { RedisOptions } from '../state/redis/options.ts';
import type { CanonicalHost, Placement, SecretRef, Vault } from '../types.ts';
import type { Problem } from './problems.ts';

/** A loaded configuration: checked, with defaults filled in, all paths absolute. Times in ms, sizes in bytes. */
export interface Config {
  /** Absolute path of the file. */
  readonly file: string;
  readonly version: 1;
  readonly listen: {
    readonly proxy: ListenAddress;
    readonly admin: ListenAddress;
    /** Of the proxy. */
    readonly tls?: ListenTls;
    /** Processes that serve the proxy; `auto`: one for each core. */
    readonly workers: number | 'auto';
  };
  readonly ca: CaFiles;
  /** Where sessions are kept. */
  readonly state: 'memory' | RedisOptions;
  /** In the order in which they are asked. */
  readonly identity: readonly IdentityEntry[];
  readonly audit: { readonly file: string };
  readonly alarms: AlarmOptions;
  /** By name; `env` and `file` are always there. */
  readonly vaults: ReadonlyMap<string, VaultEntry>;
  readonly credentials: ReadonlyMap<string, Credential>;
  readonly rules: readonly RuleSpec[];
  /** By name; without `profiles` in the file there is one, `default`, with every rule. */
  readonly profiles: ReadonlyMap<string, ProfileEntry>;
  readonly upstream: UpstreamOptions;
  readonly limits: Limits;
  /** What is valid but probably not meant. */
  readonly warnings: readonly Problem[];
}

/** A TCP address, or a Unix socket. */
export type ListenAddress =
  | { readonly host: string; readonly port: number; readonly path?: never }
  | { readonly path: string; readonly host?: never; readonly port?: never };

export interface ListenTls {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCertificates: 'optional' | 'required';
}

/** Where the CA lives. With `cert` and `key` the operator brings one; otherwise it is created in `dir`. */
export interface CaFiles {
  readonly dir: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface VaultEntry {
  readonly type: string;
  /** The vault's own keys, checked against the schema of its type. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Of credentials that say nothing else. */
  readonly staleForMs?: number;
}

export interface Credential {
  readonly name: string;
  /** Absent: it is captured, or minted with the gate's own identity. */
  readonly ref?: SecretRef;
  /** Upstreams hand it out. */
  readonly isCaptured?: true;
  /** How long a value that was read may be used. */
  readonly ttlMs: number;
  /** How much longer while its vault cannot be reached. */
  readonly staleForMs?: number;
  /** Absent: the value of `ref` itself is injected. */
  readonly mint?: MintEntry;
  readonly limits?: CredentialLimits;
  readonly stub: {
    /** Environment variable in which a sandbox finds the stub. */
    readonly env?: string;
    readonly shape: string;
  };
}

/** How a short-lived token is made of a credential's value. */
export interface MintEntry {
  readonly type: string;
  /** The minter's own keys, checked against the schema of its type. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Further secrets, by the option that says where they are. */
  readonly refs: ReadonlyMap<string, SecretRef>;
}

/** A secret in a vault: a credential's own, or a further one that it is minted with. */
export interface SecretSource {
  /** The credential's name; of a further secret `<credential>/<option>`. */
  readonly name: string;
  readonly ref: SecretRef;
  readonly ttlMs: number;
  readonly staleForMs?: number;
}

export interface ProfileEntry {
  readonly name: string;
  /** Names in `rules`, in the order of the table. */
  readonly rules: readonly string[];
  /** Longest life of a session. */
  readonly ttlMs: number;
  readonly limits?: ProfileLimits;
  /** Instead of what `alarms` says. */
  readonly onAlarm?: 'log' | 'revoke';
}

export interface UpstreamOptions {
  /** PEM file, added to the system's trust. */
  readonly caFile?: string;
  /** Where a host is dialled instead of asking DNS; permits that address. Without `port` the one that was asked for. */
  readonly resolve: ReadonlyMap<CanonicalHost, ResolvedTo>;
  readonly allowPrivate: readonly Cidr[];
  /** Parent proxy. */
  readonly proxy?: ParentProxy;
}

export interface ResolvedTo {
  /** IP address, without brackets. */
  readonly address: string;
  readonly port?: number;
}

export interface ParentProxy {
  readonly scheme: 'http' | 'https';
  readonly host: CanonicalHost;
  readonly port: number;
}

export interface Limits {
  /** Request head. */
  readonly headBytes: number;
  /** Request target. */
  readonly uriBytes: number;
  /** Fields in a head. */
  readonly headers: number;
  /** From the first byte of a head to its last. */
  readonly headTimeMs: number;
  /** A connection between two requests. */
  readonly idleMs: number;
  /** Between two pieces of a body, either way. */
  readonly bodyIdleMs: number;
  /** From the end of a request to the upstream's response head. */
  readonly responseTimeMs: number;
  /** Open tunnels of one session. */
  readonly tunnels: number;
  /** Open tunnels of one session that exist only to let a client read its refusal. */
  readonly deniedTunnels: number;
  readonly http2: Http2Limits;
  /** What running requests get at shutdown. */
  readonly drainMs: number;
}

/** What a client may do in HTTP/2, besides the limits that hold for every version. */
export interface Http2Limits {
  /** Streams under way on one connection. */
  readonly streams: number;
  /** And of one session, on all of its connections. */
  readonly sessionStreams: number;
  /** Bytes that a client may send on one stream before they are read. */
  readonly windowBytes: number;
  /** Heads, and what waits to be sent, on one connection. */
  readonly memoryBytes: number;
  /** Streams that a client may reset at once, and per second. */
  readonly resets: number;
  readonly resetsPerSecond: number;
  /** Unasked PING and SETTINGS frames at once, and per second. */
  readonly pings: number;
  readonly pingsPerSecond: number;
  /** Frames that are wrong, on one connection. */
  readonly invalidFrames: number;
}

/** A configuration made ready to serve; swapped whole at a reload. */
export interface Compiled {
  readonly config: Config;
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly credentials: ReadonlyMap<string, Credential>;
  /** Every secret that is read from a vault, by name. */
  readonly sources: ReadonlyMap<string, SecretSource>;
  /** Credentials that are minted, by name. */
  readonly mints: ReadonlyMap<string, MintSource>;
  readonly vaults: ReadonlyMap<string, Vault>;
}

export interface Profile extends ProfileEntry {
  readonly table: Table;
  /** Names of all credentials that the rules may inject, but for captured ones. */
  readonly credentials: readonly string[];
  /** Where its rules may write each of them. */
  readonly placements: ReadonlyMap<string, readonly Placement[]>;
  /** Some rule captures, or injects what was captured. */
  readonly captures: boolean;
  /** The first of them that is minted of the session's own token. */
  readonly exchanged?: string;
  /** Those of them that have a secret in a vault. */
  readonly vaulted: readonly string[];
}
