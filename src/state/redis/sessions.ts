import { hash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { LRUCache } from 'lru-cache';
import type { Log, Session } from '../../types.ts';
import { MAX_SESSIONS, MemorySessions, tooMany } from '../memory.ts';
import type { Seal } from '../seal.ts';
import { type NewSession, newSession, openedSession, SessionError, type SessionOptions } from '../session.ts';
import type { Sessions } from '../sessions.ts';
import { type Link, unavailable } from './link.ts';
import { openSession } from './record.ts';
import { BATCH, MAX_REVOKED, type Pulse, SessionTable } from './table.ts';

/** Tokens that Redis does not know, though a gate made them: how many are remembered, and for how long. */
const MAX_ABSENT = 10_000;
const ABSENT_MS = 5000;
/** All that is known is compared with Redis at least so often, whatever happened. */
const CHECK_MS = 30_000;

export interface RedisSessionsOptions {
  readonly link: Link;
  readonly seal: Seal;
  readonly graceMs: number;
  readonly log: Log;
}

/**
 * The sessions of all gates that share a Redis. Those that were created, or seen, here are served from memory; a beat
 * (`beat`, twice a second) proves that what is in memory is true, and takes in what was missed.
 */
export class RedisSessions implements Sessions {
  readonly #known = new MemorySessions();
  readonly #table: SessionTable;
  readonly #link: Link;
  readonly #seal: Seal;
  readonly #graceMs: number;
  readonly #log: Log;
  readonly #absent = new LRUCache<string, true>({ max: MAX_ABSENT, ttl: ABSENT_MS });
  readonly #lookUps = new Map<string, Promise<Session | undefined>>();
  /** id → ms since the epoch; of sessions that may be on their way here. */
  readonly #revoked = new LRUCache<string, number>({ max: MAX_REVOKED });
  /** Token hash → id: ended here, and not yet in Redis. */
  readonly #untold = new Map<string, string>();
  /** Session → since when it is not in Redis; performance.now(). */
  readonly #missing = new Map<Session, number>();
  /** Ended because Redis has lost them: nobody has revoked them. */
  readonly #lost = new WeakSet<Session>();
  #last: Pulse | undefined;
  #provenAt = Number.NEGATIVE_INFINITY;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #mustCheck = false;

  constructor({ link, seal, graceMs, log }: RedisSessionsOptions) {
    this.#link = link;
    this.#seal = seal;
    this.#table = new SessionTable(link, seal);
    this.#graceMs = graceMs;
    this.#log = log;
  }

  /** Tells of revocations (`heard`). */
  get channel(): string {
    return this.#table.channel;
  }

  get live(): number {
    return this.#known.live;
  }

  get healthy(): boolean {
    return this.#link.up;
  }

  get suspended(): boolean {
    return performance.now() - this.#provenAt > this.#graceMs;
  }

  async create(options: SessionOptions): Promise<NewSession> {
    const now = Date.now();
    const created = newSession(options, now, this.#seal.newToken());
    if ((await this.#table.create(created.session, now)) !== 'made') throw tooMany(MAX_SESSIONS);
    this.#take(created.session);
    return created;
  }

  async open(tokenHash: string, options: SessionOptions): Promise<Session> {
    const known = this.#known.byToken(tokenHash);
    if (known) return known;
    const now = Date.now();
    const session = openedSession(tokenHash, options, now);
    const outcome = await this.#table.create(session, now);
    if (outcome === 'full') throw tooMany(MAX_SESSIONS);
    if (outcome === 'made') return this.#take(session);
    // Another gate was first.
    const [there] = await this.#read([tokenHash]);
    if (!there) throw unavailable('the session of a credential cannot be read');
    return this.#take(there);
  }

  known(): readonly Session[] {
    return this.#known.list();
  }

  byToken(tokenHash: string): Session | undefined {
    return this.#known.byToken(tokenHash);
  }

  lookUp(token: string): Promise<Session | undefined> | undefined {
    if (!this.#seal.proves(token)) return undefined;
    const tokenHash = hash('sha256', token);
    if (this.#absent.has(tokenHash)) return undefined;
    let underway = this.#lookUps.get(tokenHash);
    if (!underway) {
      underway = this.#find(tokenHash).finally(() => this.#lookUps.delete(tokenHash));
      this.#lookUps.set(tokenHash, underway);
    }
    return underway;
  }

  async get(id: string): Promise<Session | undefined> {
    const tokenHash = this.#known.get(id)?.tokenHash ?? (await this.#table.hashOf(id));
    return tokenHash === undefined ? undefined : (await this.#read([tokenHash]))[0];
  }

  async list(): Promise<readonly Session[]> {
    const hashes = await this.#table.hashes(Date.now());
    const found: Session[] = [];
    // Opened as they come: all of them at once would stop everything else for a second.
    for (let i = 0; i < hashes.length; i += BATCH)
      found.push(...(await this.#read(hashes.slice(i, i + BATCH))));
    return found;
  }

  async revoke(id: string): Promise<boolean> {
    const known = this.#known.get(id);
    // Here at once, whether or not the others can be told.
    if (this.#known.revoke(id) && known) this.#untold.set(known.tokenHash, id);
    const tokenHash = known?.tokenHash ?? (await this.#table.hashOf(id));
    if (tokenHash === undefined) return false;
    return this.#tell(tokenHash, id, known?.revokedAt ?? Date.now());
  }

  onEnd(listener: (session: Session) => void): () => void {
    return this.#known.onEnd(listener);
  }

  sweep(now: number): void {
    this.#known.sweep(now);
  }

  /** Another gate has revoked a session. */
  heard(id: string): void {
    const now = Date.now();
    this.#revoked.set(id, now);
    this.#known.revoke(id, now);
  }

  /** Redis may be another one from now on. */
  reconnected(): void {
    this.#mustCheck = true;
  }

  /**
   * Proves that what is in memory is true. True if Redis may hold other data than before: some was lost, it failed over,
   * or was away. Throws Refusal `state_unavailable` if nothing can be proved.
   */
  async beat(): Promise<boolean> {
    const startedAt = performance.now();
    const last = this.#last;
    const pulse = await this.#table.pulse(last?.epoch ?? 0);
    for (const id of pulse.revoked) this.heard(id);
    const isOther = last !== undefined && (last.run !== pulse.run || pulse.epoch < last.epoch);
    const hasGap = last !== undefined && pulse.revoked.length < pulse.epoch - last.epoch;
    if (isOther)
      this.#log.warn('Redis holds other data than before: sessions that it lost end after the grace');
    this.#mustCheck ||= isOther || hasGap || startedAt - this.#checkedAt > CHECK_MS;
    const isAnew = this.#mustCheck;
    if (isAnew) await this.#checkAll(startedAt);
    else await this.#checkMissing(startedAt);
    for (const [tokenHash, id] of this.#untold) {
      await this.#putBack(tokenHash);
      await this.#tell(tokenHash, id, Date.now());
    }
    this.#last = pulse;
    this.#provenAt = startedAt;
    return isAnew;
  }

  async #checkAll(now: number): Promise<void> {
    this.#mustCheck = false;
    try {
      await this.#check(this.#known.list(), now);
    } catch (error) {
      this.#mustCheck = true;
      throw error;
    }
    this.#checkedAt = now;
  }

  /** Those whose grace is over are asked for once more. */
  async #checkMissing(now: number): Promise<void> {
    const due = [...this.#missing].filter(([, since]) => now - since >= this.#graceMs);
    await this.#check(
      due.map(([session]) => session),
      now,
    );
  }

  /** Compares sessions with what Redis says of them. */
  async #check(sessions: readonly Session[], now: number): Promise<void> {
    const hashes = sessions.map(({ tokenHash }) => tokenHash);
    const fields = await this.#table.fields(hashes, ['id', 'revoked'], true);
    for (const [i, session] of sessions.entries()) {
      const [id = null, revoked = null] = fields[i] ?? [];
      if (id === null) this.#miss(session, now);
      else this.#agree(session, id, revoked);
    }
  }

  #agree(session: Session, id: string, revoked: string | null): void {
    this.#missing.delete(session);
    if (revoked !== null) this.#known.revoke(session.session, Number(revoked) || Date.now());
    // Another one, which the credential of a lost one has opened since.
    else if (id !== session.session && this.#lost.has(session)) return;
    // A revocation that Redis has forgotten, in a failover perhaps.
    else if (session.revokedAt !== undefined) this.#untold.set(session.tokenHash, session.session);
  }

  #miss(session: Session, now: number): void {
    const since = this.#missing.get(session);
    const isOver = session.expiresAt <= Date.now();
    if (session.revokedAt !== undefined || isOver) {
      this.#missing.delete(session);
      if (session.isOpened && !isOver && !this.#lost.has(session))
        this.#untold.set(session.tokenHash, session.session);
    } else if (since === undefined) {
      this.#missing.set(session, now);
    } else if (now - since >= this.#graceMs) {
      this.#missing.delete(session);
      this.#log.warn('a session ends: Redis has lost it', { session: session.session });
      this.#lost.add(session);
      this.#known.revoke(session.session);
    }
  }

  async #tell(tokenHash: string, id: string, at: number): Promise<boolean> {
    const isFirst = await this.#table.revoke(tokenHash, id, at);
    this.#untold.delete(tokenHash);
    return isFirst;
  }

  /** A revoked session that Redis has lost: at a gate that knows nothing of it its credential would open another one. */
  async #putBack(tokenHash: string): Promise<void> {
    const known = this.#known.byToken(tokenHash);
    if (!known?.isOpened) return;
    // A Redis that is full must not stop the beat; all is compared again before long.
    await this.#table.create(known, Date.now(), true).catch(() => {});
  }

  async #find(tokenHash: string): Promise<Session | undefined> {
    const [[session], subject] = await Promise.all([this.#read([tokenHash]), this.#table.subject(tokenHash)]);
    if (!session) this.#absent.set(tokenHash, true);
    if (session && subject) session.subject ??= subject;
    return session && this.#take(session);
  }

  /** Those that are there, as Redis has them, or as they are known here if that says more. */
  async #read(hashes: readonly string[]): Promise<Session[]> {
    const fields = await this.#table.fields(hashes, ['record', 'revoked']);
    return hashes.flatMap((tokenHash, i) => {
      const [record = null, revoked = null] = fields[i] ?? [];
      const session = record === null ? undefined : this.#open(tokenHash, record, revoked);
      return session ? [session] : [];
    });
  }

  #open(tokenHash: string, record: string, revoked: string | null): Session | undefined {
    const known = this.#known.byToken(tokenHash);
    if (known?.revokedAt !== undefined) return known;
    const session = openSession(this.#seal, tokenHash, record, revoked);
    if (!session)
      this.#log.warn(
        'a session in Redis was sealed with another key: give all gates one CA, or one state.key_file',
      );
    return session;
  }

  /** The one object by which a session is known here. It may have been revoked while it was on its way. */
  #take(session: Session): Session {
    const known = this.#known.byToken(session.tokenHash);
    if (known) return known;
    const revokedAt = this.#revoked.get(session.session);
    if (revokedAt !== undefined) session.revokedAt ??= revokedAt;
    try {
      this.#known.add(session);
    } catch (error) {
      throw error instanceof SessionError ? unavailable(error.message) : error;
    }
    return session;
  }
}
