import type { Log } from '../types.ts';
import { atMost } from '../vaults/at-most.ts';
import type { Alarm } from './alarm.ts';
import { newDelivery, type Webhook } from './webhook.ts';

export interface DeliveriesOptions {
  readonly log: Log;
  /** For the metric. */
  readonly count: (result: 'delivered' | 'failed' | 'dropped') => void;
  /** Between attempts, ms; one more attempt than there are waits. */
  readonly backoffMs?: readonly number[];
  /** Alarms of one session and code that come so soon after one that was sent are sent as one, ms. */
  readonly windowMs?: number;
  /** What is still to be sent when the gate stops gets so long, ms. */
  readonly closeMs?: number;
}

const BACKOFF_MS = [1000, 2000, 4000, 8000];
const WINDOW_MS = 10_000;
const CLOSE_MS = 4000;
/** Sessions and codes of which something is under way; more are dropped, and counted. */
const MAX_TOPICS = 1000;
/** Requests to the receiver at a time. */
const MAX_SENDING = 8;

/** What there is to tell of one session and code. */
interface Topic {
  alarm: Alarm;
  /** Not yet told. */
  count: number;
}

/** Alarms on their way to the webhook, off the path of requests: bounded, coalesced, tried again. */
export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #topics = new Map<string, Topic>();
  readonly #jobs = new Set<Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  readonly #closing = new AbortController();
  #sending = 0;
  webhook: Webhook | undefined;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  add(alarm: Alarm): void {
    const key = `${alarm.session} ${alarm.code}`;
    const known = this.#topics.get(key);
    if (known) {
      if (known.count++ === 0) known.alarm = alarm;
      return;
    }
    if (!this.webhook) return;
    if (this.#topics.size >= MAX_TOPICS || this.#closing.signal.aborted)
      return this.#options.count('dropped');
    const topic = { alarm, count: 1 };
    this.#topics.set(key, topic);
    const job = this.#run(topic).finally(() => {
      this.#topics.delete(key);
      this.#jobs.delete(job);
    });
    this.#jobs.add(job);
  }

  /** Each alarm gets a last attempt. Settles within `closeMs`. */
  async close(): Promise<void> {
    this.#closing.abort();
    await atMost(this.#options.closeMs ?? CLOSE_MS, Promise.all(this.#jobs));
  }

  async #run(topic: Topic): Promise<void> {
    while (topic.count > 0) {
      const { count, alarm } = topic;
      topic.count = 0;
      await this.#deliver({ ...alarm, count });
      await this.#pause(this.#options.windowMs ?? WINDOW_MS);
    }
  }

  async #deliver(told: Alarm & { readonly count: number }): Promise<void> {
    const id = newDelivery();
    const body = JSON.stringify(told);
    const { log, count, backoffMs = BACKOFF_MS } = this.#options;
    for (const wait of [...backoffMs, undefined]) {
      const isFinal = this.#closing.signal.aborted;
      const sent = await this.#send(id, body);
      if (sent.done) return count('delivered');
      const isLast = wait === undefined || !sent.again || isFinal;
      log.warn(isLast ? 'an alarm could not be delivered' : 'an alarm is not delivered yet', {
        cause: sent.why,
        request_id: told.request_id,
        code: told.code,
      });
      if (isLast) return count('failed');
      await this.#pause(wait);
    }
  }

  async #send(id: string, body: string): ReturnType<Webhook['send']> {
    while (this.#sending >= MAX_SENDING) await new Promise<void>(resolve => this.#waiting.push(resolve));
    this.#sending++;
    try {
      return (
        (await this.webhook?.send(id, body)) ?? {
          done: false,
          again: false,
          why: 'there is no webhook any more',
        }
      );
    } finally {
      this.#sending--;
      this.#waiting.shift()?.();
    }
  }

  /** Ends early when the gate stops. */
  #pause(ms: number): Promise<void> {
    const { signal } = this.#closing;
    if (signal.aborted) return Promise.resolve();
    return new Promise(resolve => {
      const stop = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop);
        resolve();
      }, ms).unref();
      signal.addEventListener('abort', stop, { once: true });
    });
  }
}
