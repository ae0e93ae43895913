import type { Metrics } from '../audit/metrics.ts';
import type { Compiled } from '../config/types.ts';
import { MintCache } from '../mint/cache.ts';
import type { Dial } from '../mint/http.ts';
import { Rotations, type RotationStore } from '../mint/rotations.ts';
import { type Log, type Session, type Vault, VaultError } from '../types.ts';
import { atMost } from '../vaults/at-most.ts';
import { SecretCache } from '../vaults/cache.ts';

/** After the end of a session, until what it alone could use is given back: many may end at once. */
const RELEASE_MS = 250;
/** Of giving back, to issuers and to vaults. */
const TIMEOUT_MS = 4_000;
/** After a session's end, until its subject token is forgotten: what still flows to it is searched to the end. */
const FORGET_MS = 10_000;
/** What requests under way may still need of a vault that a reload replaced. */
const RETIRE_MS = 10_000;

/** Sessions as far as their secrets depend on them. */
export interface SessionLife {
  list(): readonly Session[];
  onEnd(listener: (session: Session) => void): () => void;
}

export interface SecretsOptions {
  readonly metrics: Metrics;
  readonly log: Log;
  /** To the issuers of tokens. */
  readonly dial: Dial;
  readonly sessions: SessionLife;
  /** Until a vault that a reload replaced is closed; 10 s. */
  readonly retireMs?: number;
  /** What gates keep for each other; undefined where there is nobody to share with. */
  readonly store: RotationStore | undefined;
}

interface OpenVault {
  /** Equal texts: nothing about it has changed. */
  readonly id: string;
  readonly vault: Vault;
}

/**
 * Every secret that the gate holds: those that it reads from vaults, and those that are minted from them. What was made
 * for sessions is given back when the last one that may use it ends.
 */
export class Secrets {
  readonly vaulted: SecretCache;
  readonly mints: MintCache;
  readonly #log: Log;
  readonly #sessions: SessionLife;
  readonly #retireMs: number;
  readonly #retired = new Map<OpenVault, NodeJS.Timeout>();
  #compiled: Compiled;
  #vaults = new Map<string, OpenVault>();
  #releasing: NodeJS.Timeout | undefined;

  constructor(compiled: Compiled, options: SecretsOptions) {
    const { metrics, log, dial, sessions, store, retireMs = RETIRE_MS } = options;
    this.#compiled = compiled;
    this.#log = log;
    this.#sessions = sessions;
    this.#retireMs = retireMs;
    this.vaulted = new SecretCache({
      credentials: compiled.sources,
      vaults: this.#take(compiled),
      log,
      onRead: (vault, done) => metrics.fetched(vault, done),
    });
    this.mints = new MintCache({
      mints: compiled.mints,
      vaulted: this.vaulted,
      dial,
      log,
      ...(store && { rotations: new Rotations({ store, log }) }),
      // No vault can have such a name.
      onMint: (type, done) => metrics.fetched(`mint:${type}`, done),
    });
    sessions.onEnd(session => {
      this.mints.release(session);
      forgetSubject(session);
      this.#releaseSoon();
    });
  }

  /** Takes a new configuration; a value stays in use if nothing about it changed, and so does a vault's login. */
  reconfigure(compiled: Compiled): void {
    this.#compiled = compiled;
    this.vaulted.reconfigure({ credentials: compiled.sources, vaults: this.#take(compiled) });
    this.mints.reconfigure(compiled.mints);
    this.#releaseSoon();
  }

  /** Gives back all that can be: tokens, leases, logins. Settles within some seconds, and never rejects. */
  async close(): Promise<void> {
    clearTimeout(this.#releasing);
    this.vaulted.close();
    // First: an issuer may ask for a secret of a vault's.
    await atMost(TIMEOUT_MS, this.mints.close());
    const open = [...this.#vaults.values(), ...this.#retired.keys()];
    for (const timer of this.#retired.values()) clearTimeout(timer);
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await atMost(TIMEOUT_MS, Promise.all(open.map(({ vault }) => this.#closeVault(vault, signal))));
  }

  /** The vaults of a configuration: those that are open already, where nothing about them changed. */
  #take({ config, vaults }: Compiled): Map<string, Vault> {
    const before = this.#vaults;
    this.#vaults = new Map();
    for (const [name, vault] of vaults) {
      const id = JSON.stringify([config.vaults.get(name)?.type, config.vaults.get(name)?.options]);
      const open = before.get(name);
      this.#vaults.set(name, open?.id === id ? open : { id, vault });
      if (open?.id === id) before.delete(name);
    }
    for (const replaced of before.values()) this.#retire(replaced);
    return new Map([...this.#vaults].map(([name, { vault }]) => [name, vault]));
  }

  #retire(open: OpenVault): void {
    if (!open.vault.close) return;
    const timer = setTimeout(() => {
      this.#retired.delete(open);
      void this.#closeVault(open.vault, AbortSignal.timeout(TIMEOUT_MS));
    }, this.#retireMs).unref();
    this.#retired.set(open, timer);
  }

  async #closeVault(vault: Vault, signal: AbortSignal): Promise<void> {
    try {
      await vault.close?.(signal);
    } catch (error) {
      // Any other error may quote a secret.
      const cause = error instanceof VaultError ? error.message : 'it failed';
      this.#log.warn('a vault’s login or leases could not be given back: they end by themselves', { cause });
    }
  }

  #releaseSoon(): void {
    this.#releasing ??= setTimeout(() => {
      this.#releasing = undefined;
      this.#release();
    }, RELEASE_MS).unref();
  }

  /** What no live session may use. */
  #release(): void {
    const { profiles, sources } = this.#compiled;
    const leased = [...sources.keys()].filter(name => this.vaulted.isLeased(name));
    if (leased.length === 0) return;
    const now = Date.now();
    const isAlive = ({ revokedAt, expiresAt }: Session): boolean =>
      revokedAt === undefined && now < expiresAt;
    const used = new Set(
      this.#sessions
        .list()
        .filter(isAlive)
        .map(({ profile }) => profile),
    );
    const needed = new Set([...used].flatMap(name => profiles.get(name)?.credentials ?? []));
    // A further secret of a minted credential is `<credential>/<option>`.
    const unused = leased.filter(name => !needed.has(name) && !needed.has(name.replace(/\/[^/]*$/, '')));
    void this.vaulted.release(new Set(unused), AbortSignal.timeout(TIMEOUT_MS));
  }
}

function forgetSubject(session: Session): void {
  if (!session.subject) return;
  const forget = (): void => void (session.subject = undefined);
  if (session.subject.isOwn) forget();
  else setTimeout(forget, FORGET_MS).unref();
}
