import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Gate, startGate } from '../app.ts';
import type { Compiled } from '../config/types.ts';
import { openAuthority } from '../intercept/ca.ts';
import { Contexts } from '../intercept/contexts.ts';
import type { Log, Session } from '../types.ts';
import { type Canary, CanaryVault } from './canary.ts';
import { Reflector } from './reflector.ts';
import { concreteHost } from './requests.ts';
import { Sandbox } from './sandbox.ts';

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
  open(profile: string): Omit<Bench, 'stand'>;
  /** Takes the folder with it. */
  close(): Promise<void>;
}

/** Starts it on loopback; nothing of it dials anything else. `protocol`: the upstreams'. */
export async function openStand(
  compiled: Compiled,
  canaries: readonly Canary[],
  protocol: Protocol,
  log: Log,
): Promise<Stand> {
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-verify-'));
  const authority = openAuthority({ dir: join(dir, 'upstream') });
  const reflector = new Reflector(new Contexts(authority), protocol);
  const { address, port } = await reflector.listen();
  const caFile = join(dir, 'upstream.pem');
  writeFileSync(caFile, authority.rootPem);
  const hosts = compiled.config.rules.flatMap(rule => rule.hosts.map(concreteHost));
  const resolve = new Map(hosts.map(host => [host, { address, port }]));
  const gate = await startGate({
    configFile: compiled.config.file,
    log,
    listen: { host: '127.0.0.1', port: 0 },
    lookup: () => Promise.reject(new Error('a proof asks no DNS')),
    rewrite: next => onStand(next, canaries, join(dir, 'gate'), { resolve, caFile, allowPrivate: [] }),
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
    open: profile => {
      const { session, token } = gate.createSession({ profile, sub: 'stubgate verify' });
      const userinfo = `${session.session}:${token}`;
      return {
        session,
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

/** The same decisions, with other secrets and other upstreams. */
function onStand(
  { config, sources, ...rest }: Compiled,
  canaries: readonly Canary[],
  dir: string,
  upstream: Compiled['config']['upstream'],
): Compiled {
  const held = [...sources.values()].filter(({ name }) =>
    canaries.some(({ credential }) => credential === name),
  );
  return {
    ...rest,
    config: { ...config, ca: { dir }, audit: { file: join(dir, 'audit.jsonl') }, upstream },
    sources: new Map(
      held.map(source => [source.name, { ...source, ref: { vault: 'canary', id: source.name } }]),
    ),
    // A canary stands for the token that would be minted.
    mints: new Map(),
    vaults: new Map([['canary', new CanaryVault(canaries)]]),
  };
}
