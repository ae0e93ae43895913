import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { capturePlaces } from '../capture/index.ts';
import { placements } from '../inject/index.ts';
import { REF_KEYS } from '../mint/index.ts';
import type { RuleSpec } from '../policy/table.ts';
import type { Capture, Injection, SecretRef } from '../types.ts';
import { alarmOptions } from './alarms-schema.ts';
import { BUILT_IN_VAULTS } from './checks.ts';
import { identityEntries } from './identity-schema.ts';
import { captureOptions, items, mapping, type Mapping, placementOptions } from './raw.ts';
import { parseSecretRef } from './scalars.ts';
import { type configSchema, DEFAULT_SESSION_MS } from './schema.ts';
import { redisOptions } from './state-schema.ts';
import type {
  Config,
  Credential,
  Limits,
  ListenAddress,
  MintEntry,
  UpstreamOptions,
  VaultEntry,
} from './types.ts';

export type Parsed = z.output<ReturnType<typeof configSchema>>;
export type ParsedRule = Parsed['rules'][number];
type WithoutRules = Omit<Parsed, 'rules'>;
type Locate = (path: string) => string;

/** A vault's keys that hold paths, wherever they stand among its options. */
const PATH_KEY = /^(?:dir|file|path|.*_(?:dir|file|path))$/;

/** The checked parts of a file as one Config. Plug-ins are built from what the file says, which their schemas accepted. */
export function assemble(parsed: Parsed, root: Mapping, file: string): Omit<Config, 'warnings'> {
  const rules = parsed.rules.map((rule, i) => ruleSpec(rule, items(root['rules'])[i]));
  return assembleAround(rules, parsed, root, file);
}

/** The same around rules that are made already. */
export function assembleAround(
  rules: readonly RuleSpec[],
  parsed: WithoutRules,
  root: Mapping,
  file: string,
): Omit<Config, 'warnings'> {
  const locate: Locate = path => resolve(dirname(file), path);
  const vaults = vaultEntries(parsed, mapping(root['vaults']), locate);
  const { dir, cert, key } = parsed.ca;
  return {
    file,
    version: 1,
    listen: listeners(parsed, locate),
    ca: { dir: locate(dir), ...(cert && { cert: locate(cert) }), ...(key && { key: locate(key) }) },
    state: parsed.state === 'memory' ? 'memory' : redisOptions(parsed.state, locate),
    identity: identityEntries(parsed.identity, locate),
    audit: { file: locate(parsed.audit.file) },
    alarms: alarmOptions(parsed.alarms, locate),
    vaults,
    credentials: credentials(parsed, mapping(root['credentials']), vaults, locate),
    rules,
    profiles: profiles(parsed, rules),
    upstream: upstreamOptions(parsed, locate),
    limits: limits(parsed),
  };
}

function listeners(
  { listen: { proxy, admin, tls, workers } }: WithoutRules,
  locate: Locate,
): Config['listen'] {
  return {
    proxy: located(proxy, locate),
    admin: located(admin, locate),
    workers,
    ...(tls && {
      tls: {
        certFile: locate(tls.cert_file),
        keyFile: locate(tls.key_file),
        clientCertificates: tls.client_certificates,
      },
    }),
  };
}

function located(address: ListenAddress, locate: Locate): ListenAddress {
  return address.path === undefined ? address : { path: locate(address.path) };
}

function vaultEntries(parsed: WithoutRules, written: Mapping, locate: Locate): Map<string, VaultEntry> {
  const entries = new Map<string, VaultEntry>(
    BUILT_IN_VAULTS.map(name => [name, { type: name, options: {} }]),
  );
  for (const [name, entry] of Object.entries(written)) {
    const { type, stale_for: _, ...options } = mapping(entry);
    const { stale_for: staleForMs } = parsed.vaults[name] as { stale_for?: number };
    entries.set(name, {
      type: String(type),
      options: withLocatedPaths(options, locate),
      ...(staleForMs !== undefined && { staleForMs }),
    });
  }
  return entries;
}

/** Options in which relative paths start from the file's folder. */
function withLocatedPaths(options: Mapping, locate: Locate): Mapping {
  const locatedValue = (key: string, value: unknown): unknown => {
    if (typeof value === 'string') return PATH_KEY.test(key) ? locate(value) : value;
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? withLocatedPaths(mapping(value), locate)
      : value;
  };
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [key, locatedValue(key, value)]));
}

