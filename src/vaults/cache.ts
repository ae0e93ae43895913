import { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import { type Log, type Vault, VaultError } from '../types.ts';
import { atMost } from './at-most.ts';
import { type CredentialSource, Entry, idOf, type SecretCacheOptions, type SecretSources } from './entry.ts';
import { asVaultError, unavailable } from './fault.ts';
import { show } from './field.ts';

export type { CredentialSource, SecretSources } from './entry.ts';

/** What a shorter value would be replaced with could not be told from ordinary text in a response. */
const MIN_LENGTH = 8;
const MISSING_MS = 10_000;
const UNAVAILABLE_MS = 2_000;
const TIMEOUT_MS = 10_000;
/** Of a request whose credential may be stale. */
const PATIENCE_MS = 1_000;

/**
 * Current values of all credentials: fetched when first asked for, and again before their end while they are used; one
 * read at a time, never on a client's clock.
 */
export class SecretCache {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  readonly #log: Log | undefined;
  readonly #onRead: (vault: string, done: boolean) => void;
  readonly #timeoutMs: number;
  readonly #watched = new WeakSet<Vault>();
  #version = 0;

  constructor(options: SecretCacheOptions) {
    this.#now = options.now ?? Date.now;
    this.#log = options.log;
    this.#onRead = options.onRead ?? (() => {});
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.reconfigure(options);
  }

  /** Changes whenever `known` may give other values for a name. */
  get version(): number {
    return this.#version;
  }

  /** At once while fresh; rejects with credential_unavailable, whose cause is for the operator. */
  get(name: string): Secret | Promise<Secret> {
    const entry = this.#entries.get(name);
    if (!entry?.source) return Promise.reject(unavailable(`credential "${name}" is not configured`));
    const now = this.#now();
    entry.used = true;
    if (entry.current && now < entry.freshUntil) return entry.current;
    const hasFailed = entry.failure !== undefined && now < entry.failedUntil;
    const stale = entry.stale(now);
    if (stale) {
      // Nobody waits for a vault that is known to be down.
      if (!hasFailed) this.#fetch(name, entry).catch(() => {});
      return this.#useStale(name, entry, stale);
    }
    if (hasFailed) return Promise.reject(entry.failure);
    entry.calm();
    const fetched = this.#fetch(name, entry);
    return now < entry.staleUntil ? this.#patiently(name, entry, fetched) : fetched;
  }

  /** The value in use; undefined if there is none. Fetches nothing. */
  current(name: string): Secret | undefined {
    const entry = this.#entries.get(name);
    if (entry) entry.used = true;
    return entry?.current;
  }

  /** Whether the value in use is older than its time. */
  isStale(name: string): boolean {
    return this.#entries.get(name)?.isStale === true;
  }

  /** Whether a value is made when it is read: only for who needs it. */
  isLeased(name: string): boolean {
    const { source, vault } = this.#entries.get(name) ?? {};
    return (source && vault?.isLeased?.(source.ref.id)) ?? false;
  }

  /** Until when `get` gives each of these at once, as long as `version` stays; 0 if one is not fresh. ms since the epoch. */
  freshUntil(names: Iterable<string>): number {
    let until = Number.POSITIVE_INFINITY;
    for (const name of names) {
      const entry = this.#entries.get(name);
      until = Math.min(until, entry?.source && entry.current ? entry.freshUntil : 0);
    }
    return until;
  }

  /** After an upstream refused a value: the vault's present one, which is the same object if nothing changed. */
  async refetch(name: string, rejected: Secret, status: 401 | 403 = 401): Promise<Secret> {
    const entry = this.#entries.get(name);
    const now = this.#now();
    if (!entry?.current?.equals(rejected)) return this.get(name);
    if (entry.inFlight) {
      // It may have been asked for before the value was replaced.
      const read = await entry.inFlight;
      if (!read.equals(rejected)) return read;
      if (entry.inFlight !== undefined) return entry.inFlight;
    }
    if (!entry.mayRefetch(status, now)) return now < entry.freshUntil ? entry.current : this.get(name);
    return this.#fetch(name, entry, status === 401 ? rejected.version : undefined);
  }

  /** Fetches what is not fresh; settles when all have an answer, never rejects. */
  async prefetch(names: Iterable<string>): Promise<void> {
    await Promise.allSettled([...names].map(async name => this.get(name)));
  }

  /** Values to be removed from responses: the current ones, and those replaced within the last hour. Fetches nothing. */
  known(names: Iterable<string>): readonly Secret[] {
    const now = this.#now();
    const secrets: Secret[] = [];
    for (const name of names) {
      const entry = this.#entries.get(name);
      if (entry) secrets.push(...entry.values(now));
    }
    return secrets;
  }

  /** Takes a new configuration; a value stays fresh if its ref is the same. */
  reconfigure({ credentials, vaults }: SecretSources): void {
    for (const [name, entry] of this.#entries) {
      if (credentials.has(name)) continue;
      this.#assign(entry, undefined, undefined);
      if (entry.values(this.#now()).length === 0) this.#entries.delete(name);
    }
    for (const [name, vault] of vaults) this.#watch(name, vault);
    for (const [name, source] of credentials) {
      const entry = this.#entries.get(name) ?? new Entry();
      this.#entries.set(name, entry);
      this.#assign(entry, source, vaults.get(source.ref.vault));
    }
  }

  /** No session may use these any more: what was made for them alone is given back. Never rejects. */
  async release(names: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const unused = new Map<string, () => Promise<void> | undefined>();
    const leased = [...this.#entries].filter(([name]) => this.isLeased(name));
    for (const [name, { source, vault }] of leased)
      if (source && names.has(name)) unused.set(idOf(source), () => vault?.release?.(source.ref.id, signal));
    // Several refs may be parts of one lease.
    for (const [name, { source }] of leased) if (source && !names.has(name)) unused.delete(idOf(source));
    const warn = (error: unknown): void =>
      this.#log?.warn('a secret could not be given back', { cause: asVaultError('', error).message });
    await Promise.all([...unused.values()].map(async release => release()?.catch(warn)));
  }

  /** Reads nothing by itself any more. */
  close(): void {
    for (const entry of this.#entries.values()) entry.stop();
  }

  #watch(name: string, vault: Vault): void {
    if (!vault.watch || this.#watched.has(vault)) return;
    this.#watched.add(vault);
    vault.watch({
      changed: id => {
        for (const entry of this.#entries.values())
          if (entry.vault === vault && entry.source?.ref.id === id) entry.expire();
        this.#version++;
      },
      warn: error => this.#log?.warn('a vault has trouble', { vault: name, cause: error.message }),
    });
  }

  #assign(entry: Entry, source: CredentialSource | undefined, vault: Vault | undefined): void {
    const { source: before, vault: vaultBefore } = entry;
    entry.source = source;
    entry.vault = vault;
    entry.failure = undefined;
    const isSameRef = before && source && show(before.ref) === show(source.ref);
    // What another connection made is given back with it.
    const isKept = vault === vaultBefore || !before || !vaultBefore?.isLeased?.(before.ref.id);
    if (isSameRef && isKept) {
      const now = this.#now();
      entry.freshUntil = Math.min(entry.freshUntil, now + source.ttlMs);
      entry.staleUntil = entry.staleUntil === 0 ? 0 : entry.freshUntil + (source.staleForMs ?? 0);
      if (entry.current && now < entry.freshUntil)
        entry.schedule(() => this.#refresh(source.name, entry), now);
      return;
    }
    if (entry.current) this.#retire(entry, entry.current);
    entry.reset();
  }

  /** Shortly before its end; a request that comes meanwhile has the present value. */
  #refresh(name: string, entry: Entry): void {
    if (!entry.source) return;
    entry.calm();
    this.#fetch(name, entry).catch(() => {});
  }

  /** The read that is under way, or a new one. No caller's abort ends it: others may wait for it too. */
  #fetch(name: string, entry: Entry, refused?: string): Promise<Secret> {
    if (entry.inFlight) return entry.inFlight;
    const vault = entry.source?.ref.vault ?? '';
    const fetched: Promise<Secret> = this.#read(name, entry, refused).then(
      secret => {
        this.#onRead(vault, true);
        return this.#accept(name, entry, this.#settle(entry, fetched), secret);
      },
      (error: unknown) => {
        this.#onRead(vault, false);
        return this.#fail(name, entry, this.#settle(entry, fetched), error);
      },
    );
    // Every caller may be gone by the time it fails.
    fetched.catch(() => {});
    entry.inFlight = fetched;
    return fetched;
  }

  /** Whether this read is still the one that counts: a new configuration may have overtaken it. */
  #settle(entry: Entry, fetched: Promise<Secret>): boolean {
    if (entry.inFlight !== fetched) return false;
    entry.inFlight = undefined;
    return true;
  }

  async #read(name: string, { source, vault }: Entry, refused?: string): Promise<Secret> {
    if (!source || !vault)
      throw new VaultError('missing', `credential "${name}" names a vault that is not configured`);
    const ref = show(source.ref);
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const late = new Promise<never>((_, reject) => {
      const error = new VaultError('unavailable', `${ref}: no answer within ${this.#timeoutMs} ms`);
      signal.addEventListener('abort', () => reject(error), { once: true });
    });
    const secret = await Promise.race([late, vault.read(source.ref, signal, refused)]);
    if (secret.length >= MIN_LENGTH) return secret.named(name);
    throw new VaultError(
      'missing',
      `${ref} is shorter than ${MIN_LENGTH} characters: too short to be a secret`,
    );
  }

  #accept(name: string, entry: Entry, counts: boolean, secret: Secret): Secret {
    if (!counts) {
      this.#retire(entry, secret);
      return secret;
    }
    const now = this.#now();
    const { current: before, isStale } = entry;
    const isSame = before !== undefined && before.equals(secret) && before.version === secret.version;
    entry.accept(isSame ? before : secret, now);
    entry.schedule(() => this.#refresh(name, entry), now);
    if (isStale) this.#log?.info('a credential can be fetched again', { credential: name });
    if (isSame) return before;
    if (before && !before.equals(secret)) this.#retire(entry, before);
    this.#version++;
    return secret;
  }

  /** While the vault cannot be reached, the last good value serves for `stale_for`. */
  #fail(name: string, entry: Entry, counts: boolean, error: unknown): Secret {
    const cause = asVaultError(name, error);
    const refusal = new Refusal('credential_unavailable', { cause });
    this.#log?.warn('a credential cannot be fetched', { credential: name, cause: cause.message });
    if (!counts) throw refusal;
    const now = this.#now();
    const isMissing = cause.kind === 'missing';
    entry.failure = refusal;
    entry.failedUntil = now + (isMissing ? MISSING_MS : UNAVAILABLE_MS);
    if (isMissing) entry.staleUntil = 0;
    entry.retry(() => this.#refresh(name, entry), now);
    const stale = entry.stale(now);
    if (stale) return this.#useStale(name, entry, stale);
    throw refusal;
  }

  /** Where there is a stale value, nobody waits long for a vault that hangs. */
  async #patiently(name: string, entry: Entry, fetched: Promise<Secret>): Promise<Secret> {
    await atMost(PATIENCE_MS, fetched);
    if (entry.inFlight !== fetched) return fetched;
    const now = this.#now();
    entry.failure ??= unavailable('there is no answer yet');
    entry.failedUntil = now + UNAVAILABLE_MS;
    const stale = entry.stale(now);
    return stale ? this.#useStale(name, entry, stale) : fetched;
  }

  #useStale(name: string, entry: Entry, secret: Secret): Secret {
    if (entry.isStale) return secret;
    entry.isStale = true;
    const until = new Date(entry.staleUntil).toISOString();
    this.#log?.warn('a credential is used beyond its ttl (stale_for)', { credential: name, until });
    return secret;
  }

  #retire(entry: Entry, secret: Secret): void {
    entry.retire(secret, this.#now());
    this.#version++;
  }
}
