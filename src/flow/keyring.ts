import type { Profile } from '../config/types.ts';
import { Refusal } from '../errors.ts';
import type { MintCache } from '../mint/cache.ts';
import { randomBase62 } from '../inject/base62.ts';
import { Secret } from '../secret.ts';
import { Patterns } from '../scrub/index.ts';
import type { Captured, Log, Session } from '../types.ts';
import type { SecretCache } from '../vaults/cache.ts';
import type { Secrets } from './secrets.ts';

/** Patterns, and what they were compiled from. */
interface Compiled {
  readonly version: number;
  readonly minted: readonly Secret[];
  readonly secrets: readonly Secret[];
  readonly wires: readonly Secret[];
  readonly patterns: Patterns;
}

/** Version of what another configuration was served with, and is compared before it serves again. */
const UNCHECKED = -1;

/** A session's patterns, and for which state of the caches they hold. */
interface Held extends Compiled {
  readonly profile: Profile;
  mintVersion: number;
}

/**
 * The secrets of a profile as a request needs them: those to inject must be there, and every other one that the
 * session may use is looked for in the answer as soon as the gate knows it.
 */
export class Keyring {
  readonly cache: SecretCache;
  readonly #mints: MintCache;
  /** Names of credentials whose own value must never go out: only a token that is minted from it. */
  readonly #minted: ReadonlySet<string>;
  readonly #log: Log;
  readonly #patterns = new Map<string, Compiled>();
  readonly #ofSession = new WeakMap<Session | Captured, Held>();
  /** Stands nowhere: a stream is searched from its start for what may be captured while it flows. */
  readonly #future = [new Secret('', randomBase62(43))];
  /** Profiles all of whose credentials are here, until when, as long as the cache keeps its version. */
  readonly #ready = new WeakMap<Profile, { readonly version: number; readonly until: number }>();
  /** Whose first read is over, for good or ill. */
  readonly #answered = new Set<string>();

