import { randomBytes } from 'node:crypto';
import type { Subject } from '../../secret.ts';
import type { Session } from '../../types.ts';
import { MAX_SESSIONS, REMEMBER_MS } from '../memory.ts';
import type { Seal } from '../seal.ts';
import type { Link } from './link.ts';
import { BEAT, CREATE, REVOKE } from './scripts.ts';
import { openSubject, sealSession, sealSubject } from './record.ts';

/** Revocations of which Redis keeps the order. */
export const MAX_REVOKED = 10_000;
/** Sessions that are asked for at once. */
export const BATCH = 500;

/** What a beat finds out. */
export interface Pulse {
  /** Of the data set: another one after a loss. */
  readonly run: string;
  /** Revocations so far. */
  readonly epoch: number;
  /** Ids, of those since the epoch that was asked for. */
  readonly revoked: readonly string[];
}

/** A session's field, null if it is not there. */
type Field = string | null;

/**
 * Sessions in Redis. `session:<token hash>`: id, sealed record, when it was revoked; `id:<id>`: the token's hash;
 * `sessions`: all of them by their end; `subject:<token hash>`: the sealed token that it exchanges; `epoch` and `revoked`: ids in the order of their revocation. What it asks
 * throws Refusal `state_unavailable`.
 */
export class SessionTable {
  /** Tells of revocations. */
  readonly channel: string;
  readonly #link: Link;
  readonly #seal: Seal;

  constructor(link: Link, seal: Seal) {
    this.#link = link;
    this.#seal = seal;
    this.channel = link.key('revocations');
  }

  /**
   * `full`: too many are live. `there`: a session of that token hash is, live or ended; it stays as it is. `probing`: also
   * while Redis is known to be down.
   */
  async create(session: Session, now: number, probing = false): Promise<'made' | 'full' | 'there'> {
    const { session: id, tokenHash, expiresAt } = session;
    const index = this.#link.key('sessions');
    const keys = [this.#sessionKey(tokenHash), this.#idKey(id), index, this.#subjectKey(tokenHash)];
    const record = sealSession(this.#seal, session);
    const times = [expiresAt, expiresAt + REMEMBER_MS, now, now - REMEMBER_MS];
    const args = [id, tokenHash, record, ...times, MAX_SESSIONS, sealSubject(this.#seal, session)];
    const outcome = await this.#link.run(CREATE, keys, args, probing);
    return outcome === 1 ? 'made' : outcome === 2 ? 'there' : 'full';
  }

  /** False if it was revoked before. `at`: ms since the epoch. */
  async revoke(tokenHash: string, id: string, at: number): Promise<boolean> {
    const keys = [
      this.#sessionKey(tokenHash),
      ...this.#keys('epoch', 'revoked'),
      this.#subjectKey(tokenHash),
    ];
    return (await this.#link.run(REVOKE, keys, [id, at, this.channel, MAX_REVOKED], true)) === 1;
  }

  async pulse(epoch: number): Promise<Pulse> {
    const keys = this.#keys('run', 'epoch', 'revoked', 'nothing');
    const args = [randomBytes(12).toString('hex'), epoch, MAX_REVOKED];
    const [run, now, revoked] = (await this.#link.run(BEAT, keys, args, true)) as [string, number, string[]];
    return { run, epoch: now, revoked };
  }

  async hashOf(id: string): Promise<string | undefined> {
    const found = await this.#link.ask(client => client.get(this.#idKey(id)));
    return found ?? undefined;
  }

  /** The token that a live session was given to exchange. */
  async subject(tokenHash: string): Promise<Subject | undefined> {
    const sealed = await this.#link.ask(client => client.get(this.#subjectKey(tokenHash)));
    return sealed === null ? undefined : openSubject(this.#seal, tokenHash, sealed);
  }

  /** Token hashes of those that are live, or ended lately. */
  async hashes(now: number): Promise<string[]> {
    const names = await this.#link.ask(client =>
      client.zrangebyscore(this.#link.key('sessions'), `(${now - REMEMBER_MS}`, '+inf'),
    );
    return names.map(name => name.slice(name.indexOf(':') + 1));
  }

  /** Fields of each of those sessions, in that order. `probing`: also while Redis is known to be down. */
  async fields(
    hashes: readonly string[],
    names: readonly ['record' | 'id', 'revoked'],
    probing = false,
  ): Promise<Field[][]> {
    const found: Field[][] = [];
    for (let i = 0; i < hashes.length; i += BATCH)
      found.push(...(await this.#batch(hashes.slice(i, i + BATCH), names, probing)));
    return found;
  }

  #batch(hashes: readonly string[], names: readonly string[], probing: boolean): Promise<Field[][]> {
    return this.#link.ask(async client => {
      const pipeline = client.pipeline();
      for (const tokenHash of hashes) pipeline.hmget(this.#sessionKey(tokenHash), ...names);
      const answers = (await pipeline.exec()) ?? [];
      // No answer is not the answer that there is none.
      if (answers.length !== hashes.length) throw new Error('answers are missing');
      return answers.map(([error, values]) => {
        if (error) throw error;
        return values as Field[];
      });
    }, probing);
  }

  #keys(...names: readonly string[]): string[] {
    return names.map(name => this.#link.key(name));
  }

  #sessionKey(tokenHash: string): string {
    return this.#link.key('session', tokenHash);
  }

  #subjectKey(tokenHash: string): string {
    return this.#link.key('subject', tokenHash);
  }

  #idKey(id: string): string {
    return this.#link.key('id', id);
  }
}
