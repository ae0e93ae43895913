import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { AuditLog } from './audit/log.ts';
import { Metrics } from './audit/metrics.ts';
import { compileConfig } from './config/compile.ts';
import { loadConfig } from './config/load.ts';
import type { Compiled, Config, ResolvedTo } from './config/types.ts';
import { needsRestart, watchConfig } from './config/watch.ts';
import { Flow } from './flow.ts';
import { Keyring } from './flow/keyring.ts';
import type { Rooms } from './flow/rooms.ts';
import { Secrets } from './flow/secrets.ts';
import { parseShape } from './inject/shape.ts';
import { deriveKey, StubKey } from './inject/stub.ts';
import { caBundle } from './intercept/bundle.ts';
import { type Authority, openAuthority } from './intercept/ca.ts';
import { Contexts } from './intercept/contexts.ts';
import { ProxyListener } from './listen/proxy.ts';
import { MemorySessions } from './state/memory.ts';
import type { CanonicalHost, Log, Session } from './types.ts';
import { Upstream } from './upstream/pool.ts';
import type { Lookup } from './upstream/resolve.ts';
import { CLIENT_LIMITS } from './wire/limits.ts';

/** Time for a TLS handshake with a sandbox's client, ms. */
const HANDSHAKE_MS = 10_000;
const UPSTREAM_LIMITS = {
  ...CLIENT_LIMITS,
  connectMs: 10_000,
  idleMs: 30_000,
  maxIdlePerOrigin: 64,
  maxPerOrigin: 1024,
};

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
}

/** A running gate without its control plane. */
export interface Gate {
  readonly config: Config;
  readonly sessions: MemorySessions;
  readonly metrics: Metrics;
  readonly audit: AuditLog;
  readonly authority: Authority;
  /** For sandboxes: our CA alone, and the system's, the operator's and ours together. */
  readonly caFile: string;
  readonly bundleFile: string;
  /** Where sandboxes connect, `host:port`. */
  readonly address: { readonly host: string; readonly port: number };
  readonly openTunnels: number;
  createSession(wanted: NewSession): { session: Session; token: string };
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

/** Brings a gate up; throws an Error for the operator. Everything is in place before the listener opens. */
export async function startGate(options: GateOptions): Promise<Gate> {
  const { log } = options;
  const first = compileConfig(loadConfig(options.configFile));
  const gate = new RunningGate(options, options.rewrite?.(first) ?? first);
  try {
    await gate.listen();
  } catch (error) {
    await gate.stop();
    throw error;
  }
  log.info('listening', { ...gate.address });
  return gate;
}

class RunningGate implements Gate {
  readonly sessions = new MemorySessions();
  readonly metrics = new Metrics();
  readonly audit: AuditLog;
  readonly authority: Authority;
  readonly caFile: string;
  readonly bundleFile: string;
  address = { host: '', port: 0 };
  /** Where this gate listens: never dialled. */
  readonly #own: { address: string; port: number }[] = [];
  readonly #options: GateOptions;
  readonly #stubs: StubKey;
  readonly #secrets: Secrets;
  readonly #flow: Flow;
  readonly #listener: ProxyListener;
  readonly #watcher: { reload(): void; close(): void };
  #compiled: Compiled;

