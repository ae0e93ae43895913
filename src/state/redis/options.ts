/** A Redis that gates share. Times in ms; paths absolute. */
export interface RedisOptions {
  /** One server, several sentinels that know where it is, or some nodes of a cluster. */
  readonly mode: 'server' | 'sentinel' | 'cluster';
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  /** What sentinels call the server. */
  readonly name?: string;
  readonly db: number;
  readonly tls: TlsFiles | undefined;
  readonly username?: string;
  readonly password?: Place;
  readonly sentinelUsername?: string;
  readonly sentinelPassword?: Place;
  /** What the keys of the shared state are derived from; absent: the CA's key. */
  readonly key?: Place;
  /** How long sessions are served while nothing can be checked. */
  readonly graceMs: number;
  /** What the names of all keys and channels begin with. */
  readonly prefix: string;
}

/** PEM files; `ca` is added to the system's trust. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Where a secret of the gate's own is: never in the configuration. One of the two is there. */
export interface Place {
  readonly file?: string;
  readonly env?: string;
}

const places = ({ password, sentinelPassword, key }: RedisOptions): readonly (Place | undefined)[] => [
  password,
  sentinelPassword,
  key,
];

/** Variables of the gate that no sandbox may inherit. */
export function secretVariables(state: 'memory' | RedisOptions): string[] {
  if (state === 'memory') return [];
  return places(state).flatMap(place => (place?.env === undefined ? [] : [place.env]));
}

/** Files of the gate that no sandbox may read. */
export function secretFiles(state: 'memory' | RedisOptions): string[] {
  if (state === 'memory') return [];
  const files = [...places(state).map(place => place?.file), state.tls?.key];
  return files.filter(file => file !== undefined);
}
