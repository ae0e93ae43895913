import type { Reason } from '../errors.ts';
import type { Dial } from '../mint/http.ts';
import type { AuditEvent, Log, Session } from '../types.ts';
import { type Alarm, alarmOf } from './alarm.ts';
import { Deliveries, type DeliveriesOptions } from './deliveries.ts';
import type { AlarmOptions } from './options.ts';
import { Webhook } from './webhook.ts';

/** The request that raised an alarm is answered before the connections of its session are cut, ms. */
const ANSWER_MS = 250;

export interface AlarmsOptions extends Omit<DeliveriesOptions, 'count'> {
  readonly log: Log;
  readonly dial: Dial;
  /** Ends a session, at every gate. */
  readonly revoke: (session: string) => unknown;
  /** For the metrics. */
  readonly raised: (code: Reason) => void;
  readonly delivered: (result: 'delivered' | 'failed' | 'dropped') => void;
  /** Tells whoever watches. */
  readonly tell: (alarm: Alarm) => void;
}

/** What an alarm sets off, none of it on the path of the request that raised it. */
export class Alarms {
  readonly #options: AlarmsOptions;
  readonly #deliveries: Deliveries;
  /** Sessions that are about to be ended. */
  readonly #ending = new Map<string, NodeJS.Timeout>();
  #onAlarm: (profile: string) => 'log' | 'revoke' = () => 'log';

  constructor(options: AlarmsOptions) {
    this.#options = options;
    this.#deliveries = new Deliveries({ ...options, count: options.delivered });
  }

  /** `profiles`: what each of them says itself. Logs what is wrong with the webhook's files. */
  configure({ onAlarm, webhook }: AlarmOptions, profiles: ReadonlyMap<string, 'log' | 'revoke'>): void {
    this.#onAlarm = profile => profiles.get(profile) ?? onAlarm;
    const receiver = webhook && new Webhook(webhook, this.#options.dial);
    this.#deliveries.webhook = receiver;
    receiver?.check().catch((error: unknown) => {
      this.#options.log.error('alarms cannot be delivered', { cause: (error as Error).message });
    });
  }

  /** Never waits, never throws. */
  raise(code: Reason, event: AuditEvent, session: Session | null): void {
    const revokes = session !== null && this.#onAlarm(session.profile) === 'revoke';
    const alarm = alarmOf(code, event, session, revokes);
    this.#options.raised(code);
    if (revokes) this.#end(session);
    this.#options.tell(alarm);
    this.#deliveries.add(alarm);
  }

  /** Ends what is to be ended, and delivers what is to be delivered, within some seconds. */
  async close(): Promise<void> {
    const ending = [...this.#ending].map(([id, timer]) => {
      clearTimeout(timer);
      return this.#revoke(id);
    });
    await Promise.all([...ending, this.#deliveries.close()]);
  }

  /** No request is served for it from now on; its connections end once the answer has left. */
  #end(session: Session): void {
    const id = session.session;
    if (this.#ending.has(id)) return;
    session.revokedAt ??= Date.now();
    this.#ending.set(
      id,
      setTimeout(() => void this.#revoke(id), ANSWER_MS),
    );
  }

  async #revoke(id: string): Promise<void> {
    this.#ending.delete(id);
    const { log, revoke } = this.#options;
    log.warn('a session ends: it raised an alarm', { session: id });
    try {
      await revoke(id);
    } catch (cause) {
      log.warn('the other gates are not told yet that a session ended', { cause });
    }
  }
}
