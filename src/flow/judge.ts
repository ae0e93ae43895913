import type { Profile } from '../config/types.ts';
import { type Reason, Refusal } from '../errors.ts';
import { Outbound } from '../inject/outbound.ts';
import { plan } from '../inject/swap.ts';
import { decide } from '../policy/table.ts';
import type { Decision, Rule, Session, Target } from '../types.ts';
import type { Exchange } from '../wire/server.ts';
import { type Offer, offerOf } from '../wire/websocket/handshake.ts';
import type { Entry } from './entry.ts';
import type { Rooms } from './rooms.ts';
import { type Channel, describe, requestTarget } from './target.ts';

/** A request that is allowed. */
export interface Job {
  readonly x: Exchange;
  readonly session: Session;
  readonly profile: Profile;
  readonly target: Target;
  readonly rule: Rule;
  readonly originForm: string;
  /** Stubs in the head, as the client sent it. */
  readonly stubs: number;
  /** The WebSocket that it asks for. */
  readonly websocket: Offer | undefined;
  readonly entry: Entry;
}

const NO_PROFILE: Decision = { verdict: 'deny', reason: 'no_rule' };

/** Policy: whether this session may ask for this. Throws the reason why not. */
export function judge(rooms: Rooms, x: Exchange, channel: Channel, originForm: string, entry: Entry): Job {
  const { session } = channel;
  requireAlive(session, Date.now());
  const stubs = rooms.stubs.count(x.head.text);
  entry.event.stubs_seen = stubs;
  const profile = rooms.profiles.get(session.profile);
  try {
    const target = requestTarget(x.head, channel, originForm);
    const websocket = offerOf(x.head, x.isHttp2);
    const decision = profile ? decide(profile.table, target) : NO_PROFILE;
    entry.event.rule = decision.rule?.name ?? null;
    if (decision.verdict === 'deny' || !profile) {
      throw denial(decision.verdict === 'deny' ? decision.reason : 'no_rule', target);
    }
    entry.event.verdict = 'allow';
    return { x, session, profile, target, rule: decision.rule, originForm, stubs, websocket, entry };
  } catch (thrown) {
    // A stub on its way to where it does not belong is worth more than any other reason: an alarm.
    if (stubs > 0 && !(profile && belongHere(rooms, x, profile, channel, originForm, stubs))) {
      throw new Refusal('stub_misplaced');
    }
    throw thrown;
  }
}

/** Whether a denied request has its stubs where some rule for this origin wants them: a wrong path, not a theft. */
function belongHere(
  rooms: Rooms,
  x: Exchange,
  profile: Profile,
  channel: Channel,
  originForm: string,
  stubs: number,
): boolean {
  return profile.table.rowsFor(channel.host).some(rule => {
    if (rule.mismatchBeforeRequest(channel) !== undefined) return false;
    try {
      const out = Outbound.from(x.head, originForm, rule);
      return plan(out, rule, channel.session, rooms.stubs).swapped === stubs;
    } catch {
      return false;
    }
  });
}

/** Throws `session_revoked` or `session_expired`. */
export function requireAlive(session: Session, now: number): void {
  if (session.revokedAt !== undefined) throw new Refusal('session_revoked');
  if (session.expiresAt <= now) throw new Refusal('session_expired');
}

function denial(reason: Reason, target: Target): Refusal {
  const what = describe(target);
  return reason === 'no_rule'
    ? new Refusal(reason, {
        message: `No rule allows ${what}`,
        hint: `Ask your operator to allow ${target.host}`,
      })
    : new Refusal(reason, { message: `A rule denies ${what}` });
}
