import { randomBytes } from 'node:crypto';
import type { Session } from '../types.ts';
import { type Budget, type CredentialLimits, type Kind, KINDS, type ProfileLimits } from './budget.ts';
import { type Bucket, LocalBucket } from './bucket.ts';
import { type LimitName, Refused } from './refused.ts';
import { type Permits, SharedBucket } from './shared.ts';

/** The limits of a configuration. */
export interface LimitsOptions {
  readonly profiles: ReadonlyMap<string, ProfileLimits>;
  readonly credentials: ReadonlyMap<string, CredentialLimits>;
}

/** Takes bytes as they pass; nothing to wait for gives undefined. Throws, or rejects with, a Refusal. */
export type Meter = (bytes: number) => Promise<void> | undefined;

/** Open until it is called. */
export type Slot = () => void;

interface Charge {
  readonly bucket: Bucket;
  readonly permits: number;
  readonly name: LimitName;
}

/** What one session, one profile or one credential has taken of its budgets. */
type Account = Partial<Record<Kind, Named>>;

interface Named {
  readonly bucket: Bucket;
  readonly name: LimitName;
}

/** An account, and the limits that it was made for. */
interface Opened {
  readonly limits: CredentialLimits;
  readonly account: Account;
}

/** How long a shared budget that never fills again is remembered behind a session's end, ms. */
const REMEMBER_MS = 3_600_000;
const SWEEP_MS = 500;

/**
 * What sessions may use up, counted exactly. One bucket for each session that is served, profile and credential: as many
 * as there are, none is forgotten before its session is.
 */
