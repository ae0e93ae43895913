import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Measured, NewSession, Steered } from '../app/gate.ts';
import { Issuer } from '../app/issuer.ts';
import { Metrics } from '../audit/metrics.ts';
import type { Policy } from '../config/load.ts';
import type { Config, ListenAddress } from '../config/types.ts';
import { deriveKey, StubKey } from '../inject/stub.ts';
import { writeTrust } from '../intercept/bundle.ts';
import { type Authority, openAuthority } from '../intercept/ca.ts';
import { openState } from '../state/open.ts';
import { Seal } from '../state/seal.ts';
import type { Sessions } from '../state/sessions.ts';
import type { State } from '../state/state.ts';
import type { Log, Session } from '../types.ts';
import type { Endpoint } from '../upstream/own.ts';
import type { Start } from './calls.ts';
import { Configuration, requireChains } from './configuration.ts';
import { Crew } from './crew.ts';
import type { CrewMember } from './crew-member.ts';
import { OnceEvents } from './once-events.ts';
import { type Audience, toldOf } from './shared-sessions.ts';
import { SharedState } from './shared-state.ts';
import { type Bound, type BoundSocket, bindSockets } from './sockets.ts';

/** The descriptor under which a worker finds its listening socket. */
export const LISTENER_FD = 4;
const SWEEP_MS = 500;
/** Sessions in one message. */
const BATCH = 500;

export interface PrimaryOptions {
  readonly policy: Policy;
  /** At least 2. */
  readonly workers: number;
  readonly log: Log;
  /** A worker's process, with an IPC channel; `fd` is its LISTENER_FD. */
  readonly spawn: (fd: number, number: number) => ChildProcess;
  /** No worker can be started any more. */
  readonly onFailed: (cause: Error) => void;
}

/** The address is bound, and the state open; nobody serves before `launch`. Throws an Error for the operator. */
export async function openPrimary(options: PrimaryOptions): Promise<Primary> {
  const { config } = options.policy;
  const { proxy } = config.listen;
  if (proxy.host === undefined)
    throw new Error('listen.proxy must be host:port; clients cannot use a Unix socket as a proxy');
  requireChains(config.audit.file);
  const authority = openAuthority(config.ca);
  const caKey = authority.key.export({ type: 'pkcs8', format: 'der' });
  const bound = await bindSockets(proxy.host, proxy.port, options.workers);
  try {
    const redis = config.state === 'memory' ? undefined : await openState(config.state, caKey, options.log);
    return new Primary(options, authority, bound, redis?.key ?? caKey, redis);
  } catch (error) {
    for (const socket of bound.sockets) socket.close();
    throw error;
  }
}

/** A gate of several processes: this one serves no request, and keeps what they share. */
export class Primary implements Steered {
  readonly caFile: string;
  readonly bundleFile: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly sessions: Sessions;
  readonly events: OnceEvents;
  readonly #options: PrimaryOptions;
  readonly #bound: Bound;
  readonly #shared: SharedState;
  readonly #redis: State | undefined;
  readonly #issuer: Issuer;
  readonly #crew: Crew;
  readonly #configuration: Configuration;
  readonly #sweeper: NodeJS.Timeout;
  readonly #ticketSalt = randomBytes(32).toString('hex');
  readonly #startedAt = Date.now();
  readonly #own: Endpoint[];
  readonly #caPem: string;
  readonly #seal: Seal;
  /** What workers that are gone have counted. */
  readonly #past = new Metrics();
  #lost = 0;
  #isWatched = false;

