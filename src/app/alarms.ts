import { Alarms } from '../alarms/alarms.ts';
import type { Metrics } from '../audit/metrics.ts';
import type { Dial } from '../mint/http.ts';
import type { State } from '../state/state.ts';
import type { Log } from '../types.ts';
import type { Events } from './events.ts';

/** Alarms of this gate: counted, told to whoever watches, to the webhook, and to the other gates. */
export function openAlarms(
  { sessions, publish }: Pick<State, 'sessions' | 'publish'>,
  metrics: Metrics,
  events: Events,
  log: Log,
  dial: Dial,
): Alarms {
  sessions.onEnd(session => events.ended(session));
  return new Alarms({
    log,
    dial,
    revoke: id => sessions.revoke(id),
    raised: code => metrics.alarmed(code),
    delivered: result => metrics.delivered(result),
    tell: alarm => {
      const { code, session, request_id, time } = alarm;
      publish({ code, session, request_id, time });
      events.tell({ type: 'alarm', data: alarm });
    },
  });
}
