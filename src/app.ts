import type { Server } from 'node:net';
import { openFor, tlsOf } from './app/identities.ts';
import { listenLimits } from './app/limits.ts';
import { upstreamOf } from './app/upstream.ts';
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
import { Identities } from './identity/identities.ts';
import { parseShape } from './inject/shape.ts';
import { stubVariables } from './inject/stands-for.ts';
import { deriveKey, StubKey } from './inject/stub.ts';
import { writeTrust } from './intercept/bundle.ts';
import { type Authority, openAuthority } from './intercept/ca.ts';
import { Contexts } from './intercept/contexts.ts';
import { ProxyListener } from './listen/proxy.ts';
import type { ProxyRooms } from './listen/rooms.ts';
import type { Dial } from './mint/http.ts';
import { openState } from './state/open.ts';
import type { Sessions } from './state/sessions.ts';
import type { State } from './state/state.ts';
import type { CanonicalHost, Log, Session } from './types.ts';
import type { Lookup } from './upstream/resolve.ts';

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
  readonly sessions: Sessions;
  readonly metrics: Metrics;
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
  const authority = openAuthority(first.config.ca);
  const caKey = authority.key.export({ type: 'pkcs8', format: 'der' });
  const state = await openState(first.config.state, caKey, log);
  let gate: RunningGate | undefined;
  try {
    gate = new RunningGate(options, first, authority, state);
    await gate.listen();
  } catch (error) {
    await gate?.stop();
    state.close();
    throw error;
  }
  log.info('listening', { ...gate.address });
  return gate;
}

class RunningGate implements Gate {
  readonly metrics = new Metrics();
  readonly audit: AuditLog;
  readonly authority: Authority;
  readonly caFile: string;
  readonly bundleFile: string;
  address = { host: '', port: 0 };
  /** Where this gate listens: never dialled. */
  readonly #own: { address: string; port: number }[] = [];
  readonly #options: GateOptions;
  readonly #state: State;
  readonly #stubs: StubKey;
  readonly #secrets: Secrets;
  readonly #flow: Flow;
  readonly #identities: Identities;
  readonly #listener: ProxyListener;
  readonly #watcher: { reload(): void; close(): void };
  #compiled: Compiled;

  constructor(options: GateOptions, compiled: Compiled, authority: Authority, state: State) {
    const { config } = compiled;
    this.#options = options;
    this.#compiled = compiled;
    this.#state = state;
    this.authority = authority;
    this.#stubs = new StubKey(deriveKey(state.key));
    const trust = writeTrust(config.ca.dir, authority, config.upstream.caFile);
    ({ caFile: this.caFile, bundleFile: this.bundleFile } = trust);
    this.audit = new AuditLog(options.auditFile ?? config.audit.file);
    const dial: Dial = (host, port) =>
      this.#flow.rooms.upstream.connect({ scheme: 'https', host: host as CanonicalHost, port });
    this.#secrets = new Secrets(compiled, {
      metrics: this.metrics,
      log: options.log,
      sessions: {
        list: () => state.sessions.known(),
        onEnd: listener => state.sessions.onEnd(listener),
      },
      store: state.store,
      dial,
    });
    this.#flow = new Flow(this.#rooms(compiled));
    this.#identities = new Identities(config.identity, {
      secret: state.key,
      log: options.log,
      dial,
      profileMs: name => this.#compiled.profiles.get(name)?.ttlMs,
      open: opening => openFor(state.sessions, opening, profile => this.#stubsFor(profile)),
    });
    this.#listener = new ProxyListener({
      flow: this.#flow,
      sessions: state.sessions,
      identities: this.#identities,
      stubsOf: session => this.stubEnvironment(session),
      caPem: authority.rootPem,
      ...this.#tls(),
      contexts: new Contexts(authority),
      limits: listenLimits(config.limits),
    });
    this.#watcher = watchConfig(
      config.file,
      next => this.#use(next),
      error => this.#keep(error),
    );
  }

  get sessions(): Sessions {
    return this.#state.sessions;
  }

  get config(): Config {
    return this.#compiled.config;
  }

  /** An embedded gate serves its own command only. */
  get isTls(): boolean {
    return this.config.listen.tls !== undefined && !this.#options.listen;
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

  async createSession({ profile, ttlMs, ...who }: NewSession): Promise<{ session: Session; token: string }> {
    const found = this.#compiled.profiles.get(profile);
    if (!found) {
      throw new Error(
        `There is no profile "${profile}"; one of ${[...this.#compiled.profiles.keys()].join(', ')}`,
      );
    }
    const life = Math.min(ttlMs ?? found.ttlMs, found.ttlMs);
    return this.sessions.create({ profile, ttlMs: life, ...who, stubs: this.#stubsFor(profile) });
  }

  stubEnvironment(session: Session): Record<string, string> {
    const environment: Record<string, string> = {};
    for (const [name, stub] of session.stubs) {
      const found = this.#compiled.credentials.get(name);
      if (found) Object.assign(environment, stubVariables(found.stub, stub, this.#stubs));
    }
    return environment;
  }

  reload(): void {
    this.#watcher.reload();
  }

  async stop(): Promise<void> {
    this.#watcher.close();
    await this.#listener.drain(this.config.limits.drainMs);
    await this.#secrets.close();
    this.#flow.rooms.upstream.close();
    this.audit.close();
    this.#state.close();
  }

  /** Credential → a fresh stub. */
  #stubsFor(profile: string): Map<string, string> {
    const names = this.#compiled.profiles.get(profile)?.credentials ?? [];
    return new Map(names.map(name => [name, this.#mint(name)]));
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
      alarm: alarm => this.#state.publish(alarm),
      upstream: upstreamOf(config, this.#options, () => this.#own),
    };
  }

  #tls(): Pick<ProxyRooms, 'tls'> {
    const { config } = this;
    return this.isTls ? tlsOf(config, this.#identities, this.#options.log) : {};
  }

  #use(next: Compiled): void {
    const { log } = this.#options;
    const { file } = next.config;
    let rooms: Rooms;
    let identities: ReturnType<Identities['prepare']>;
    try {
      rooms = this.#rooms(next);
      identities = this.#identities.prepare(next.config.identity);
    } catch (error) {
      return this.#keep(error);
    }
    const fixed = needsRestart(this.config, next.config);
    if (fixed.length > 0) log.warn(`changes of ${fixed.join(', ')} count after a restart`, { file });
    const old = this.#flow.rooms.upstream;
    this.#compiled = next;
    this.#secrets.reconfigure(next);
    this.#flow.rooms = rooms;
    this.#identities.use(identities);
    old.close();
    log.info('configuration reloaded', { file });
  }

  #keep(cause: unknown): void {
    this.#options.log.error('configuration not reloaded: the last good one stays', { cause });
  }
}
