import { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import { type Log, type SecretRef, type Vault, VaultError } from '../types.ts';
import { show } from './field.ts';

/** What a shorter value would be replaced with could not be told from ordinary text in a response. */
const MIN_LENGTH = 8;
const MISSING_MS = 10_000;
const UNAVAILABLE_MS = 2_000;
/** Between two fetches that answers of 401 cause. */
const REFETCH_MS = 5_000;
/** How long a replaced value is still removed from responses. */
const PREVIOUS_MS = 3_600_000;
const TIMEOUT_MS = 10_000;

export interface CredentialSource {
  readonly name: string;
  readonly ref: SecretRef;
  /** How long a fetched value is used. */
  readonly ttlMs: number;
}

export interface SecretSources {
  readonly credentials: ReadonlyMap<string, CredentialSource>;
  readonly vaults: ReadonlyMap<string, Vault>;
}

export interface SecretCacheOptions extends SecretSources {
  readonly now?: () => number;
  readonly log?: Log;
  /** Told of every read: the vault, and whether it gave a secret. */
  readonly onRead?: (vault: string, done: boolean) => void;
  /** Of one read; 10 s. */
  readonly timeoutMs?: number;
}

/** A credential's values and what is known about fetching it. Times: ms since the epoch. */
class Entry {
  /** Undefined once the configuration no longer has it: its values are only removed from responses. */
  source: CredentialSource | undefined;
  vault: Vault | undefined;
  current: Secret | undefined;
  freshUntil = 0;
  previous: { readonly secret: Secret; readonly until: number }[] = [];
  failure: Refusal | undefined;
  failedUntil = 0;
  refetchAfter = 0;
  inFlight: Promise<Secret> | undefined;
}

/** Current values of all credentials: fetched when first asked for, one read at a time, never on a client's clock. */
export class SecretCache {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  readonly #log: Log | undefined;
  readonly #onRead: (vault: string, done: boolean) => void;
  readonly #timeoutMs: number;
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
    if (entry.current && now < entry.freshUntil) return entry.current;
    if (entry.failure && now < entry.failedUntil) return Promise.reject(entry.failure);
    return this.#fetch(name, entry);
  }

  /** The value in use; undefined if there is none. Fetches nothing. */
  current(name: string): Secret | undefined {
    return this.#entries.get(name)?.current;
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
  async refetch(name: string, rejected: Secret): Promise<Secret> {
    const entry = this.#entries.get(name);
    if (!entry?.current || !entry.current.equals(rejected)) return this.get(name);
    const now = this.#now();
    if (!entry.inFlight && now < entry.refetchAfter) return entry.current;
    entry.refetchAfter = now + REFETCH_MS;
    return this.#fetch(name, entry);
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
      if (!entry) continue;
      if (entry.current) secrets.push(entry.current);
      for (const { secret, until } of entry.previous) if (now < until) secrets.push(secret);
    }
    return secrets;
  }

  /** Takes a new configuration; a value stays fresh if its ref is the same. */
  reconfigure({ credentials, vaults }: SecretSources): void {
    for (const [name, entry] of this.#entries) {
      if (credentials.has(name)) continue;
      this.#assign(entry, undefined, undefined);
      if (entry.previous.every(({ until }) => until <= this.#now())) this.#entries.delete(name);
    }
    for (const [name, source] of credentials) {
      const entry = this.#entries.get(name) ?? new Entry();
      this.#entries.set(name, entry);
      this.#assign(entry, source, vaults.get(source.ref.vault));
    }
  }

  #assign(entry: Entry, source: CredentialSource | undefined, vault: Vault | undefined): void {
    const before = entry.source;
    entry.source = source;
    entry.vault = vault;
    entry.failure = undefined;
    if (before && source && show(before.ref) === show(source.ref)) {
      entry.freshUntil = Math.min(entry.freshUntil, this.#now() + source.ttlMs);
      return;
    }
    entry.inFlight = undefined;
    entry.refetchAfter = 0;
    if (entry.current) this.#retire(entry, entry.current);
    entry.current = undefined;
  }

  /** The read that is under way, or a new one. No caller's abort ends it: others may wait for it too. */
  #fetch(name: string, entry: Entry): Promise<Secret> {
    if (entry.inFlight) return entry.inFlight;
    const vault = entry.source?.ref.vault ?? '';
    const fetched: Promise<Secret> = this.#read(name, entry).then(
      secret => {
        this.#onRead(vault, true);
        return this.#accept(entry, this.#settle(entry, fetched), secret);
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

  async #read(name: string, { source, vault }: Entry): Promise<Secret> {
    if (!source || !vault)
      throw new VaultError('missing', `credential "${name}" names a vault that is not configured`);
    const ref = show(source.ref);
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const late = new Promise<never>((_, reject) => {
      const error = new VaultError('unavailable', `${ref}: no answer within ${this.#timeoutMs} ms`);
      signal.addEventListener('abort', () => reject(error), { once: true });
    });
    const secret = await Promise.race([late, vault.read(source.ref, signal)]);
    if (secret.length >= MIN_LENGTH) return secret.named(name);
    throw new VaultError(
      'missing',
      `${ref} is shorter than ${MIN_LENGTH} characters: too short to be a secret`,
    );
  }

  #accept(entry: Entry, counts: boolean, secret: Secret): Secret {
    if (!counts) {
      this.#retire(entry, secret);
      return secret;
    }
    entry.failure = undefined;
    entry.freshUntil = this.#now() + (entry.source?.ttlMs ?? 0);
    const before = entry.current;
    if (before?.equals(secret) && before.version === secret.version) return before;
    entry.current = secret;
    if (before && !before.equals(secret)) this.#retire(entry, before);
    this.#version++;
    return secret;
  }

  #fail(name: string, entry: Entry, counts: boolean, error: unknown): never {
    const cause = asVaultError(name, error);
    const refusal = new Refusal('credential_unavailable', { cause });
    if (counts) {
      entry.failure = refusal;
      entry.failedUntil = this.#now() + (cause.kind === 'missing' ? MISSING_MS : UNAVAILABLE_MS);
    }
    this.#log?.warn('a credential cannot be fetched', { credential: name, cause: cause.message });
    throw refusal;
  }

  /** Keeps a value that is no longer handed out, for responses that may still hold it. */
  #retire(entry: Entry, secret: Secret): void {
    const now = this.#now();
    entry.previous = entry.previous.filter(
      ({ secret: other, until }) => now < until && !other.equals(secret),
    );
    entry.previous.push({ secret, until: now + PREVIOUS_MS });
    this.#version++;
  }
}

function unavailable(message: string): Refusal {
  return new Refusal('credential_unavailable', { cause: new VaultError('missing', message) });
}

/** A vault's own error, or one that names the other's kind only: what a client library throws may quote a secret. */
function asVaultError(name: string, error: unknown): VaultError {
  if (error instanceof VaultError) return error;
  const { name: kind = 'Error', code = '' } = (error ?? {}) as { name?: string; code?: string };
  return new VaultError(
    'unavailable',
    `credential "${name}": the vault failed with ${kind} ${code}`.trimEnd(),
  );
}
