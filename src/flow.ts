import { Buffer } from 'node:buffer';
import { asRefusal, type Reason, Refusal } from './errors.ts';
import { fieldLines } from './fields.ts';
import { answer } from './flow/answer.ts';
import { ClientLeft } from './flow/ask.ts';
import { withBody } from './flow/body.ts';
import { captured, captureLoad } from './flow/capture.ts';
import { Entry } from './flow/entry.ts';
import { judge } from './flow/judge.ts';
import { ALARMS, raiseAlarm, refuse, refusalLength } from './flow/refuse.ts';
import type { Rooms } from './flow/rooms.ts';
import { outgoing, renewed, send } from './flow/send.ts';
import { spend } from './flow/spend.ts';
import type { Channel } from './flow/target.ts';
import { carry } from './flow/websocket/carry.ts';
import { admit } from './policy/table.ts';
import type { Admission, Session } from './types.ts';
import { TrailerFault } from './wire/fault.ts';
import type { Exchange } from './wire/server.ts';

/** Refusals that say less than that the request holds a real secret. */
const ORDINARY: ReadonlySet<Reason> = new Set([
  'no_rule',
  'rule_denies',
  'stub_missing',
  'foreign_credential',
  'invalid_signature',
  'stub_misplaced',
  'host_mismatch',
  'ambiguous_path',
  'upgrade_refused',
  'malformed_request',
  'rate_limited',
]);

/** A request's way. Order is the security property: policy before secret, scrub before client. */
export class Flow {
  rooms: Rooms;

  constructor(rooms: Rooms) {
    this.rooms = rooms;
  }

  /** What to do with a tunnel, before its requests are known. */
  admit({ session, scheme, host, port }: Channel): Admission {
    const profile = this.rooms.profiles.get(session.profile);
    return profile ? admit(profile.table, { scheme, host, port }) : { verdict: 'deny', reason: 'no_rule' };
  }

  /** Serves one request; settles when its answer is complete, or cut. Never rejects. */
  async handle(x: Exchange, channel: Channel, originForm: string): Promise<void> {
    const { rooms } = this;
    const entry = this.entry(x, channel, originForm);
    try {
      rooms.audit.assertWritable();
      const arriving = rooms.limits?.arrive(channel.session);
      if (arriving) await arriving;
      const job = judge(rooms, x, channel, originForm, entry);
      const loading = captureLoad(rooms, job);
      if (loading) await loading;
      let out = outgoing(rooms, job);
      const receiving = withBody(rooms, job, out);
      if (receiving) out = await receiving;
      const spending = rooms.limits && spend(rooms.limits, job, out);
      if (spending) await spending;
      const fetching = rooms.keyring.open(job.profile, out.credentials, job.session);
      if (fetching) await fetching;
      let reply = await send(rooms, job, out);
      const { status } = reply.head;
      if ((status === 401 || status === 403) && (await renewed(rooms, job, out, status))) {
        reply.discard();
        const again = outgoing(rooms, job);
        reply = await send(rooms, job, (await withBody(rooms, job, again, out.received)) ?? again);
      }
      if (reply.switched) return await carry(rooms, job, reply, reply.switched);
      try {
        if (job.rule.captures) reply = await captured(rooms, job, reply, job.rule.captures);
        const unfinished = answer(x, reply, entry);
        if (unfinished) await unfinished;
      } finally {
        // What is left of an answer that was refused or cut is not read by anybody.
        reply.discard();
      }
    } catch (thrown) {
      if (thrown instanceof ClientLeft) this.#leave(x, entry);
      else this.refuse(x, entry, this.#gravest(x, channel.session, asRefusal(thrown), entry));
    }
  }

  entry(x: Exchange, channel: Partial<Channel>, originForm = ''): Entry {
    const entry = new Entry(this.rooms.audit, this.rooms.metrics, x.startedAt);
    entry.asks(x.head, channel, originForm);
    return entry;
  }

  /** Throws for a stub, or a secret, in a text where none may ever stand: a CONNECT, the authority of a URL. */
  requireNone(text: string, session: Session): void {
    if (this.rooms.stubs.count(text) > 0) throw new Refusal('stub_misplaced');
    if (this.#holdsSecret(text, session)) throw new Refusal('secret_in_request');
  }

  /** A real secret in a request that is refused anyway is what its operator must hear of; so is a stub in its trailers. */
  #gravest(x: Exchange, session: Session, refusal: Refusal, { event }: Entry): Refusal {
    if (!ORDINARY.has(refusal.code)) return refusal;
    const trailers = refusal instanceof TrailerFault ? fieldLines(refusal.trailers) : '';
    const stubs = this.rooms.stubs.count(trailers);
    event.stubs_seen += stubs;
    if (this.#holdsSecret(x.head.bytes, session) || this.#holdsSecret(trailers, session))
      return new Refusal('secret_in_request');
    return stubs > 0 ? new Refusal('stub_misplaced') : refusal;
  }

  #holdsSecret(text: string | Buffer, session: Session): boolean {
    const profile = this.rooms.profiles.get(session.profile);
    const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
    return profile !== undefined && this.rooms.keyring.patterns(profile, session).find(bytes) !== undefined;
  }

  /** Audits a refusal and answers with it. */
  refuse(x: Exchange, entry: Entry, refusal: Refusal): void {
    const { log } = this.rooms;
    const { event } = entry;
    if (refusal.cause !== undefined)
      log.warn(refusal.message, { code: refusal.code, request_id: event.request_id, cause: refusal.cause });
    if (ALARMS.has(refusal.code)) raiseAlarm(this.rooms, refusal.code, entry);
    let told = refusal;
    try {
      entry.deny(refusal);
      if (this.#isTelling(entry)) entry.withhold();
      entry.write(x.bytesIn, x.bytesOut + refusalLength(refusal, event.request_id));
    } catch (thrown) {
      told = asRefusal(thrown);
    }
    if (!x.done) refuse(x, told, event.request_id);
  }

  /** Whether the path, which the sandbox chose, would carry a stub or a secret into the audit. */
  #isTelling({ event: { path }, session }: Entry): boolean {
    if (path === null || !session) return false;
    return this.rooms.stubs.count(path) > 0 || this.#holdsSecret(path, session);
  }

  #leave(x: Exchange, entry: Entry): void {
    try {
      entry.write(x.bytesIn, x.bytesOut);
    } catch (thrown) {
      this.rooms.log.error('a request that its client left could not be audited', { cause: thrown });
    }
  }
}
