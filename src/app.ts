import type { Server } from 'node:net';
import type { Alarms } from './alarms/alarms.ts';
import { openAlarms } from './app/alarms.ts';
import { budgetsOf, onAlarmOf } from './app/budgets.ts';
import { Events } from './app/events.ts';
import type { Gate, GateOptions, Measured, NewSession } from './app/gate.ts';
import { openFor, tlsOf } from './app/identities.ts';
import { Issuer } from './app/issuer.ts';
import { listenLimits } from './app/limits.ts';
import { ticketSecret } from './app/tickets.ts';
import { upstreamOf } from './app/upstream.ts';
import { AuditLog } from './audit/log.ts';
import { Metrics } from './audit/metrics.ts';
import { Captures } from './capture/captures.ts';
import { compileConfig } from './config/compile.ts';
import { loadConfig } from './config/load.ts';
import type { Compiled, Config, ListenAddress } from './config/types.ts';
import { needsRestart, watchConfig } from './config/watch.ts';
import { Flow } from './flow.ts';
import { Keyring } from './flow/keyring.ts';
import { ObservedFlow } from './flow/observed.ts';
import type { Rooms } from './flow/rooms.ts';
import { Secrets } from './flow/secrets.ts';
import { Identities, type Opening } from './identity/identities.ts';
import { DEFAULT_SHAPE } from './inject/shape.ts';
import type { StubIds } from './inject/signing.ts';
import { deriveKey, StubKey } from './inject/stub.ts';
import { writeTrust } from './intercept/bundle.ts';
import { type Authority, openAuthority } from './intercept/ca.ts';
import { Contexts } from './intercept/contexts.ts';
import { Limiter } from './limits/limiter.ts';
import { Refused } from './limits/refused.ts';
import { ProxyListener } from './listen/proxy.ts';
import type { ProxyRooms } from './listen/rooms.ts';
import { openState } from './state/open.ts';
import type { Sessions } from './state/sessions.ts';
import type { Dial } from './mint/http.ts';
import type { State } from './state/state.ts';
import type { CanonicalHost, Session } from './types.ts';

export type { Gate, GateOptions, NewSession } from './app/gate.ts';