export class Limiter {
  readonly #refused: Refused;
  readonly #permits: Permits | undefined;
  #options: LimitsOptions = { profiles: new Map(), credentials: new Map() };
  readonly #ofSession = new WeakMap<Session, Opened>();
  readonly #accounts = {
    profile: new Map<string, Opened>(),
    credential: new Map<string, Opened>(),
  };
  /** Open tunnels by session, or by the name of a profile that its sessions share. */
  readonly #tunnels = new Map<string, number>();
  /** Those that hold permits ahead. */
  readonly #shared = new Set<SharedBucket>();
  readonly #sweeper: NodeJS.Timeout | undefined;

  /** `permits`: where gates share budgets. */
  constructor(refused: Refused, permits: Permits | undefined) {
    this.#refused = refused;
    this.#permits = permits;
    if (permits) this.#sweeper = setInterval(() => void this.#release(false), SWEEP_MS).unref();
  }

  /** Takes the limits of another configuration. What was taken stays taken. Undefined if there are none. */
  reconfigure(options: LimitsOptions): this | undefined {
    this.#options = options;
    return options.profiles.size + options.credentials.size > 0 ? this : undefined;
  }

  /** Gives back what was taken ahead. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    await this.#release(true);
  }

  /** A request has come, whatever becomes of it. Throws, or rejects with, `rate_limited`. */
  arrive(session: Session): Promise<void> | undefined {
    const { rate } = this.#accountOf(session);
    return rate && this.#charge([chargeOf(rate, 1)], session);
  }

  /**
   * An allowed request is about to be sent with those credentials, and so many bytes of it that are here; `expected`
   * more are told to follow. Throws, or rejects with, `rate_limited`; then nothing is taken.
   */
  begin(
    session: Session,
    credentials: readonly string[],
    bytes: number,
    expected = 0,
  ): Promise<void> | undefined {
    const charges: Charge[] = [];
    const own = this.#accountOf(session);
    if (own.requests) charges.push(chargeOf(own.requests, 1));
    if (own.bytes) charges.push(chargeOf(own.bytes, bytes));
    for (const { rate, requests, bytes: sent } of this.#accountsOf(credentials)) {
      if (rate) charges.push(chargeOf(rate, 1));
      if (requests) charges.push(chargeOf(requests, 1));
      if (sent) charges.push(chargeOf(sent, bytes));
    }
    if (charges.length === 0) return undefined;
    for (const { bucket, name } of expected > 0 ? charges : []) {
      const wait = name.kind === 'bytes_out' ? bucket.lacks(bytes + expected) : 0;
      if (wait > 0) throw this.#refused.refusal(name, session, wait);
    }
    return this.#charge(charges, session);
  }

  /** Of the bytes that follow. Undefined: nobody counts them. */
  meter(session: Session, credentials: readonly string[]): Meter | undefined {
    const accounts = [this.#accountOf(session), ...this.#accountsOf(credentials)];
    const counted = accounts.flatMap(({ bytes }) => bytes ?? []);
    if (counted.length === 0) return undefined;
    return permits =>
      this.#charge(
        counted.map(one => chargeOf(one, permits)),
        session,
      );
  }

  /** A tunnel is about to be opened. Undefined: nobody counts them. Throws, or rejects with, `rate_limited`. */
  tunnel(session: Session): Slot | Promise<Slot> | undefined {
    const limits = this.#options.profiles.get(session.profile);
    if (limits?.tunnels === undefined) return undefined;
    const { per, tunnels } = limits;
    const name = nameOf(per, 'tunnels', session.profile);
    const key = keyOf(per, session);
    const permits = this.#permits;
    const open = this.#tunnels.get(key) ?? 0;
    if (open >= tunnels) throw this.#refused.refusal(name, session, 1000);
    this.#tunnels.set(key, open + 1);
    let isFreed = false;
    const id = permits && randomBytes(9).toString('base64url');
    const free = (): void => {
      if (isFreed) return;
      isFreed = true;
      const left = (this.#tunnels.get(key) ?? 1) - 1;
      if (left > 0) this.#tunnels.set(key, left);
      else this.#tunnels.delete(key);
      if (id !== undefined) permits?.free(key, id);
    };
    if (!permits || id === undefined) return free;
    return permits.hold(key, tunnels, id).then(
      isHeld => {
        if (isHeld) return free;
        free();
        throw this.#refused.refusal(name, session, 1000);
      },
      (cause: unknown) => {
        // Nobody answers: this gate's share.
        if (open < Math.max(1, Math.floor(tunnels / permits.gates))) return free;
        free();
        throw cause;
      },
    );
  }

  /** All of them, or none. */
  #charge(charges: readonly Charge[], session: Session): Promise<void> | undefined {
    for (const [i, { bucket, permits, name }] of charges.entries()) {
      const wait = bucket.take(permits);
      if (wait instanceof Promise) return this.#chargeLater(charges, i, wait, session);
      if (wait > 0) {
        giveBack(charges.slice(0, i));
        throw this.#refused.refusal(name, session, wait);
      }
    }
    return undefined;
  }

  async #chargeLater(
    charges: readonly Charge[],
    from: number,
    first: Promise<number>,
    session: Session,
  ): Promise<void> {
    let taking: number | Promise<number> = first;
    for (let i = from; ; ) {
      const { name } = charges[i] as Charge;
      try {
        const wait = await taking;
        if (wait > 0) throw this.#refused.refusal(name, session, wait);
      } catch (thrown) {
        giveBack(charges.slice(0, i));
        throw thrown;
      }
      const next = charges[++i];
      if (!next) return;
      taking = next.bucket.take(next.permits);
    }
  }

  #accountOf(session: Session): Account {
    const limits = this.#options.profiles.get(session.profile);
    if (!limits) return NOTHING;
    if (limits.per === 'profile') return this.#account('profile', session.profile, limits);
    const known = this.#ofSession.get(session);
    if (known?.limits === limits) return known.account;
    const lifeMs = Math.max(0, session.expiresAt - Date.now()) + REMEMBER_MS;
    const account = this.#make('session', session, limits, lifeMs, known?.account);
    this.#ofSession.set(session, { limits, account });
    return account;
  }

  #accountsOf(credentials: readonly string[]): readonly Account[] {
    const accounts: Account[] = [];
    if (this.#options.credentials.size === 0) return accounts;
    for (const [i, name] of credentials.entries()) {
      const limits = this.#options.credentials.get(name);
      // One that stands in two places is used once.
      if (limits && credentials.indexOf(name) === i) accounts.push(this.#account('credential', name, limits));
    }
    return accounts;
  }

  #account(scope: 'profile' | 'credential', name: string, limits: CredentialLimits): Account {
    const accounts = this.#accounts[scope];
    const known = accounts.get(name);
    if (known?.limits === limits) return known.account;
    const account = this.#make(scope, { session: name, profile: name }, limits, REMEMBER_MS, known?.account);
    accounts.set(name, { limits, account });
    return account;
  }

  /** With what was taken of the same budgets before a reload. */
  #make(
    scope: LimitName['scope'],
    { session: id, profile }: Pick<Session, 'session' | 'profile'>,
    limits: CredentialLimits,
    lifeMs: number,
    before: Account = NOTHING,
  ): Account {
    const account: Account = {};
    for (const kind of Object.keys(KINDS) as Kind[]) {
      const budget = limits[kind];
      const known = before[kind];
      if (known && budget) known.bucket.budget = budget;
      if (budget)
        account[kind] = known ?? {
          bucket: this.#bucket(`${scope} ${id} ${kind}`, budget, lifeMs),
          name: nameOf(scope, KINDS[kind], profile),
        };
    }
    return account;
  }

  #bucket(name: string, budget: Budget, lifeMs: number): Bucket {
    if (!this.#permits) return new LocalBucket(budget);
    return new SharedBucket(name, budget, this.#permits, lifeMs, this.#shared);
  }

  async #release(all: boolean): Promise<void> {
    await Promise.all([...this.#shared].map(bucket => bucket.release(all)));
  }
}

const NOTHING: Account = Object.freeze({});

function keyOf(per: 'session' | 'profile', session: Session): string {
  return per === 'session' ? `session ${session.session}` : `profile ${session.profile}`;
}

function nameOf(scope: LimitName['scope'], kind: LimitName['kind'], name: string): LimitName {
  return { scope, kind, name };
}

function chargeOf({ bucket, name }: Named, permits: number): Charge {
  return { bucket, permits, name };
}

function giveBack(charges: readonly Charge[]): void {
  for (const { bucket, permits } of charges) bucket.giveBack(permits);
}
