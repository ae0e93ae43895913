import { LRUCache } from 'lru-cache';
import { Events, type GateEvent } from '../app/events.ts';

/** Ends of sessions that are remembered. */
const MAX_ENDED = 10_000;

/** Events of several processes, each of which tells of a session's end. */
export class OnceEvents extends Events {
  readonly #ended = new LRUCache<string, true>({ max: MAX_ENDED });

  override tell(event: GateEvent): void {
    if (event.type === 'session.ended') {
      if (this.#ended.has(event.data.session)) return;
      this.#ended.set(event.data.session, true);
    }
    super.tell(event);
  }
}