  /** `redis`: what all work with; absent: it is kept here. `key`: of the state. */
  constructor(options: PrimaryOptions, authority: Authority, bound: Bound, key: Buffer, redis?: State) {
    const { config } = options.policy;
    this.#options = options;
    this.#bound = bound;
    this.#caPem = authority.rootPem;
    this.#seal = new Seal(key);
    this.address = { host: bound.host, port: bound.port };
    this.#own = [{ address: bound.host, port: bound.port }, ...configured(config.listen.admin)];
    const trust = writeTrust(config.ca.dir, authority, config.upstream.caFile);
    ({ caFile: this.caFile, bundleFile: this.bundleFile } = trust);
    this.#crew = this.#newCrew();
    this.#shared = new SharedState(this.#audience());
    this.#redis = redis;
    this.sessions = redis?.sessions ?? this.#shared.sessions;
    this.events = new OnceEvents(new Metrics(), isWatched => {
      this.#isWatched = isWatched;
      this.#each(({ channel }) => channel.tell('watch', isWatched));
    });
    this.sessions.onEnd(session => this.events.ended(session));
    this.#configuration = new Configuration(options.policy, options.log, this.#crew);
    const stubs = new StubKey(deriveKey(key));
    this.#issuer = new Issuer(stubs, this.sessions, this.events, () => this.#configuration.compiled);
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  get config(): Config {
    return this.#configuration.compiled.config;
  }

  get isTls(): boolean {
    return this.config.listen.tls !== undefined;
  }

  /** Settles when all workers serve. */
  launch(): Promise<void> {
    return this.#crew.launch();
  }

  createSession(wanted: NewSession): Promise<{ session: Session; token: string }> {
    return this.#issuer.createSession(wanted);
  }

  stubEnvironment(session: Session): Record<string, string> {
    return this.#issuer.environment(session);
  }

  guard(address: string, port: number): void {
    this.#own.push({ address, port });
    this.#each(({ channel }) => channel.tell('guard', { address, port }));
  }

  async measure(): Promise<Measured> {
    const living = [...this.#crew.living];
    const measured = await Promise.all(living.map(member => member.measure()));
    const now = measured.filter(one => one !== undefined);
    const metrics = new Metrics(this.#startedAt);
    metrics.add(this.#past.counts());
    // One that is just gone is among those of the past.
    for (const { last } of this.#crew.living) if (last) metrics.add(last.counts);
    const all = now.map(({ gauges }) => gauges);
    const gauges = {
      tunnels: all.reduce((sum, { tunnels }) => sum + tunnels, 0),
      sessions: this.sessions.live,
      stateUp: this.sessions.healthy && all.every(({ stateUp }) => stateUp),
      auditHealthy: this.#crew.isComplete && living.every(hasAudit),
      auditLost: this.#lost + all.reduce((sum, { auditLost }) => sum + auditLost, 0),
    };
    return { metrics, gauges };
  }

  /** Reads the configuration, and opens the audit files, again; replaces the workers if that is what a change needs. */
  reload(): void {
    this.#each(({ channel }) => channel.tell('reopen'));
    this.#configuration.reload();
  }

  async stop(): Promise<void> {
    this.#configuration.close();
    clearInterval(this.#sweeper);
    // Nobody is to wait for a worker that does not come.
    for (const socket of this.#bound.sockets) socket.close();
    await this.#crew.stop();
    this.#redis?.close();
  }

  #newCrew(): Crew {
    const { log, spawn, onFailed, workers: count } = this.#options;
    return new Crew({
      count,
      log,
      spawn: (slot, number) => spawn((this.#bound.sockets[slot] as BoundSocket).fd, number),
      callsOf: member => ({
        ...this.#shared.callsOf(member),
        happened: event => this.events.tell(event),
        leave: () => this.#crew.leave(member),
      }),
      introduce: member => this.#introduce(member),
      startOf: ({ number }) => this.#startOf(number),
      drainMs: () => this.config.limits.drainMs,
      onGone: member => {
        this.#shared.release(member);
        if (!member.last) return;
        this.#past.add(member.last.counts);
        this.#lost += member.last.gauges.auditLost;
      },
      onFailed,
    });
  }

  #audience(): Audience {
    return {
      sessions: sessions => {
        const told = sessions.map(session => toldOf(this.#seal, session));
        this.#each(({ channel }) => channel.tell('sessions', told));
      },
      revoked: (id, at) => this.#each(({ channel }) => channel.tell('revoked', id, at)),
      sync: () => this.#crew.sync(),
    };
  }

  #introduce({ channel }: CrewMember): void {
    const sessions = this.#shared.sessions.known().map(session => toldOf(this.#seal, session));
    for (let i = 0; i < sessions.length; i += BATCH) channel.tell('sessions', sessions.slice(i, i + BATCH));
  }

  #startOf(number: number): Start {
    const { host, port } = this.address;
    return {
      number,
      file: this.config.file,
      text: this.#configuration.text,
      fixed: this.#configuration.fixed,
      listener: { fd: LISTENER_FD, host, port },
      own: this.#own,
      ticketSalt: this.#ticketSalt,
      caPem: this.#caPem,
      workers: this.#options.workers,
      isWatched: this.#isWatched,
    };
  }

  #each(step: (member: CrewMember) => void): void {
    for (const member of this.#crew.living) step(member);
  }

  #sweep(): void {
    this.sessions.sweep(Date.now());
    this.#shared.sweep();
  }
}

/** The control plane listens last, and only then tells where: no worker is to dial it in between. */
function configured({ host, port }: ListenAddress): Endpoint[] {
  return host === undefined || port === 0 ? [] : [{ address: host, port }];
}

/** One that does not serve yet, or is to end, says nothing of it. */
function hasAudit({ last, isLeaving }: CrewMember): boolean {
  return isLeaving || (last?.gauges.auditHealthy ?? true);
}