/** Brings a gate up; throws an Error for the operator. Everything is in place before the listener opens. */
export async function startGate(options: GateOptions): Promise<Gate> {
  const { log } = options;
  const loaded = compileConfig(options.config ?? loadConfig(options.configFile));
  const first = options.rewrite?.(loaded) ?? loaded;
  const authority = openAuthority(first.config.ca);
  if (options.worker && options.worker.caPem !== authority.rootPem)
    throw new Error('the CA is not the one that the gate was started with; restart the gate');
  const caKey = authority.key.export({ type: 'pkcs8', format: 'der' });
  const state = options.worker?.state?.(caKey) ?? (await openState(first.config.state, caKey, log));
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
  readonly events = new Events(this.metrics);
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
  readonly #issuer: Issuer;
  readonly #secrets: Secrets;
  readonly #limiter: Limiter;
  readonly #alarms: Alarms;
  readonly #captures: Captures;
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
    this.#issuer = new Issuer(this.#stubs, state.sessions, this.events, () => this.#compiled);
    const trust = writeTrust(config.ca.dir, authority, config.upstream.caFile);
    ({ caFile: this.caFile, bundleFile: this.bundleFile } = trust);
    this.audit = new AuditLog(options.auditFile ?? config.audit.file);
    const { log } = options;
    const dial: Dial = (host, port) =>
      this.#flow.rooms.upstream.connect({ scheme: 'https', host: host as CanonicalHost, port });
    this.#limiter = new Limiter(new Refused(log, limit => this.metrics.limited(limit)), state.permits);
    this.#alarms = openAlarms(state, this.metrics, this.events, log, dial);
    this.#secrets = new Secrets(compiled, {
      metrics: this.metrics,
      log,
      sessions: {
        list: () => state.sessions.known(),
        onEnd: listener => state.sessions.onEnd(listener),
      },
      store: state.store,
      dial,
    });
    this.#captures = new Captures({
      stubs: this.#stubs,
      store: state.store,
      log: options.log,
      onEnd: listener => state.sessions.onEnd(listener),
    });
    const rooms = this.#rooms(compiled);
    this.#flow = options.observe ? new ObservedFlow(rooms, options.observe) : new Flow(rooms);
    this.#alarms.configure(config.alarms, onAlarmOf(compiled));
    this.#identities = new Identities(config.identity, {
      secret: state.key,
      log: options.log,
      dial,
      profileMs: name => this.#compiled.profiles.get(name)?.ttlMs,
      open: opening => this.#open(opening),
    });
    this.#listener = new ProxyListener({
      flow: this.#flow,
      sessions: state.sessions,
      identities: this.#identities,
      stubsOf: session => this.stubEnvironment(session),
      caPem: authority.rootPem,
      ...this.#tls(),
      contexts: new Contexts(authority, ticketSecret(state.key, options.worker?.ticketSalt)),
      limits: listenLimits(config.limits),
    });
    this.#watcher = watchConfig(
      config.file,
      next => void this.use(options.rewrite?.(next) ?? next),
      error => this.#keep(error),
    );
    // Whoever started this process tells it.
    if (options.worker) this.#watcher.close();
  }

  get sessions(): Sessions {
    return this.#state.sessions;
  }

  get stubIds(): StubIds {
    return this.#stubs;
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
    const { listen, worker } = this.#options;
    const { address, port } = await this.#listener.listen(
      worker?.listener ?? tcpOf(listen ?? this.config.listen.proxy),
    );
    this.address = { host: address, port };
    this.guard(address, port);
  }

  adopt(listener: Server): void {
    this.#listener.adopt(listener);
  }

  guard(address: string, port: number): void {
    this.#own.push({ address, port });
  }

  createSession(wanted: NewSession): Promise<{ session: Session; token: string }> {
    return this.#issuer.createSession(wanted);
  }

  stubEnvironment(session: Session): Record<string, string> {
    return this.#issuer.environment(session);
  }

  measure(): Promise<Measured> {
    const { metrics, openTunnels, audit, sessions } = this;
    const gauges = {
      tunnels: openTunnels,
      sessions: sessions.live,
      stateUp: sessions.healthy,
      auditHealthy: audit.healthy,
      auditLost: audit.lost,
    };
    return Promise.resolve({ metrics, gauges });
  }

  reload(): void {
    this.#watcher.reload();
  }

  use(next: Compiled): boolean {
    const { log } = this.#options;
    const { file } = next.config;
    let rooms: Rooms;
    let identities: ReturnType<Identities['prepare']>;
    try {
      identities = this.#identities.prepare(next.config.identity);
      rooms = this.#rooms(next, this.#flow.rooms.keyring);
    } catch (error) {
      this.#keep(error);
      return false;
    }
    const fixed = needsRestart(this.config, next.config);
    if (fixed.length > 0) log.warn(`changes of ${fixed.join(', ')} count after a restart`, { file });
    const old = this.#flow.rooms.upstream;
    this.#compiled = next;
    this.#secrets.reconfigure(next);
    this.#alarms.configure(next.config.alarms, onAlarmOf(next));
    this.#flow.rooms = rooms;
    this.#identities.use(identities);
    old.close();
    log.info('configuration reloaded', { file });
    return true;
  }

  async stop(settleMs = 0): Promise<void> {
    this.#watcher.close();
    await this.#listener.drain(this.config.limits.drainMs, settleMs);
    await this.#alarms.close();
    await this.#limiter.close();
    await this.#secrets.close();
    this.#flow.rooms.upstream.close();
    this.audit.close();
    this.#state.close();
  }

  /** The session of a credential that somebody else issued. */
  #open(opening: Opening): Promise<Session> {
    const exchanges = this.#compiled.profiles.get(opening.profile)?.exchanged !== undefined;
    return openFor(this.sessions, opening, profile => this.#issuer.stubsFor(profile), exchanges);
  }

  #rooms(compiled: Compiled, earlier?: Keyring): Rooms {
    const { config, credentials, profiles, mints } = compiled;
    return {
      profiles,
      keyring: new Keyring(this.#secrets, mints.keys(), this.#options.log, earlier),
      stubs: this.#stubs,
      captures: this.#captures,
      shapeOf: name => credentials.get(name)?.stub.shape ?? DEFAULT_SHAPE,
      audit: this.audit,
      metrics: this.metrics,
      log: this.#options.log,
      alarm: (code, event, session) => this.#alarms.raise(code, event, session),
      upstream: upstreamOf(config, this.#options, () => this.#own),
      // Last: nothing may fail once other limits hold.
      limits: this.#limiter.reconfigure(budgetsOf(compiled)),
    };
  }

  #tls(): Pick<ProxyRooms, 'tls'> {
    const { config } = this;
    return this.isTls ? tlsOf(config, this.#identities, this.#options.log) : {};
  }

  #keep(cause: unknown): void {
    this.#options.log.error('configuration not reloaded: the last good one stays', { cause });
  }
}

function tcpOf(wanted: ListenAddress): { host: string; port: number } {
  if (wanted.host === undefined)
    throw new Error('listen.proxy must be host:port; clients cannot use a Unix socket as a proxy');
  return wanted;
}
