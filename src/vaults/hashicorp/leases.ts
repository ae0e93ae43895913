import { VaultError, type VaultWatcher } from '../../types.ts';
import { atMost, until } from '../at-most.ts';
import type { JsonAnswer } from '../http.ts';

/** Of a read, a renewal or a revocation: less than what one read gets, so that its own fault is told. */
const TIMEOUT_MS = 8_000;
/** Part of a lease after which it is renewed, and part after which it is not used any more. */
const RENEW_AT = 2 / 3;
const USE_UNTIL = 9 / 10;
/** Less is no time won: at its longest life a lease gets no more. */
const LEAST_GAIN_MS = 500;
/** Between two tries to renew or replace a lease. */
const LEAST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 24 * 3_600_000;
const LEASE_ID = /^[\x21-\x7e]{1,1024}$/;

/** What an engine made. */
export interface Made {
  readonly fields: unknown;
  /** Of its lease; undefined if it has none. */
  readonly version: string | undefined;
}

/** Times: ms of `performance.now()`. */
interface Lease extends Made {
  readonly id: string;
  readonly version: string;
  /** Of the login that it was made with, and ends with. */
  readonly token: string;
  readonly renewable: boolean;
  usableUntil: number;
  expiresAt: number;
}

/** What is known of one path. */
interface Held {
  current: Lease | undefined;
  /** Replaced, and not ended yet: a request under way may use it. */
  older: readonly Lease[];
  inFlight: Promise<Made> | undefined;
  timer: NodeJS.Timeout | undefined;
  /** How often it was asked for. */
  reads: number;
}

/** One request to Vault, with the token that it was made with. Rejects with VaultError. */
export type Call = (
  request: { readonly method: 'GET' | 'POST'; readonly path: string; readonly body?: unknown },
  signal: AbortSignal,
) => Promise<{ readonly answer: JsonAnswer; readonly token: string }>;

/**
 * Leases by path: all refs of one path are fields of one lease. It is renewed until that gives no more time, then
 * replaced, both before its end; given up when an upstream refuses it; revoked when nobody may use it any more.
 */
export class Leases {
  watcher: VaultWatcher | undefined;
  readonly #call: Call;
  readonly #held = new Map<string, Held>();
  #isClosed = false;

  constructor(call: Call) {
    this.#call = call;
  }

  /** Whether some lease lives. */
  get any(): boolean {
    return [...this.#held.values()].some(({ current }) => current !== undefined);
  }

  /** `refused`: version of a lease that an upstream refused: it is replaced, but no later one is. Rejects with VaultError. */
  read(path: string, refused: string | undefined): Promise<Made> {
    const held = this.#open(path);
    held.reads++;
    const { current } = held;
    if (current && current.version !== refused && performance.now() < current.usableUntil)
      return Promise.resolve(current);
    return this.#replace(path, held, refused);
  }

  /** Nobody may use it any more, unless somebody asks meanwhile. Rejects with VaultError if it could not be revoked. */
  async release(path: string, signal: AbortSignal): Promise<void> {
    const held = this.#held.get(path);
    if (!held) return;
    const { reads } = held;
    if (held.inFlight) await until(signal, held.inFlight);
    if (held.reads !== reads || this.#held.get(path) !== held) return;
    await this.#revoke(this.#drop(path, held), signal);
  }

  /** A login is over, and with it the leases that were made with it. */
  lost(token: string): void {
    for (const [path, held] of this.#held) {
      held.older = held.older.filter(lease => lease.token !== token);
      if (held.current?.token !== token) continue;
      held.current = undefined;
      clearTimeout(held.timer);
      this.watcher?.changed(path);
    }
  }

  /** Revokes every lease, and takes none any more. Rejects with VaultError. */
  async close(signal: AbortSignal): Promise<void> {
    this.#isClosed = true;
    await until(signal, Promise.allSettled([...this.#held.values()].map(async held => held.inFlight)));
    await this.#revoke(
      [...this.#held].flatMap(([path, held]) => this.#drop(path, held)),
      signal,
    );
  }

  #open(path: string): Held {
    let held = this.#held.get(path);
    if (!held) {
      held = { current: undefined, older: [], inFlight: undefined, timer: undefined, reads: 0 };
      this.#held.set(path, held);
    }
    return held;
  }

  /** The leases that may live still; nothing is given out any more. */
  #drop(path: string, held: Held): readonly Lease[] {
    clearTimeout(held.timer);
    this.#held.delete(path);
    this.watcher?.changed(path);
    const { current, older } = held;
    return current ? [...older, current] : older;
  }

  /** The read that is under way, or a new one. The present lease stays in use until there is another one. */
  #replace(path: string, held: Held, refused?: string): Promise<Made> {
    if (this.#isClosed) return Promise.reject(new VaultError('unavailable', 'the gate is closing'));
    held.inFlight ??= this.#make(path, held, refused).finally(() => {
      held.inFlight = undefined;
    });
    return held.inFlight;
  }

  async #make(path: string, held: Held, refused: string | undefined): Promise<Made> {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const { answer, token } = await this.#call({ method: 'GET', path: `/v1/${encodedPath(path)}` }, signal);
    if (answer.status !== 200) throw refusedBy(path, answer.status);
    const { lease_id: id, lease_duration, renewable, data: fields } = asObject(answer.body);
    if (typeof id !== 'string' || !LEASE_ID.test(id)) return { fields, version: undefined };
    const before = held.current;
    const ms = durationMs(lease_duration);
    const version = `lease ${id.slice(id.lastIndexOf('/') + 1).slice(0, 64)}`;
    const lease = { id, version, token, fields, renewable: renewable === true, ...timesOf(ms) };
    held.current = lease;
    held.older = held.older.filter(({ expiresAt }) => expiresAt > performance.now());
    if (before) {
      held.older = [...held.older, before];
      this.watcher?.changed(path);
    }
    this.#schedule(path, held, lease, ms * RENEW_AT);
    if (before && before.version === refused) void this.#giveUp(held, before);
    return lease;
  }

