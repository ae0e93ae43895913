import { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';
import type { BodyStage, Injection, OutboundHead, Rule, Session } from '../types.ts';
import { signs } from './signing.ts';
import type { StubKey } from './stub.ts';

/** One credential that will be written: in the place of `stub`, or at the place if none stands there. */
export interface Step {
  readonly injection: Injection;
  readonly stub: string | undefined;
  /** Further stubs that belong to it. */
  readonly beside?: number;
}

/** What a request will carry, known before any credential is fetched. */
export interface Plan {
  readonly steps: readonly Step[];
  /**
   * Stubs that stand where they belong, one at each place. The head as the client sent it must hold exactly as many:
   * any further one, a second copy at the same place included, is where it does not belong.
   */
  readonly swapped: number;
  /** The last step, if it signs the request. */
  readonly signing?: Step;
}

export interface Swap {
  readonly credential: string;
  /** The placement's type, such as `bearer`. */
  readonly placement: string;
  /** Such as `header authorization`. */
  readonly at: string;
  /** Of the secret, as its vault calls it. */
  readonly version: string | null;
  /** The exact text sent, to be scrubbed. */
  readonly wire: Secret;
  /** What the body goes through. */
  readonly upload: BodyStage | undefined;
}

const NOTHING: Plan = { steps: [], swapped: 0 };

/**
 * Decides what is written where in the head, or in the body; changes nothing. Throws stub_misplaced, stub_missing or
 * foreign_credential. The caller still compares `swapped` with the stubs that the head holds (`StubKey.count`).
 */
export function plan(
  out: OutboundHead,
  rule: Rule,
  session: Session,
  key: StubKey,
  where: 'head' | 'body' = 'head',
): Plan {
  if (rule.injections.length === 0) return NOTHING;
  const steps: Step[] = [];
  let swapped = 0;
  for (const slot of slotsOf(rule)) {
    if ((slot[0]?.placement.body === undefined) !== (where === 'head')) continue;
    const step = planSlot(slot, out, session, key);
    if (slot.some(injection => injection.required && injection !== step?.injection)) {
      throw new Refusal('stub_missing');
    }
    if (!step) continue;
    steps.push(step);
    if (step.stub !== undefined) swapped += 1 + (step.beside ?? 0);
  }
  const last = steps.at(-1);
  return last && signs(last.injection.placement) ? { steps, swapped, signing: last } : { steps, swapped };
}

/** Carries the plan out. `secrets` gives the credential's current value, or the one that the stub was given for. */
export function apply(
  out: OutboundHead,
  planned: Plan,
  secrets: (credential: string, stub: string | undefined) => Secret,
): Swap[] {
  return planned.steps.map(({ injection, stub }) => {
    const { credential, placement } = injection;
    const secret = secrets(credential, stub);
    const { at, wire, upload } = placement.inject(out, stub, secret);
    return { credential, placement: placement.type, at, version: secret.version ?? null, wire, upload };
  });
}

/** The injections that compete for one place: at most one of them is carried out. */
function planSlot(
  slot: readonly Injection[],
  out: OutboundHead,
  session: Session,
  key: StubKey,
): Step | undefined {
  const standing: string[] = [];
  let always: Injection | undefined;
  let hasPlace = false;
  for (const injection of slot) {
    const { placement } = injection;
    const texts = placement.find(out);
    if (injection.when === 'always' && !hasPlace) {
      always = injection;
      hasPlace = texts !== undefined;
    }
    if (!texts) continue;
    const stub = stubAmong(texts, injection, session, key);
    if (stub !== undefined)
      return signs(placement)
        ? { injection, stub, beside: placement.beside(out, stub, key) }
        : { injection, stub };
    standing.push(...texts);
  }
  if (standing.some(text => key.count(text) > 0)) throw new Refusal('stub_misplaced');
  if (always && !hasPlace)
    throw new Refusal('stub_missing', {
      hint: `Send a request that has the place: ${always.placement.slot}`,
    });
  if (always) return { injection: always, stub: undefined };
  if (standing.length > 0 && slot.some(injection => injection.foreign === 'refuse')) {
    throw new Refusal('foreign_credential');
  }
  return undefined;
}

/** The session's stub that one of the texts stands for. */
function stubAmong(
  texts: readonly string[],
  { credential, placement }: Injection,
  { stubs, captured }: Session,
  key: StubKey,
): string | undefined {
  const own = stubs.get(credential);
  if (own !== undefined && texts.includes(signs(placement) ? placement.idOf(own, key) : own)) return own;
  if (!captured) return undefined;
  for (const text of texts) {
    const stub = captured.stubAt(credential, text);
    if (stub !== undefined) return stub;
  }
  return undefined;
}

const slots = new WeakMap<Rule, readonly (readonly Injection[])[]>();

/** A rule's injections by place, in its order, but what signs the request last; grouped once. */
function slotsOf(rule: Rule): readonly (readonly Injection[])[] {
  let grouped = slots.get(rule);
  if (!grouped) {
    const isLast = (slot: readonly Injection[]): number => Number(slot.some(one => signs(one.placement)));
    const groups = [...Map.groupBy(rule.injections, injection => injection.placement.slot).values()];
    grouped = groups.toSorted((a, b) => isLast(a) - isLast(b));
    slots.set(rule, grouped);
  }
  return grouped;
}
