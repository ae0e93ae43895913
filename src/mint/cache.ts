import { Refusal } from '../errors.ts';
import { Secret } from '../secret.ts';
import { type Log, type Principal, VaultError } from '../types.ts';
import { type Minted, MintedCredential } from './credential.ts';
import { type Dial, poster, sender } from './http.ts';
import type { MintSource, Token } from './minter.ts';

const MISSING_MS = 10_000;
const UNAVAILABLE_MS = 2_000;
/** Between two mints that answers of 401 cause; twice as long after each, as a sandbox may cause such answers. */
const REMINT_MS = 5_000;
/** How long before its end a token is replaced; a short one a fifth of its life before. */
const MARGIN_MS = 60_000;
const TIMEOUT_MS = 10_000;

/** Where the long-lived secrets are: the vaults' cache. */
export interface Vaulted {
  get(name: string): Secret | Promise<Secret>;
  refetch(name: string, rejected: Secret): Promise<Secret>;
}

export interface MintCacheOptions {
  readonly mints: ReadonlyMap<string, MintSource>;
  readonly vaulted: Vaulted;
  readonly dial: Dial;
  readonly now?: () => number;
  readonly log?: Log;
  /** Told of every mint: the minter's type, and whether it gave a token. */
  readonly onMint?: (type: string, done: boolean) => void;
  /** Of one mint, without the vault's time; 10 s. */
  readonly timeoutMs?: number;
}

/** What a session was given: still removed from its responses when nobody else is given it any more. */
interface Held {
  readonly current: Map<string, Minted>;
  readonly replaced: Minted[];
}

/** Tokens that were minted: when they are first needed, one mint at a time for each, never on a client's clock. */
export class MintCache {
  readonly #credentials = new Map<string, MintedCredential>();
  readonly #held = new WeakMap<Principal, Held>();
  readonly #vaulted: Vaulted;
  readonly #dial: Dial;
  readonly #now: () => number;
  readonly #log: Log | undefined;
  readonly #onMint: (type: string, done: boolean) => void;
  readonly #timeoutMs: number;
  #version = 0;

  constructor(options: MintCacheOptions) {
    this.#vaulted = options.vaulted;
    this.#dial = options.dial;
    this.#now = options.now ?? Date.now;
    this.#log = options.log;
    this.#onMint = options.onMint ?? (() => {});
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.reconfigure(options.mints);
  }

  /** Changes whenever `known` may give other values. */
  get version(): number {
    return this.#version;
  }

  /** Names in the vaults' cache of the further secrets that a credential was minted with. */
  sources(name: string): readonly string[] {
    return this.#credentials.get(name)?.further ?? [];
  }

  /** At once while fresh; rejects with credential_unavailable, whose cause is for the operator. */
  get(name: string, who: Principal): Secret | Promise<Secret> {
    let minted: Minted;
    try {
      minted = this.#mintedFor(name, who);
    } catch (thrown) {
      return Promise.reject(this.#refusal(name, thrown));
    }
    const now = this.#now();
    if (minted.current && now < minted.freshUntil) return minted.current;
    if (minted.failure && now < minted.failedUntil)
      return minted.usable(now) ?? Promise.reject(minted.failure);
    minted.remints = 0;
    const next = this.#mint(minted);
    // While there is time nobody waits for the next one.
    return minted.current && now < minted.waitFrom ? minted.current : next;
  }

  /** The value that the session was given last; undefined if there is none. Mints nothing. */
  current(name: string, who: Principal): Secret | undefined {
    return this.#held.get(who)?.current.get(name)?.current;
  }

  /** After an upstream refused a value: a new one; the same object if none can be had yet. */
  async remint(name: string, who: Principal, rejected: Secret): Promise<Secret> {
    const minted = this.#mintedFor(name, who);
    if (!minted.current?.equals(rejected)) return this.get(name, who);
    const now = this.#now();
    if (!minted.inFlight && now < minted.remintAfter) return minted.current;
    if (!minted.inFlight) minted.remintAfter = now + REMINT_MS * 2 ** minted.remints++;
    return this.#mint(minted);
  }

  /**
   * Values to be removed from a session's responses: what it was given and may be given, now and within the last hour,
   * and what issuers put in place of a long-lived secret. Mints nothing.
   */
  known(names: Iterable<string>, who: Principal): readonly Secret[] {
    const now = this.#now();
    const held = this.#held.get(who);
    const all = new Set<Minted>(held?.replaced);
    const secrets: Secret[] = [];
    for (const name of names) {
      const credential = this.#credentials.get(name);
      if (!credential) continue;
      secrets.push(...credential.rotated(now));
      for (const minted of credential.reachable(who)) all.add(minted);
      const own = held?.current.get(name);
      if (own) all.add(own);
    }
    for (const minted of all) secrets.push(...minted.values(now));
    return secrets;
  }

  /** Takes a new configuration; a token stays in use if nothing about its credential changed. */
  reconfigure(mints: ReadonlyMap<string, MintSource>): void {
    const now = this.#now();
    for (const [name, credential] of this.#credentials) {
      if (mints.has(name)) continue;
      credential.assign(undefined, now);
      if (credential.isSpent(now)) this.#credentials.delete(name);
    }
    for (const [name, source] of mints) {
      const credential = this.#credentials.get(name) ?? new MintedCredential();
      this.#credentials.set(name, credential);
      credential.assign(source, now);
    }
    this.#version++;
  }

  #mintedFor(name: string, who: Principal): Minted {
    const credential = this.#credentials.get(name);
    if (!credential?.source) throw new VaultError('missing', `credential "${name}" is not minted`);
    const held: Held = this.#held.get(who) ?? { current: new Map(), replaced: [] };
    const before = held.current.get(name);
    if (before?.source === credential.source) return before;
    const minted = credential.open(credential.source.minter.scope(who));
    this.#held.set(who, held);
    held.current.set(name, minted);
    if (before) held.replaced.push(before);
    // It may hold a token already, which this session could not be given before.
    this.#version++;
    return minted;
  }