function credentials(
  parsed: WithoutRules,
  written: Mapping,
  vaults: ReadonlyMap<string, VaultEntry>,
  locate: Locate,
): Map<string, Credential> {
  return new Map(
    Object.entries(parsed.credentials).map(
      ([name, { from, capture, stub, ttl, stale_for, mint, limits: budgets }]) => {
        const { env, shape } = stub;
        const staleForMs = stale_for ?? (from && vaults.get(from.vault)?.staleForMs);
        const locateRef = (ref: SecretRef): SecretRef => locatedRef(ref, vaults, locate);
        return [
          name,
          {
            name,
            ...(from && { ref: locateRef(from) }),
            ...(capture && { isCaptured: capture }),
            ttlMs: ttl,
            ...(staleForMs !== undefined && { staleForMs }),
            ...(mint && { mint: mintEntry(mapping(mapping(written[name])['mint']), locateRef) }),
            ...(budgets && { limits: budgets }),
            stub: { shape, ...(env && { env }) },
          },
        ];
      },
    ),
  );
}

function mintEntry(written: Mapping, locateRef: (ref: SecretRef) => SecretRef): MintEntry {
  const { type, ...options } = written;
  const refs = REF_KEYS.flatMap(key => {
    const at = options[key];
    const ref = typeof at === 'string' ? parseSecretRef(at) : undefined;
    return ref ? [[key, locateRef(ref)] as const] : [];
  });
  return { type: String(type), options, refs: new Map(refs) };
}

/** A file named from the folder of the configuration, unless its vault has a folder of its own. */
function locatedRef(ref: SecretRef, vaults: ReadonlyMap<string, VaultEntry>, locate: Locate): SecretRef {
  const vault = vaults.get(ref.vault);
  const isFree = vault?.type === 'file' && vault.options['dir'] === undefined;
  return isFree ? { ...ref, id: locate(ref.id) } : ref;
}

/** A rule of what its schema made of it, and of what was written. */
export function ruleSpec(rule: ParsedRule, raw: unknown): RuleSpec {
  const written = mapping(raw);
  const { name, action, schemes, ports, methods, paths, insecure } = rule;
  return {
    name,
    action,
    hosts: rule.hosts,
    schemes,
    ...(ports && { ports }),
    ...(methods && { methods }),
    ...(paths && { paths }),
    injections: rule.inject.map((entry, i) => injection(entry, mapping(items(written['inject'])[i]))),
    ...(rule.capture && {
      captures: rule.capture.map((entry, i) => capture(entry, mapping(items(written['capture'])[i]))),
    }),
    insecure,
    allowRange: rule.allow_range,
  };
}

function capture(entry: Mapping, written: Mapping): Capture {
  const { credential, at, ttl } = entry as { credential: string; at: string; ttl?: number };
  const place = capturePlaces.build(at, captureOptions(written));
  return { credential, place, ...(ttl !== undefined && { ttlMs: ttl }) };
}

function injection(entry: Mapping, written: Mapping): Injection {
  const { credential, as, when, required, foreign } = entry as Record<'as' | keyof Injection, never>;
  return { credential, placement: placements.build(as, placementOptions(written)), when, required, foreign };
}

function profiles(parsed: WithoutRules, rules: readonly RuleSpec[]): Config['profiles'] {
  const order = rules.map(rule => rule.name);
  const written: NonNullable<Parsed['profiles']> = parsed.profiles ?? {
    default: { rules: order, ttl: DEFAULT_SESSION_MS },
  };
  return new Map(
    Object.entries(written).map(([name, { rules, ttl, limits: budgets, on_alarm }]) => {
      const chosen = new Set(rules);
      const more = { ...(budgets && { limits: budgets }), ...(on_alarm && { onAlarm: on_alarm }) };
      return [name, { name, rules: order.filter(rule => chosen.has(rule)), ttlMs: ttl, ...more }];
    }),
  );
}

function upstreamOptions({ upstream }: WithoutRules, locate: Locate): UpstreamOptions {
  const { ca_file, allow_private, proxy } = upstream;
  return {
    ...(ca_file && { caFile: locate(ca_file) }),
    resolve: new Map(upstream.resolve),
    allowPrivate: allow_private,
    ...(proxy && { proxy }),
  };
}

function limits({ limits: of }: WithoutRules): Limits {
  return {
    headBytes: of.head,
    uriBytes: of.uri,
    headers: of.headers,
    headTimeMs: of.head_time,
    idleMs: of.idle,
    bodyIdleMs: of.body_idle,
    responseTimeMs: of.response_time,
    tunnels: of.tunnels,
    deniedTunnels: of.denied_tunnels,
    http2: http2Limits(of.http2),
    drainMs: of.drain,
  };
}

function http2Limits(of: Parsed['limits']['http2']): Limits['http2'] {
  return {
    streams: of.streams,
    sessionStreams: of.session_streams,
    windowBytes: of.window,
    memoryBytes: of.memory,
    resets: of.resets,
    resetsPerSecond: of.resets_per_second,
    pings: of.pings,
    pingsPerSecond: of.pings_per_second,
    invalidFrames: of.invalid_frames,
  };
}