  /** At once, so that a sandbox whose requests are refused cannot make leases pile up. */
  async #giveUp(held: Held, lease: Lease): Promise<void> {
    try {
      await this.#revoke([lease], AbortSignal.timeout(TIMEOUT_MS));
      held.older = held.older.filter(other => other !== lease);
    } catch (error) {
      this.watcher?.warn(error as VaultError);
    }
  }

  #schedule(path: string, held: Held, lease: Lease, ms: number): void {
    clearTimeout(held.timer);
    if (ms === Number.POSITIVE_INFINITY || this.#isClosed) return;
    held.timer = setTimeout(() => void this.#tend(path, held, lease), Math.min(Math.max(ms, 0), MAX_WAIT_MS));
    held.timer.unref();
  }

  /** Never throws: what cannot be renewed or replaced in time is no longer given out. */
  async #tend(path: string, held: Held, lease: Lease): Promise<void> {
    const isHeld = (): boolean => held.current === lease && this.#held.get(path) === held;
    if (!isHeld()) return;
    const left = lease.usableUntil - performance.now();
    if (left <= 0) {
      held.current = undefined;
      held.older = [...held.older, lease];
      this.watcher?.changed(path);
      return;
    }
    const gained = lease.renewable ? await this.#renew(lease, left) : 0;
    if (gained === 0 && isHeld()) await atMost(left, this.#tryReplace(path, held));
    if (!isHeld()) return;
    const rest = lease.usableUntil - performance.now();
    const wait = gained ? gained * RENEW_AT : Math.min(rest, Math.max(rest / 2, LEAST_WAIT_MS));
    this.#schedule(path, held, lease, wait);
  }

  async #tryReplace(path: string, held: Held): Promise<void> {
    await this.#replace(path, held).catch((error: Error) =>
      this.watcher?.warn(new VaultError('unavailable', `${path}: ${error.message}`)),
    );
  }

  /** ms that it has from now on; 0 if it gets no more, undefined if Vault cannot tell now. */
  async #renew(lease: Lease, left: number): Promise<number | undefined> {
    const request = { method: 'POST', path: '/v1/sys/leases/renew', body: { lease_id: lease.id } } as const;
    const signal = AbortSignal.timeout(Math.min(TIMEOUT_MS, Math.ceil(left)));
    const called = await this.#call(request, signal).catch(() => undefined);
    const status = called?.answer.status ?? 503;
    if (status !== 200) return status >= 500 || status === 429 ? undefined : 0;
    const ms = durationMs(asObject(called?.answer.body)['lease_duration']);
    const times = timesOf(ms);
    if (times.expiresAt < lease.expiresAt + LEAST_GAIN_MS) return 0;
    Object.assign(lease, times);
    return ms;
  }

  async #revoke(leases: readonly Lease[], signal: AbortSignal): Promise<void> {
    const alive = leases.filter(({ expiresAt }) => performance.now() < expiresAt);
    const revoked = await Promise.allSettled(
      alive.map(async ({ id }) => {
        const request = { method: 'POST', path: '/v1/sys/leases/revoke', body: { lease_id: id } } as const;
        const { status } = (await this.#call(request, signal)).answer;
        // 400, 404: Vault does not know it any more.
        if (status >= 300 && status !== 404 && status !== 400) throw notRevoked(status);
      }),
    );
    for (const one of revoked) if (one.status === 'rejected') throw one.reason;
  }
}

const encodedPath = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

function durationMs(seconds: unknown): number {
  return typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : Number.POSITIVE_INFINITY;
}

function timesOf(ms: number): { usableUntil: number; expiresAt: number } {
  const now = performance.now();
  return { usableUntil: now + ms * USE_UNTIL, expiresAt: now + ms };
}

function notRevoked(status: number): VaultError {
  const advice = status === 403 ? "; let the gate's policy update sys/leases/revoke" : '';
  return new VaultError(
    'unavailable',
    `Vault did not revoke a lease (${status})${advice}; it ends by itself, or with the gate's login`,
  );
}

function refusedBy(path: string, status: number): VaultError {
  switch (status) {
    case 400:
    case 404:
      return new VaultError('missing', `Vault has no such role (${status}); check the path and "dynamic"`);
    case 403:
      return new VaultError('missing', `Vault denies it (403); let the gate's policy read ${path}`);
    case 405:
      return new VaultError('missing', 'that engine makes nothing when it is read (405); check the path');
    case 429:
      return new VaultError('unavailable', 'Vault is asked too often (429); raise its quota, or the ttl');
    case 503:
      return new VaultError('unavailable', 'Vault is sealed or in maintenance (503); unseal it');
    default:
      return new VaultError(
        'unavailable',
        `Vault answered ${status}; check the engine's connection and Vault's own log`,
      );
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
