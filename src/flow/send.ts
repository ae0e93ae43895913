import { Refusal } from '../errors.ts';
import { Outbound } from '../inject/outbound.ts';
import { StubCounter } from '../inject/stub.ts';
import { apply, type Plan, plan } from '../inject/swap.ts';
import { Scrubber } from '../scrub/index.ts';
import { has } from '../fields.ts';
import { ask, type Reply } from './ask.ts';
import type { Job } from './judge.ts';
import type { Rooms } from './rooms.ts';
import { authorityOf } from './target.ts';

/** A request on its way out: its head, and what will be swapped in it. */
interface Outgoing {
  readonly out: Outbound;
  readonly swaps: Plan;
  /** Names of the credentials to be placed. */
  readonly credentials: readonly string[];
}

/** Decides what is swapped, before any secret is fetched. Throws for a stub, or a credential, where it may not stand. */
export function outgoing(rooms: Rooms, { x, session, rule, target, originForm, stubs }: Job): Outgoing {
  const out = Outbound.from(x.head, originForm, rule);
  // HTTP/1.0 may leave it out, HTTP/1.1 may not (RFC 9112, section 3.2).
  if (!has(x.head.headers, 'host')) out.headers.unshift('Host', authorityOf(target));
  const swaps = plan(out, rule, session, rooms.stubs);
  // Each place of the plan holds one stub: every further one stands where it does not belong.
  if (stubs !== swaps.swapped) throw new Refusal('stub_misplaced');
  return { out, swaps, credentials: swaps.steps.map(step => step.injection.credential) };
}

/** Places the credentials, sends the request and waits for the upstream's answer. */
export function send(rooms: Rooms, job: Job, { out, swaps }: Outgoing): Promise<Reply> {
  const { x, session, profile, target, entry } = job;
  const patterns = rooms.keyring.patterns(profile, session);
  if (!patterns.empty && patterns.find(x.head.bytes)) throw new Refusal('secret_in_request');
  const placed = apply(out, swaps, name => rooms.keyring.secret(name));
  const head = out.render();
  entry.event.injected = placed.map(({ credential, at, version }) => ({
    credential,
    placement: at,
    version,
  }));
  const scrubber = new Scrubber(patterns, name => session.stubs.get(name) ?? '');
  const counter = x.head.length === 0 ? undefined : new StubCounter(rooms.stubs);
  entry.body = counter ?? null;
  return ask(rooms.upstream, x, { target, session: session.session, head, patterns, scrubber, counter });
}

/** After a 401: whether a vault has a newer value, and the request can be sent again. */
export async function renewed({ keyring }: Rooms, { x }: Job, { credentials }: Outgoing): Promise<boolean> {
  if (x.head.length !== 0 || credentials.length === 0) return false;
  const changed = await Promise.all(credentials.map(name => keyring.renew(name)));
  return changed.includes(true);
}
