import type { Alarm } from '../alarms/alarm.ts';
import type { Metrics } from '../audit/metrics.ts';
import type { Session } from '../types.ts';

/** What happens at this gate, for whoever watches. Holds neither tokens nor stubs nor secrets. */
export type GateEvent =
  | { readonly type: 'alarm'; readonly data: Alarm }
  | { readonly type: 'session.created' | 'session.ended'; readonly data: SessionEvent }
  | { readonly type: 'refusals'; readonly data: { readonly time: string; readonly by_reason: object } };

interface SessionEvent {
  readonly time: string;
  readonly session: string;
  readonly profile: string;
  readonly sub: string | null;
  readonly act: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** Of one that ended. */
  readonly reason?: 'revoked' | 'expired';
}

const SUMMARY_MS = 5000;

/** Nothing is kept: who does not watch costs nothing but a look. */
export class Events {
  readonly #watchers = new Set<(event: GateEvent) => void>();
  readonly #metrics: Metrics;
  readonly #watched: (isWatched: boolean) => void;
  #timer: NodeJS.Timeout | undefined;
  #refusals = new Map<string, number>();

  /** `watched`: told when somebody begins to watch, and when nobody does any more. */
  constructor(metrics: Metrics, watched: (isWatched: boolean) => void = () => {}) {
    this.#metrics = metrics;
    this.#watched = watched;
  }

  /** Returns what ends it. */
  watch(watcher: (event: GateEvent) => void): () => void {
    if (this.#watchers.size === 0) {
      this.#refusals = new Map(this.#metrics.refusals());
      this.#timer = setInterval(() => this.#summarise(), SUMMARY_MS).unref();
      this.#watched(true);
    }
    this.#watchers.add(watcher);
    return () => {
      if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return;
      clearInterval(this.#timer);
      this.#watched(false);
    };
  }

  tell(event: GateEvent): void {
    for (const watcher of this.#watchers) watcher(event);
  }

  created(session: Session): void {
    if (this.#watchers.size > 0) this.tell({ type: 'session.created', data: sessionEvent(session) });
  }

  ended(session: Session): void {
    if (this.#watchers.size === 0) return;
    const reason = session.revokedAt === undefined ? 'expired' : 'revoked';
    this.tell({ type: 'session.ended', data: { ...sessionEvent(session), reason } });
  }

  /** What was refused since the last time. */
  #summarise(): void {
    const now = new Map(this.#metrics.refusals());
    const more = [...now].flatMap(([reason, n]) => {
      const since = n - (this.#refusals.get(reason) ?? 0);
      return since > 0 ? [[reason, since] as const] : [];
    });
    this.#refusals = now;
    if (more.length === 0) return;
    this.tell({
      type: 'refusals',
      data: { time: new Date().toISOString(), by_reason: Object.fromEntries(more) },
    });
  }
}

function sessionEvent({ session, profile, sub, act, labels }: Session): SessionEvent {
  return { time: new Date().toISOString(), session, profile, sub: sub ?? null, act: act ?? null, labels };
}