  /** The mint that is under way, or a new one. No caller's abort ends it: others may wait for it too. */
  #mint(minted: Minted): Promise<Secret> {
    if (minted.inFlight) return minted.inFlight;
    const { source } = minted;
    const run = this.#inTurn(minted).then(
      token => {
        this.#onMint(source.type, true);
        return this.#accept(minted, token);
      },
      (error: unknown) => {
        this.#onMint(source.type, false);
        return this.#fail(minted, error);
      },
    );
    // Every caller may be gone by the time it fails.
    run.catch(() => {});
    minted.inFlight = run;
    return run;
  }

  /** One after the other where a mint replaces the secret that the next one needs. */
  #inTurn(minted: Minted): Promise<Token> {
    const credential = minted.of;
    if (!minted.source.minter.rotates) return this.#run(minted);
    const turn = credential.lastTurn.then(() => this.#run(minted));
    credential.lastTurn = turn.catch(() => {});
    return turn;
  }

  /** Once more, if the issuer refuses what was read from the vault, and the vault has something else by now. */
  async #run(minted: Minted): Promise<Token> {
    const names = ['', ...minted.source.further.keys()];
    const read = await Promise.all(
      names.map(async option => (isNone(minted, option) ? NONE : this.#vaulted.get(minted.vaulted(option)))),
    );
    try {
      return await this.#ask(minted, names, read);
    } catch (error) {
      if (!(error instanceof VaultError) || error.kind !== 'missing') throw error;
      const again = await Promise.all(
        names.map(async (option, i) =>
          isNone(minted, option) ? NONE : this.#vaulted.refetch(minted.vaulted(option), read[i] as Secret),
        ),
      ).catch(() => read);
      if (again.every((secret, i) => secret.equals(read[i] as Secret))) throw error;
      return this.#ask(minted, names, again);
    }
  }

  async #ask(minted: Minted, names: readonly string[], read: readonly Secret[]): Promise<Token> {
    const { source, scope, of: credential } = minted;
    const [vaulted, ...further] = read as [Secret, ...Secret[]];
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const late = new Promise<never>((_, reject) => {
      const error = new VaultError('unavailable', `no token within ${this.#timeoutMs} ms`);
      signal.addEventListener('abort', () => reject(error), { once: true });
    });
    const now = this.#now();
    const send = sender(this.#dial, signal);
    const token = source.minter.mint(scope, {
      from: credential.materialFor(vaulted),
      further: new Map(further.map((secret, i) => [names[i + 1] as string, secret])),
      ttlMs: source.ttlMs,
      now,
      post: poster(send),
      send,
      rotate: next => {
        credential.rotate(vaulted, next.named(source.name), this.#now());
        this.#version++;
      },
    });
    return Promise.race([late, token]);
  }

  #accept(minted: Minted, { secret, expiresAt }: Token): Secret {
    const now = this.#now();
    const life = expiresAt - now;
    minted.inFlight = undefined;
    minted.failure = undefined;
    minted.accept(secret.named(minted.source.name), now);
    const margin = Math.min(MARGIN_MS, life / 5);
    minted.expiresAt = expiresAt;
    minted.freshUntil = expiresAt - margin;
    minted.waitFrom = expiresAt - margin / 2;
    this.#version++;
    return minted.current as Secret;
  }

  /** A token that has not ended yet serves until it does. */
  #fail(minted: Minted, error: unknown): Secret {
    const refusal = this.#refusal(minted.source.name, error);
    const isFinal = (refusal.cause as VaultError).kind === 'missing';
    const now = this.#now();
    minted.inFlight = undefined;
    minted.failure = refusal;
    minted.failedUntil = now + (isFinal ? MISSING_MS : UNAVAILABLE_MS);
    const usable = minted.usable(now);
    if (usable) return usable;
    throw refusal;
  }

  #refusal(name: string, error: unknown): Refusal {
    const cause = asVaultError(name, error);
    this.#log?.warn('a credential cannot be minted', { credential: name, cause: cause.message });
    return new Refusal('credential_unavailable', { cause });
  }
}

/** In the place of `from` where there is none. */
const NONE = new Secret('', '');

function isNone({ source }: Minted, option: string): boolean {
  return option === '' && !source.isVaulted;
}

/** What a vault or a minter said, or the kind of any other error only: its text may quote a secret. */
function asVaultError(name: string, error: unknown): VaultError {
  const known = error instanceof Refusal ? error.cause : error;
  if (known instanceof VaultError) return known;
  const { name: kind = 'Error', code = '' } = (known ?? {}) as { name?: string; code?: string };
  return new VaultError('unavailable', `credential "${name}": minting failed with ${kind} ${code}`.trimEnd());
}
