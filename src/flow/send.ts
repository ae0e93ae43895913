import { Refusal } from '../errors.ts';
import { Outbound } from '../inject/outbound.ts';
import { StubCounter } from '../inject/stub.ts';
import { standsFor } from '../inject/stands-for.ts';
import { apply, plan } from '../inject/swap.ts';
import { Scrubber } from '../scrub/index.ts';
import { fieldLines, has } from '../fields.ts';
import { handshakeFields, isOfOneLeg, newKey } from '../wire/websocket/handshake.ts';
import { ask, type Reply } from './ask.ts';
import { finished } from './body.ts';
import type { Job } from './judge.ts';
import type { Outgoing } from './outgoing.ts';
import type { Rooms } from './rooms.ts';
import { meterOf } from './spend.ts';
import { authorityOf } from './target.ts';

/** Decides what is swapped, before any secret is fetched. Throws for a stub, or a credential, where it may not stand. */
export function outgoing(
  rooms: Rooms,
  { x, session, rule, target, originForm, stubs, websocket, entry }: Job,
): Outgoing {
  const out = Outbound.from(x.head, originForm, rule);
  entry.redact(rule, rooms.stubs);
  // HTTP/1.0 may leave it out, HTTP/1.1 may not (RFC 9112, section 3.2).
  if (!has(x.head.headers, 'host')) out.headers.unshift('Host', authorityOf(target));
  if (rule.captures) {
    if (websocket)
      throw new Refusal('upgrade_refused', { message: 'This rule captures what answers hand out' });
    rooms.captures.requireRoom(session);
  }
  const swaps = plan(out, rule, session, rooms.stubs);
  // Each place of the plan holds one stub: every further one stands where it does not belong.
  if (stubs !== swaps.swapped) throw new Refusal('stub_misplaced');
  const key = websocket && newKey();
  if (key !== undefined) shakeHands(out);
  return { out, swaps, credentials: swaps.steps.map(step => step.injection.credential), key };
}

/** A handshake of the gate's own: nothing in the upstream's answer to it depends on what the client chose. */
function shakeHands({ headers }: Outbound): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (isOfOneLeg(headers[i] as string)) headers.splice(i, 2);
  }
}

/** Places the credentials, sends the request and waits for the upstream's answer. */
export function send(rooms: Rooms, job: Job, outgoing: Outgoing): Promise<Reply> {
  const { out, swaps, received, credentials, key } = outgoing;
  const { x, session, profile, rule, target, entry } = job;
  const patterns = rooms.keyring.patterns(profile, session);
  if (!patterns.empty && (patterns.find(x.head.bytes) || (received && patterns.find(received))))
    throw new Refusal('secret_in_request');
  outgoing.sent = swaps.steps.map(({ injection, stub }) =>
    rooms.keyring.secret(injection.credential, session, stub),
  );
  const placed = apply(out, swaps, (name, stub) => rooms.keyring.secret(name, session, stub));
  const head = out.render() + (key === undefined ? '' : fieldLines(handshakeFields(key)));
  entry.event.injected = placed.map(({ credential, at, version }) => {
    const injected = { credential, placement: at, version };
    return rooms.keyring.isStale(credential) ? { ...injected, stale: true } : injected;
  });
  const scrubber = new Scrubber(
    patterns,
    name => standsFor(session, name, rooms.stubs),
    () => rooms.keyring.patterns(profile, session),
  );
  const counter = x.head.length === 0 ? undefined : new StubCounter(rooms.stubs);
  entry.body = counter ?? null;
  const body = finished(outgoing, rooms.stubs, entry);
  return ask(rooms.upstream, x, {
    target,
    session: session.session,
    head,
    out,
    body,
    stage: placed.at(-1)?.upload,
    patterns,
    scrubber,
    counter,
    meter: counter && !body ? meterOf(rooms.limits, job, credentials) : undefined,
    key,
    isCaptured: rule.captures !== undefined,
  });
}

/**
 * After a 401 or a 403: whether there is another value than the one that was sent, and the request can be sent again. If
 * it cannot, the next one has the new value.
 */
export async function renewed(
  { keyring }: Rooms,
  { x, session }: Job,
  { credentials, sent = [], received }: Outgoing,
  status: 401 | 403,
): Promise<boolean> {
  if (credentials.length === 0) return false;
  const renewing = Promise.all(
    sent.map((secret, i) => keyring.renew(credentials[i] as string, secret, session, status)),
  );
  const isGone = x.head.length !== 0 && !received;
  return !isGone && (await renewing).includes(true);
}
