import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Gate, startGate } from '../app.ts';
import type { Compiled, Credential, Profile } from '../config/types.ts';
import { openAuthority } from '../intercept/ca.ts';
import { Contexts } from '../intercept/contexts.ts';
import type { CanonicalHost, Log, Session } from '../types.ts';
import { type Canary, CanaryVault } from './canary.ts';
import { Reflector } from './reflector.ts';
import { concreteHost } from './requests.ts';
import { Sandbox } from './sandbox.ts';

/** Of one session. */
const TUNNELS = 64;

export type Protocol = 'HTTP/1.1' | 'HTTP/2';

/** What a profile's session can do, with one kind of upstream. */
export interface Bench {
  readonly stand: Stand;
  readonly session: Session;
  readonly sandbox: Sandbox;
  /** Trusts the upstream itself, as a client that pins it does. */
  readonly pinning: Sandbox;
}

/** A gate of the user's configuration, with canaries for its secrets and a reflector for its upstreams. */
export interface Stand {
  readonly gate: Gate;
  readonly reflector: Reflector;
  /** Everything that the gate wrote is in it, but for its logs. */
  readonly dir: string;
  open(profile: string): Promise<Omit<Bench, 'stand'> & { readonly token: string }>;
  /** Takes the folder with it. */
  close(): Promise<void>;
}

export interface StandOptions {
  readonly compiled: Compiled;
  readonly canaries: readonly Canary[];
  /** The upstreams'. */
  readonly protocol: Protocol;
  readonly log: Log;
  /** For programs of the user's: every host is there, and those that `upstream.resolve` names are where it says. */
  readonly isForPrograms?: boolean;
}

/** Starts it on loopback; nothing of it dials anything else, but for what `upstream.resolve` names. */
export async function openStand(options: StandOptions): Promise<Stand> {
  const { compiled, protocol, log, isForPrograms = false } = options;
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-verify-'));
  const authority = openAuthority({ dir: join(dir, 'upstream') });
  // Nobody may sign what the gate trusts: the key lives in memory only.
  rmSync(join(dir, 'upstream', 'ca.key'));
  const reflector = new Reflector(new Contexts(authority), protocol);
  const own = await reflector.listen();
  const caFile = join(dir, 'upstream.pem');
  const corporate = isForPrograms ? compiled.config.upstream.caFile : undefined;
  writeFileSync(caFile, authority.rootPem + (corporate === undefined ? '' : readFileSync(corporate, 'utf8')));
  const upstream = { caFile, allowPrivate: [], ...(isForPrograms ? everywhere : named)(compiled, own) };
  if (isForPrograms)
    reflector.standIns = [...upstream.resolve.values()].map(({ address, port = 443 }) => ({ address, port }));
  const gate = await startGate({
    configFile: compiled.config.file,
    log,
    listen: { host: '127.0.0.1', port: 0 },
    lookup: () => Promise.reject(new Error('a proof asks no DNS')),
    rewrite: next => onStand(next, options.canaries, join(dir, 'gate'), upstream),
  }).catch((error: unknown) => {
    reflector.close();
    rmSync(dir, { recursive: true, force: true });
    throw error;
  });
  const clients: Sandbox[] = [];
  const clientOf = (userinfo: string, ca: string): Sandbox => {
    const client = new Sandbox({ ...gate.address, userinfo, ca });
    clients.push(client);
    return client;
  };
  return {
    gate,
    reflector,
    dir,
    open: async profile => {
      const { session, token } = await gate.createSession({ profile, sub: 'stubgate verify' });
      const userinfo = `${session.session}:${token}`;
      return {
        session,
        token,
        sandbox: clientOf(userinfo, gate.authority.rootPem),
        pinning: clientOf(userinfo, authority.rootPem),
      };
    },
    close: async () => {
      for (const client of clients) client.close();
      reflector.close();
      await gate.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

type Where = Pick<Compiled['config']['upstream'], 'resolve' | 'proxy'>;

/** The reflector in the place of a host of each rule. */
function named({ config }: Compiled, { address, port }: AddressInfo): Where {
  const hosts = config.rules.flatMap(rule => rule.hosts.map(concreteHost));
  return { resolve: new Map(hosts.map(host => [host, { address, port }])) };
}

/** The reflector in the place of every host: it is the parent proxy. An address as a host is not asked for there. */
function everywhere({ config }: Compiled, { address, port }: AddressInfo): Where {
  const addresses = config.rules
    .flatMap(rule => rule.hosts.map(concreteHost))
    .filter(host => isIP(host) !== 0);
  return {
    resolve: new Map([
      ...addresses.map(host => [host, { address, port }] as const),
      ...config.upstream.resolve,
    ]),
    proxy: { scheme: 'http', host: address as CanonicalHost, port },
  };
}

/** The same decisions, with other secrets and other upstreams. */
function onStand(
  { config, credentials, profiles, ...rest }: Compiled,
  canaries: readonly Canary[],
  dir: string,
  upstream: Compiled['config']['upstream'],
): Compiled {
  const names = new Set(canaries.map(({ credential }) => credential));
  const held = new Map([...credentials].map(([name, one]) => [name, known(one)]));
  return {
    ...rest,
    credentials: held,
    config: {
      ...config,
      credentials: held,
      alarms: { onAlarm: 'log' },
      identity: [],
      ca: { dir },
      state: 'memory',
      audit: { file: join(dir, 'audit.jsonl') },
      upstream,
      // As many as a proof needs at once.
      limits: { ...config.limits, tunnels: Math.max(config.limits.tunnels, TUNNELS) },
    },
    profiles: new Map([...profiles].map(([name, profile]) => [name, holdingAll(profile, names)])),
    sources: new Map(
      [...credentials.values()]
        .filter(({ name }) => names.has(name))
        .map(({ name, ttlMs }) => [name, { name, ttlMs, ref: { vault: 'canary', id: name } }]),
    ),
    // A canary stands for the token that would be minted.
    mints: new Map(),
    vaults: new Map([['canary', new CanaryVault(canaries)]]),
  };
}

/** Every credential that its rules name is there from the start, also one that a response would hand out first. */
function holdingAll(profile: Profile, names: ReadonlySet<string>): Profile {
  const { limits, onAlarm, ...rest } = profile;
  void limits;
  void onAlarm;
  const injected = rest.table.rules.flatMap(rule => rule.injections.map(one => one.credential));
  const credentials = [...new Set(injected)].filter(name => names.has(name));
  return { ...rest, credentials, vaulted: credentials };
}

/** Without what could end a proof early. */
function known({ limits, isCaptured, ...credential }: Credential): Credential {
  void limits;
  void isCaptured;
  return credential;
}
