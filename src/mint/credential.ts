import type { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import type { Principal } from '../types.ts';
import type { MintSource } from './minter.ts';

/** How long a replaced value is still removed from responses. */
const PREVIOUS_MS = 3_600_000;
/** Replaced values that have ended, or work no longer, and are still looked for: a sandbox may cause many. */
const MAX_ENDED = 16;
/** Tokens of one credential that a new session may be given; what others hold stays with them. */
const MAX_SCOPES = 1000;

/** A value that is no longer handed out. Times: ms since the epoch. */
interface Replaced {
  readonly secret: Secret;
  readonly endsAt: number;
  readonly until: number;
}

/** One token of a credential, those that it replaced, and what is known about minting it. Times: ms since the epoch. */
export class Minted {
  readonly of: MintedCredential;
  readonly source: MintSource;
  readonly scope: string;
  current: Secret | undefined;
  freshUntil = 0;
  /** From here on a request waits for the next one. */
  waitFrom = 0;
  expiresAt = 0;
  failure: Refusal | undefined;
  failedUntil = 0;
  remintAfter = 0;
  /** Caused by answers of 401 since the last one that was due. */
  remints = 0;
  inFlight: Promise<Secret> | undefined;
  /** Sessions that were given it, and live. */
  holders = 0;
  /** The one session that it is for; undefined if it is for any. */
  who: Principal | undefined;
  #previous: Replaced[] = [];

  constructor(of: MintedCredential, source: MintSource, scope: string) {
    this.of = of;
    this.source = source;
    this.scope = scope;
  }

  /** The current value unless it has ended. */
  usable(now: number): Secret | undefined {
    return now < this.expiresAt ? this.current : undefined;
  }

  accept(secret: Secret, now: number): void {
    const before = this.current;
    this.current = secret;
    if (!before || before.equals(secret)) return;
    this.#previous.push(replaced(before, this.expiresAt, now));
    this.#previous = worthFinding(this.#previous, now);
  }

  /** Nobody is given it any more: the values that have not ended, which are only looked for from now on. */
  release(now: number): Secret[] {
    const { current } = this;
    if (current) this.#previous.push(replaced(current, this.expiresAt, now));
    this.current = this.who = undefined;
    this.freshUntil = this.waitFrom = this.expiresAt = 0;
    const alive = this.#previous.filter(({ endsAt }) => now < endsAt);
    this.#previous = this.#previous.map(one => ({ ...one, endsAt: Math.min(one.endsAt, now) }));
    return alive.map(({ secret }) => secret);
  }

  /** Every value that a response may still hold. */
  values(now: number): Secret[] {
    const previous = this.#previous.filter(({ until }) => now < until).map(({ secret }) => secret);
    return this.current ? [this.current, ...previous] : previous;
  }

  /** Nothing of it is worth finding: nobody is given it, and what was given ended an hour ago. */
  isSpent(now: number): boolean {
    const isEnded = this.current === undefined || this.expiresAt + PREVIOUS_MS <= now;
    return isEnded && !this.inFlight && this.#previous.every(({ until }) => until <= now);
  }

  /** The name of a secret in the vaults' cache, by the option that holds it; the empty text is `from`. */
  vaulted(option: string): string {
    return this.source.further.get(option) ?? this.source.name;
  }
}

/** The tokens of one credential, by what of a session their requests depend on. */
export class MintedCredential {
  /** Undefined once the configuration no longer has it: its values are only removed from responses. */
  source: MintSource | undefined;
  /** Names in the vaults' cache, of earlier configurations too. */
  further: readonly string[] = [];
  /** Ends when no mint that must not overlap is under way. Never rejects. */
  lastTurn: Promise<unknown> = Promise.resolve();
  /** The one that a new session was given the longest ago stands first. */
  #byScope = new Map<string, Minted>();
  /** Of earlier configurations. */
  #outdated: { readonly source: MintSource; readonly byScope: Map<string, Minted> }[] = [];
  /** What the issuer put in place of the vault's secret. */
  #rotation: { readonly vaulted: Secret; readonly next: Secret } | undefined;
  #rotatedBefore: Replaced[] = [];

  assign(source: MintSource | undefined, now: number): void {
    for (const { byScope } of this.#outdated)
      for (const [scope, minted] of byScope) if (minted.isSpent(now)) byScope.delete(scope);
    this.#outdated = this.#outdated.filter(({ byScope }) => byScope.size > 0);
    for (const minted of this.#byScope.values()) minted.failure = undefined;
    if (this.source && source && this.source.id === source.id) return;
    if (this.source) this.#outdated.push({ source: this.source, byScope: this.#byScope });
    this.#byScope = new Map();
    this.source = source;
    if (source) this.further = [...new Set([...this.further, ...source.further.values()])];
  }

  /** The token of a scope, minted or not. */
  open(scope: string): Minted {
    const found = this.#byScope.get(scope) ?? new Minted(this, this.source as MintSource, scope);
    this.#byScope.delete(scope);
    this.#byScope.set(scope, found);
    const [oldest] = this.#byScope.keys();
    if (this.#byScope.size > MAX_SCOPES) this.#byScope.delete(oldest as string);
    return found;
  }

  /** The tokens that a session may be given, or was given by an earlier configuration. Opens none. */
  reachable(who: Principal): Minted[] {
    const present = this.source ? [{ source: this.source, byScope: this.#byScope }] : [];
    return [...present, ...this.#outdated].flatMap(({ source, byScope }) => {
      const scope = triedScope(source, who);
      const minted = scope === undefined ? undefined : byScope.get(scope);
      return minted ? [minted] : [];
    });
  }

  isSpent(now: number): boolean {
    return this.#outdated.length === 0 && this.rotated(now).length === 0;
  }

  /** What a mint needs: the vault's secret, unless the issuer has replaced that very one. */
  materialFor(vaulted: Secret): Secret {
    return this.#rotation?.vaulted.equals(vaulted) ? this.#rotation.next : vaulted;
  }

  rotate(vaulted: Secret, next: Secret, now: number): void {
    const before = this.#rotation?.next;
    // It may be used once only.
    if (before && !before.equals(next)) this.#rotatedBefore.push(replaced(before, now, now));
    this.#rotatedBefore = worthFinding(this.#rotatedBefore, now);
    this.#rotation = { vaulted, next };
  }

  /** Long-lived secrets that the issuer gave. */
  rotated(now: number): Secret[] {
    const before = this.#rotatedBefore.filter(({ until }) => now < until).map(({ secret }) => secret);
    return this.#rotation ? [this.#rotation.next, ...before] : before;
  }
}

function replaced(secret: Secret, endsAt: number, now: number): Replaced {
  return { secret, endsAt, until: Math.max(endsAt, now + PREVIOUS_MS) };
}

/** Every value that still works, and the newest of the others. */
function worthFinding(values: readonly Replaced[], now: number): Replaced[] {
  const kept = values.filter(({ until }) => now < until);
  let surplus = kept.filter(({ endsAt }) => endsAt <= now).length - MAX_ENDED;
  return kept.filter(({ endsAt }) => endsAt > now || surplus-- <= 0);
}

/** Equal texts share a token; what comes of a session's own token is shared with no other one. Throws VaultError. */
export function scopeOf({ minter }: MintSource, who: Principal): string {
  const scope = minter.scope(who);
  return minter.usesSubject ? `${who.session} ${scope}` : scope;
}

function triedScope(source: MintSource, who: Principal): string | undefined {
  try {
    return scopeOf(source, who);
  } catch {
    return undefined;
  }
}