  constructor(options: GateOptions, compiled: Compiled) {
    const { config } = compiled;
    this.#options = options;
    this.#compiled = compiled;
    this.authority = openAuthority(config.ca);
    this.#stubs = new StubKey(deriveKey(this.authority.key.export({ type: 'pkcs8', format: 'der' })));
    ({ caFile: this.caFile, bundleFile: this.bundleFile } = writeTrust(config, this.authority));
    this.audit = new AuditLog(options.auditFile ?? config.audit.file);
    this.#secrets = new Secrets(compiled, {
      metrics: this.metrics,
      log: options.log,
      dial: (host, port) =>
        this.#flow.rooms.upstream.connect({ scheme: 'https', host: host as CanonicalHost, port }),
    });
    this.#flow = new Flow(this.#rooms(compiled));
    const { limits } = config;
    this.#listener = new ProxyListener({
      flow: this.#flow,
      sessions: this.sessions,
      contexts: new Contexts(this.authority),
      limits: {
        head: limits.headBytes,
        uri: limits.uriBytes,
        headers: limits.headers,
        headMs: limits.headTimeMs,
        idleMs: limits.idleMs,
        bodyIdleMs: limits.bodyIdleMs,
        tunnels: limits.tunnels,
        deniedTunnels: limits.deniedTunnels,
        handshakeMs: HANDSHAKE_MS,
      },
    });
    this.#watcher = watchConfig(
      config.file,
      next => this.#use(options.rewrite?.(next) ?? next),
      error => this.#keep(error),
    );
  }

  get config(): Config {
    return this.#compiled.config;
  }

  get openTunnels(): number {
    return this.#listener.openTunnels;
  }

  async listen(): Promise<void> {
    const wanted = this.#options.listen ?? this.config.listen.proxy;
    if (wanted.host === undefined)
      throw new Error('listen.proxy must be host:port; clients cannot use a Unix socket as a proxy');
    const { address, port } = await this.#listener.listen(wanted.port, wanted.host);
    this.address = { host: address, port };
    this.guard(address, port);
  }

  adopt(listener: Server): void {
    this.#listener.adopt(listener);
  }

  guard(address: string, port: number): void {
    this.#own.push({ address, port });
  }

  createSession({ profile, ttlMs, ...who }: NewSession): { session: Session; token: string } {
    const found = this.#compiled.profiles.get(profile);
    if (!found) {
      throw new Error(
        `There is no profile "${profile}"; one of ${[...this.#compiled.profiles.keys()].join(', ')}`,
      );
    }
    const stubs = found.credentials.map(name => [name, this.#mint(name)] as const);
    return this.sessions.create({
      profile,
      ttlMs: Math.min(ttlMs ?? found.ttlMs, found.ttlMs),
      ...who,
      stubs: new Map(stubs),
    });
  }

  stubEnvironment(session: Session): Record<string, string> {
    const environment: Record<string, string> = {};
    for (const [name, stub] of session.stubs) {
      const variable = this.#compiled.credentials.get(name)?.stub.env;
      if (variable !== undefined) environment[variable] = stub;
    }
    return environment;
  }

  reload(): void {
    this.#watcher.reload();
  }

  async stop(): Promise<void> {
    this.#watcher.close();
    await this.#listener.drain(this.config.limits.drainMs);
    this.#flow.rooms.upstream.close();
    this.audit.close();
  }

  #mint(credential: string): string {
    const found = this.#compiled.credentials.get(credential);
    if (!found) throw new Error(`no credential "${credential}"`);
    return this.#stubs.mint(parseShape(found.stub.shape));
  }

  #rooms({ config, profiles, mints }: Compiled): Rooms {
    const { log } = this.#options;
    return {
      profiles,
      keyring: new Keyring(this.#secrets, mints.keys(), log),
      stubs: this.#stubs,
      audit: this.audit,
      metrics: this.metrics,
      log,
      upstream: this.#upstream(config),
    };
  }

  #upstream({ limits, upstream }: Config): Upstream {
    const { extraUpstreams, lookup } = this.#options;
    const { resolve, allowPrivate, caFile, proxy } = upstream;
    return new Upstream({
      resolve: new Map([...resolve, ...(extraUpstreams?.resolve ?? [])]),
      allowPrivate,
      caFiles: [caFile, extraUpstreams?.caFile].filter(file => file !== undefined),
      proxy: proxy && new URL(`${proxy.scheme}://${inUrl(proxy.host)}:${proxy.port}`),
      own: () => this.#own,
      ...(lookup && { lookup }),
      limits: {
        ...UPSTREAM_LIMITS,
        responseMs: limits.responseTimeMs,
        bodyIdleMs: limits.bodyIdleMs,
      },
    });
  }

  #use(next: Compiled): void {
    const { log } = this.#options;
    const { file } = next.config;
    let rooms: Rooms;
    try {
      rooms = this.#rooms(next);
    } catch (error) {
      return this.#keep(error);
    }
    const fixed = needsRestart(this.config, next.config);
    if (fixed.length > 0) log.warn(`changes of ${fixed.join(', ')} count after a restart`, { file });
    const old = this.#flow.rooms.upstream;
    this.#compiled = next;
    this.#secrets.reconfigure(next);
    this.#flow.rooms = rooms;
    old.close();
    log.info('configuration reloaded', { file });
  }

  #keep(cause: unknown): void {
    this.#options.log.error('configuration not reloaded: the last good one stays', { cause });
  }
}

function inUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** What sandboxes trust, as files that their user can read. */
function writeTrust(config: Config, authority: Authority): { caFile: string; bundleFile: string } {
  const caFile = join(config.ca.dir, 'sandbox-ca.pem');
  const bundleFile = join(config.ca.dir, 'sandbox-bundle.pem');
  mkdirSync(config.ca.dir, { recursive: true });
  for (const [file, text] of [
    [caFile, authority.rootPem],
    [bundleFile, caBundle(authority, config.upstream.caFile)],
  ] as const) {
    writeFileSync(file, text);
    chmodSync(file, 0o644);
  }
  return { caFile, bundleFile };
}
