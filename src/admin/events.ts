import type { Context } from 'hono';
import type { Events, GateEvent } from '../app/events.ts';
import { refuse } from './refuse.ts';

/** Who may watch at a time. */
const MAX_WATCHERS = 32;
/** Events that wait for one who reads slowly; what comes then is counted, not kept. */
const MAX_WAITING = 256;
const HEARTBEAT_MS = 15_000;

let watchers = 0;

/** What happens, as it happens: Server-Sent Events (HTML, section 9.2). */
export function streamEvents(c: Context, events: Events, heartbeatMs = HEARTBEAT_MS): Response {
  if (watchers >= MAX_WATCHERS) return refuse(c, 'too_many_watchers');
  const watcher = new Watcher(events, heartbeatMs);
  return c.body(watcher.stream, 200, { 'content-type': 'text/event-stream; charset=utf-8' });
}

class Watcher {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #encoder = new TextEncoder();
  #waiting: GateEvent[] = [];
  #missed = 0;

  constructor(events: Events, heartbeatMs: number) {
    let stop = (): void => {};
    let timer: NodeJS.Timeout | undefined;
    this.stream = new ReadableStream<Uint8Array>({
      start: controller => {
        watchers++;
        const send = (text: string): void => controller.enqueue(this.#encoder.encode(text));
        const isReady = (): boolean => (controller.desiredSize ?? 0) > 0;
        // So that the client knows at once that it is watching.
        send(': watching\n\n');
        timer = setInterval(() => {
          if (isReady()) send(': alive\n\n');
        }, heartbeatMs).unref();
        stop = events.watch(event => {
          this.#keep(event);
          if (isReady()) this.#drain(send);
        });
      },
      pull: controller => this.#drain(text => controller.enqueue(this.#encoder.encode(text))),
      cancel: () => {
        watchers--;
        clearInterval(timer);
        stop();
      },
    });
  }

  #keep(event: GateEvent): void {
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(event);
    else this.#missed++;
  }

  /** All that waits, in one piece. */
  #drain(send: (text: string) => void): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    let text = waiting.map(({ type, data }) => message(type, data)).join('');
    if (this.#missed > 0) text += message('missed', { count: this.#missed });
    this.#missed = 0;
    if (text !== '') send(text);
  }
}

/** JSON has no line breaks, which would end a line of the stream. */
function message(type: string, data: unknown): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
