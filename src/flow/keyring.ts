import type { Profile } from '../config/types.ts';
import { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import { Patterns } from '../scrub/index.ts';
import type { Log, Session } from '../types.ts';
import type { SecretCache } from '../vaults/cache.ts';

/**
 * The secrets of a profile as a request needs them: those to inject must be there, and every other one that the
 * session may use is looked for in the answer as soon as the gate knows it.
 */
export class Keyring {
  readonly cache: SecretCache;
  readonly #log: Log;
  readonly #patterns = new Map<string, { readonly version: number; readonly patterns: Patterns }>();
  readonly #ofSession = new WeakMap<
    Session,
    { readonly profile: Profile; readonly version: number; readonly patterns: Patterns }
  >();
  /** Profiles all of whose credentials are here, until when, as long as the cache keeps its version. */
  readonly #ready = new WeakMap<Profile, { readonly version: number; readonly until: number }>();
  /** Whose first read is over, for good or ill. */
  readonly #answered = new Set<string>();

  constructor(cache: SecretCache, log: Log) {
    this.cache = cache;
    this.#log = log;
  }

  /**
   * Fetches what is not here: called only for an allowed request. Nothing to wait for gives undefined. Rejects with
   * `credential_unavailable` if one of `needed` cannot be had; another one is waited for only the first time, so that
   * a vault that is down does not slow down requests that do not need it.
   */
  open(profile: Profile, needed: readonly string[]): Promise<unknown> | undefined {
    const ready = this.#ready.get(profile);
    if (ready && ready.version === this.cache.version && Date.now() < ready.until) return undefined;
    let pending: Promise<unknown>[] | undefined;
    for (const name of profile.credentials) {
      const got = this.cache.get(name);
      if (!(got instanceof Promise)) continue;
      const isNeeded = needed.includes(name);
      const isNew = !this.#answered.has(name);
      const settled = isNeeded ? got : got.catch((cause: unknown) => this.#missing(name, isNew, cause));
      if (isNeeded || isNew) (pending ??= []).push(settled.finally(() => this.#answered.add(name)));
    }
    if (pending) return Promise.all(pending);
    this.#ready.set(profile, {
      version: this.cache.version,
      until: this.cache.freshUntil(profile.credentials),
    });
    return undefined;
  }

  /** The secret for an injection; only after `open` resolved. */
  secret(name: string): Secret {
    const current = this.cache.current(name);
    if (!current) throw new Refusal('credential_unavailable');
    return current;
  }

  /** After the upstream refused the current value: whether the vault has another one by now. */
  async renew(name: string): Promise<boolean> {
    const rejected = this.secret(name);
    try {
      return !(await this.cache.refetch(name, rejected)).equals(rejected);
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
   * included, and of those that it was created with, though its profile has lost them since.
   */
  patterns(profile: Profile, session: Session): Patterns {
    const { version } = this.cache;
    const known = this.#ofSession.get(session);
    if (known?.version === version && known.profile === profile) return known.patterns;
    const patterns = this.#compile(profile, session);
    this.#ofSession.set(session, { profile, version, patterns });
    return patterns;
  }

  /** Sessions that look for the same values share the patterns. */
  #compile(profile: Profile, { stubs }: Session): Patterns {
    const lost = [...stubs.keys()].filter(name => !profile.credentials.includes(name));
    const names = [...profile.credentials, ...lost];
    const key = [profile.name, ...lost].join();
    const cached = this.#patterns.get(key);
    const version = this.cache.version;
    if (cached?.version === version) return cached.patterns;
    const patterns = new Patterns(this.cache.known(names));
    this.#patterns.set(key, { version, patterns });
    return patterns;
  }

  #missing(name: string, isNew: boolean, cause: unknown): void {
    if (isNew)
      this.#log.warn('a credential that this profile may use cannot be fetched', { credential: name, cause });
  }
}
