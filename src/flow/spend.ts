import { asRefusal } from '../errors.ts';
import { messageInjections } from '../inject/websocket.ts';
import type { Limiter, Meter } from '../limits/limiter.ts';
import type { Job } from './judge.ts';
import type { Outgoing } from './outgoing.ts';

/** What an allowed request takes of its limits, before a credential is fetched. Throws, or rejects with, `rate_limited`. */
export function spend(
  limits: Limiter,
  job: Job,
  { credentials, received }: Outgoing,
): Promise<void> | undefined {
  const { x, session } = job;
  const bytes = x.head.bytes.length + (received?.length ?? 0);
  return limits.begin(session, used(job, credentials), bytes, received ? 0 : Math.max(0, x.head.length));
}

/** Of what follows the head: a body that is not here whole, the messages of a WebSocket. Undefined: nobody counts it. */
export function meterOf(
  limits: Limiter | undefined,
  job: Job,
  credentials: readonly string[] = [],
): Meter | undefined {
  const { session, entry } = job;
  const meter = limits?.meter(session, used(job, credentials));
  if (!meter) return undefined;
  const refused = (thrown: unknown): never => {
    // For an answer that has begun, and can only be cut.
    entry.event.reason = asRefusal(thrown).code;
    throw thrown;
  };
  return bytes => {
    try {
      return meter(bytes)?.catch(refused);
    } catch (thrown) {
      return refused(thrown);
    }
  };
}

/** Those in the head, or the body; for a WebSocket those, too, that its messages may carry. */
function used({ websocket, rule }: Job, credentials: readonly string[]): readonly string[] {
  if (!websocket) return credentials;
  return [...credentials, ...messageInjections(rule).map(({ credential }) => credential)];
}
