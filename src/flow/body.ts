import { Refusal } from '../errors.ts';
import { bytesOf, isInBody, reading, refuseUnreadable, requireUtf8, settleFields } from '../inject/body.ts';
import { signs } from '../inject/signing.ts';
import { StubCounter, type StubKey } from '../inject/stub.ts';
import { type Plan, plan, type Step } from '../inject/swap.ts';
import { BodyFault } from '../types.ts';
import type { Exchange } from '../wire/server.ts';
import { ClientLeft, noTrailers } from './ask.ts';
import type { Entry } from './entry.ts';
import type { Job } from './judge.ts';
import type { Outgoing } from './outgoing.ts';
import type { Rooms } from './rooms.ts';
import { Whole } from './whole.ts';

type Reading = ReturnType<typeof reading>;

/**
 * For a rule that places a credential in the body: receives the body whole, and decides what is swapped in it, before
 * any secret is fetched. For a request that is signed: verifies that. Undefined: the body flows unread. Throws, or
 * rejects with, what the sandbox is told. `received`: the body, if it is here already.
 */
export function withBody(
  rooms: Rooms,
  job: Job,
  outgoing: Outgoing,
  received?: Buffer,
): Promise<Outgoing> | undefined {
  const { x, rule, session } = job;
  if (outgoing.swaps.signing) return withSignature(rooms, job, outgoing, outgoing.swaps.signing, received);
  if (!rule.injections.some(isInBody)) return undefined;
  if (x.head.length === 0) {
    // Nothing stands there; a stub that is required is missing.
    plan(outgoing.out, rule, session, rooms.stubs, 'body');
    return undefined;
  }
  let how: Reading;
  try {
    how = reading(outgoing.out, rule);
  } catch (thrown) {
    pass(job, thrown, 0);
    return undefined;
  }
  return settled(rooms, job, outgoing, how, received);
}

/** Receives the body first, if the signature covers it without telling its hash. */
function withSignature(
  { stubs, keyring }: Rooms,
  { x, entry, profile, session }: Job,
  outgoing: Outgoing,
  { injection, stub = '' }: Step,
  given: Buffer | undefined,
): Promise<Outgoing> | undefined {
  const { out } = outgoing;
  const { placement } = injection;
  if (!signs(placement) || placement.verify(out, stub, stubs)) return undefined;
  return Promise.resolve(given ?? receive(x, placement.limit)).then(received => {
    entry.body = { seen: stubsIn(received, stubs) };
    out.body = { kind: 'signed', content: received };
    settleFields(out, false);
    try {
      placement.verify(out, stub, stubs);
    } catch (thrown) {
      if (keyring.patterns(profile, session).find(received)) throw new Refusal('secret_in_request');
      throw thrown;
    }
    return { ...outgoing, received };
  });
}

async function settled(
  { stubs, keyring }: Rooms,
  job: Job,
  { out, swaps }: Outgoing,
  { kind, limit }: Reading,
  given: Buffer | undefined,
): Promise<Outgoing> {
  const received = given ?? (await receive(job.x, limit));
  const seen = stubsIn(received, stubs);
  job.entry.body = { seen };
  out.body = { kind, content: received };
  let found: Plan = { steps: [], swapped: 0 };
  try {
    requireUtf8(received);
    found = plan(out, job.rule, job.session, stubs, 'body');
  } catch (thrown) {
    // A real secret is what the operator must hear of, whatever else is wrong.
    if (keyring.patterns(job.profile, job.session).find(received)) throw new Refusal('secret_in_request');
    pass(job, thrown, seen);
  }
  settleFields(out, found.steps.length > 0);
  const steps = [...swaps.steps, ...found.steps];
  const credentials = steps.map(step => step.injection.credential);
  return { out, swaps: { steps, swapped: swaps.swapped }, credentials, received };
}

/** Returns where the rule lets a body pass that cannot be read; throws where it does not, and whatever else is wrong. */
function pass({ rule }: Job, thrown: unknown, stubs: number): void {
  if (!(thrown instanceof BodyFault)) throw thrown;
  refuseUnreadable(rule, thrown, stubs);
}

/** The body as it goes on the wire. Counts its stubs for the audit, in whatever spelling they stood at their places. */
export function finished({ out, swaps }: Outgoing, stubs: StubKey, entry: Entry): Buffer | undefined {
  if (!out.body) return undefined;
  const bytes = bytesOf(out.body);
  const swapped = swaps.steps.filter(
    ({ injection, stub }) => injection.placement.body && stub !== undefined,
  ).length;
  entry.body = { seen: swapped + stubsIn(bytes, stubs) };
  return bytes;
}

function stubsIn(bytes: Buffer, key: StubKey): number {
  const counter = new StubCounter(key);
  counter.feed(bytes);
  return counter.seen;
}

/** The whole body, for which a client may have to be asked. Rejects with `body_too_large` past `limit` bytes. */
function receive(x: Exchange, limit: number): Promise<Buffer> {
  if (x.head.length > limit) throw tooLarge(limit);
  return new Promise<Buffer>((resolve, reject) => {
    const abort = (cause: Error): void => reject(cause instanceof Refusal ? cause : new ClientLeft(cause));
    x.onAbort = abort;
    if (x.done) reject(new ClientLeft());
    // RFC 9110, section 10.1.1: the upstream is asked only once the body is here.
    if (x.head.expectContinue && !x.received) x.informational(100, 'Continue', []);
    const whole = new Whole(limit, {
      tooLarge: () => tooLarge(limit),
      // A header that comes after the body was never judged: no rule covers it.
      end: (body, trailers) => (trailers.length > 0 ? reject(noTrailers(trailers)) : resolve(body)),
      fail: reject,
    });
    x.body.pipe(whole);
  });
}

function tooLarge(limit: number): Refusal {
  return new Refusal('body_too_large', {
    message: `The request body is larger than the ${limit} bytes that this rule takes`,
  });
}
