import type { Config, ResolvedTo } from '../config/types.ts';
import type { CanonicalHost } from '../types.ts';
import type { Endpoint } from '../upstream/own.ts';
import { Upstream } from '../upstream/pool.ts';
import type { Lookup } from '../upstream/resolve.ts';
import { upstreamLimits } from './limits.ts';

/** What whoever starts a gate says besides the configuration. */
interface More {
  readonly extraUpstreams?: {
    readonly resolve: ReadonlyMap<CanonicalHost, ResolvedTo>;
    readonly caFile: string;
  };
  readonly lookup?: Lookup;
}

/** The way out. `own`: where this gate listens. Throws an Error for the operator. */
export function upstreamOf(
  { limits, upstream }: Config,
  { extraUpstreams, lookup }: More,
  own: () => readonly Endpoint[],
): Upstream {
  const { resolve, allowPrivate, caFile, proxy } = upstream;
  return new Upstream({
    resolve: new Map([...resolve, ...(extraUpstreams?.resolve ?? [])]),
    allowPrivate,
    caFiles: [caFile, extraUpstreams?.caFile].filter(file => file !== undefined),
    proxy: proxy && new URL(`${proxy.scheme}://${inUrl(proxy.host)}:${proxy.port}`),
    own,
    ...(lookup && { lookup }),
    limits: upstreamLimits(limits),
  });
}

const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);
