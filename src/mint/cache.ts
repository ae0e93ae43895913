import { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import { type Log, type Principal, VaultError } from '../types.ts';
import { type Minted, MintedCredential, scopeOf } from './credential.ts';
import { asVaultError } from './fault.ts';
import type { Dial } from './http.ts';
import type { MintSource, Token } from './minter.ts';
import { Minting } from './minting.ts';
import { Revoker } from './revoke.ts';
import type { Rotations } from './rotations.ts';
import type { Vaulted } from './sources.ts';

const MISSING_MS = 10_000;
const UNAVAILABLE_MS = 2_000;
/** Between two mints that answers of 401 cause; twice as long after each, as a sandbox may cause such answers. */
const REMINT_MS = 5_000;
/** How long before its end a token is replaced; a short one a fifth of its life before. */
const MARGIN_MS = 60_000;

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
  /** Of a fleet; without it what issuers rotate to stays in this process. */
  readonly rotations?: Rotations;
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
  readonly #ended = new WeakSet<Principal>();
  /** Tokens that some live session was given. */
  readonly #inUse = new Set<Minted>();
  readonly #revoker: Revoker;
  readonly #minting: Minting;
  readonly #now: () => number;
  readonly #log: Log | undefined;
  readonly #onMint: (type: string, done: boolean) => void;
  #version = 0;

  constructor(options: MintCacheOptions) {
    this.#now = options.now ?? Date.now;
    this.#log = options.log;
    this.#onMint = options.onMint ?? (() => {});
    const { dial, log, vaulted, timeoutMs, rotations } = options;
    this.#revoker = new Revoker({ dial, log, vaulted: name => vaulted.get(name) });
    const onRotated = (): void => void this.#version++;
    this.#minting = new Minting({ vaulted, dial, now: this.#now, timeoutMs, rotations, onRotated });
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
   * what issuers put in place of a long-lived secret, and a subject token that it does not have itself. Mints nothing.
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
    if (who.subject && !who.subject.isOwn) secrets.push(who.subject.token);
    return secrets;
  }

  /** A session has ended: tokens that only it was given are revoked, in the background. */
  release(who: Principal): void {
    this.#ended.add(who);
    const held = this.#held.get(who);
    if (!held) return;
    this.#held.delete(who);
    for (const minted of [...held.current.values(), ...held.replaced])
      if (--minted.holders === 0) this.#end(minted);
  }

  /** Revokes every token; settles when that is done, within some seconds. Never rejects. */
  async close(): Promise<void> {
    const all = [...this.#inUse];
    for (const minted of all) this.#end(minted);
    await Promise.allSettled(all.map(async ({ inFlight }) => inFlight));
    await this.#revoker.idle();
  }

  /** After the mint that is under way, unless somebody was given it meanwhile. */
  #end(minted: Minted): void {
    this.#inUse.delete(minted);
    const revoke = (): void => {
      if (this.#inUse.has(minted)) return;
      this.#revoker.revoke(minted, this.#now());
      this.#version++;
    };
    if (minted.inFlight) minted.inFlight.then(revoke, revoke);
    else revoke();
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
    if (this.#ended.has(who)) throw new VaultError('missing', 'the session has ended');
    const held: Held = this.#held.get(who) ?? { current: new Map(), replaced: [] };
    const before = held.current.get(name);
    if (before?.source === credential.source) return before;
    const minted = credential.open(scopeOf(credential.source, who));
    if (credential.source.minter.usesSubject) minted.who = who;
    this.#held.set(who, held);
    held.current.set(name, minted);
    minted.holders++;
    this.#inUse.add(minted);
    if (before) held.replaced.push(before);
    // It may hold a token already, which this session could not be given before.
    this.#version++;
    return minted;
  }

  /** The mint that is under way, or a new one. No caller's abort ends it: others may wait for it too. */
  #mint(minted: Minted): Promise<Secret> {
    if (minted.inFlight) return minted.inFlight;
    const { source } = minted;
    const run = this.#minting.run(minted).then(
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
    // What is wrong with the session itself its sandbox is told.
    const isTold = error instanceof Refusal && error.code === 'credential_unavailable';
    const { message, hint } = isTold ? error : new Refusal('credential_unavailable');
    return new Refusal('credential_unavailable', { message, hint, cause });
  }
}