  /** `earlier`: of another configuration; what it looks for and this one, too, is not compiled again. */
  constructor({ vaulted, mints }: Secrets, minted: Iterable<string>, log: Log, earlier?: Keyring) {
    this.cache = vaulted;
    this.#mints = mints;
    this.#minted = new Set(minted);
    this.#log = log;
    for (const [key, compiled] of earlier ? earlier.#patterns : [])
      if (compiled.version !== UNCHECKED) this.#patterns.set(key, { ...compiled, version: UNCHECKED });
  }

  /**
   * Fetches what is not here: called only for an allowed request. Nothing to wait for gives undefined. Rejects with
   * `credential_unavailable` if one of `needed` cannot be had; another one is waited for only the first time, so that
   * a vault that is down does not slow down requests that do not need it.
   */
  open(profile: Profile, needed: readonly string[], session: Session): Promise<unknown> | undefined {
    const reading = this.#read(profile, needed);
    if (this.#minted.size === 0) return reading;
    return reading ? reading.then(() => this.#mint(needed, session)) : this.#mint(needed, session);
  }

  #read(profile: Profile, needed: readonly string[]): Promise<unknown> | undefined {
    const ready = this.#ready.get(profile);
    if (ready && ready.version === this.cache.version && Date.now() < ready.until) return undefined;
    let pending: Promise<unknown>[] | undefined;
    for (const name of profile.vaulted) {
      if (this.cache.isLeased(name) && !needed.includes(name)) continue;
      const got = this.cache.get(name);
      if (!(got instanceof Promise)) continue;
      // A token that is here serves without the secret that it was minted from.
      const isNeeded = needed.includes(name) && !this.#minted.has(name);
      const isNew = !this.#answered.has(name);
      const settled = isNeeded ? got : got.catch((cause: unknown) => this.#missing(name, isNew, cause));
      if (isNeeded || isNew) (pending ??= []).push(settled.finally(() => this.#answered.add(name)));
    }
    if (pending) return Promise.all(pending);
    this.#ready.set(profile, {
      version: this.cache.version,
      until: this.cache.freshUntil(profile.vaulted),
    });
    return undefined;
  }

  /** Only what the request needs: a token that nobody uses is one more to lose. */
  #mint(needed: readonly string[], session: Session): Promise<unknown> | undefined {
    let pending: Promise<unknown>[] | undefined;
    for (const name of needed) {
      if (!this.#minted.has(name)) continue;
      const got = this.#mints.get(name, session);
      if (got instanceof Promise) (pending ??= []).push(got);
    }
    return pending && Promise.all(pending);
  }

  /** The secret for an injection, and for a captured one its stub; only after `open` resolved. */
  secret(name: string, session: Session, stub?: string): Secret {
    const captured = stub === undefined ? undefined : session.captured?.secret(name, stub);
    if (captured) return captured;
    const current = this.#minted.has(name) ? this.#mints.current(name, session) : this.cache.current(name);
    if (!current) throw new Refusal('credential_unavailable');
    return current;
  }

  /** Whether the value for an injection is older than its time, as its vault cannot be reached. */
  isStale(name: string): boolean {
    return !this.#minted.has(name) && this.cache.isStale(name);
  }

  /**
   * After the upstream refused a value: whether there is another one by now. A token that gets a 403 is no worse than
   * the next one would be.
   */
  async renew(name: string, rejected: Secret, session: Session, status: 401 | 403): Promise<boolean> {
    const isMinted = this.#minted.has(name);
    // What was captured is there once: its client asks for another one.
    if ((isMinted && status === 403) || session.captured?.known().includes(rejected)) return false;
    try {
      const present = isMinted
        ? this.#mints.remint(name, session, rejected)
        : this.cache.refetch(name, rejected, status);
      return !(await present).equals(rejected);
    } catch (cause) {
      this.#log.warn('a credential that the upstream rejected cannot be fetched again', {
        credential: name,
        cause,
      });
      return false;
    }
  }

  /**
   * What to look for on behalf of a session: every value that the gate knows of its profile's credentials, old ones
   * included, and of those that it was created with, though its profile has lost them since; and its own tokens.
   */
  patterns(profile: Profile, session: Session): Patterns {
    const { version } = this.cache;
    const { captured } = session;
    const mintVersion = this.#mints.version + (captured?.version ?? 0);
    // What is compiled of captured secrets is forgotten with them.
    const held = this.#ofSession.get(captured ?? session);
    const isCurrent = held?.version === version && held.profile === profile;
    if (isCurrent && held.mintVersion === mintVersion) return held.patterns;
    const lost = [...session.stubs.keys()].filter(name => !profile.credentials.includes(name));
    const names = [...profile.credentials, ...lost];
    const own = captured?.known() ?? [];
    const minted = [...this.#mints.known(names, session), ...own, ...(profile.captures ? this.#future : [])];
    if (isCurrent && sameItems(held.minted, minted)) {
      // A token of somebody else's.
      held.mintVersion = mintVersion;
      return held.patterns;
    }
    const key = own.length > 0 ? undefined : [profile.name, ...lost].join();
    const compiled = this.#compile(profile, key, names, version, minted);
    this.#ofSession.set(captured ?? session, { ...compiled, profile, mintVersion });
    return compiled.patterns;
  }

  /** Sessions that look for the same values share the patterns. */
  #compile(
    profile: Profile,
    key: string | undefined,
    names: readonly string[],
    version: number,
    minted: readonly Secret[],
  ): Compiled {
    const cached = key === undefined ? undefined : this.#patterns.get(key);
    if (cached?.version === version && sameItems(cached.minted, minted)) return cached;
    const vaulted = names.flatMap(name => {
      const further = this.#mints.sources(name);
      const secrets = this.cache.known([name, ...further]);
      // The stub stands in the place of every secret of a credential.
      return secrets.map(secret => (secret.name === name ? secret : secret.named(name)));
    });
    const secrets = [...vaulted, ...minted];
    const wires = secrets.flatMap(secret =>
      (profile.placements.get(secret.name) ?? []).flatMap(placement => placement.wires?.(secret) ?? []),
    );
    // The version counts the changes of all secrets; most profiles have few of them.
    const isSame = cached && sameSecrets(cached.secrets, secrets) && sameSecrets(cached.wires, wires);
    const patterns = isSame ? cached.patterns : new Patterns(secrets, wires);
    const compiled = { version, minted, secrets, wires, patterns };
    if (key !== undefined) this.#patterns.set(key, compiled);
    return compiled;
  }

  #missing(name: string, isNew: boolean, cause: unknown): void {
    if (isNew)
      this.#log.warn('a credential that this profile may use cannot be fetched', { credential: name, cause });
  }
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

function sameSecrets(a: readonly Secret[], b: readonly Secret[]): boolean {
  return a.length === b.length && a.every((one, i) => isSameSecret(one, b[i] as Secret));
}

const isSameSecret = (a: Secret, b: Secret): boolean => a.name === b.name && (a === b || a.equals(b));
