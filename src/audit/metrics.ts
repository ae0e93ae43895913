import type { Reason } from '../errors.ts';
import type { AuditEvent } from '../types.ts';
import { addAll } from './tally.ts';

/** What one session did. */
export type Usage = {
  allowed: number;
  denied: number;
  /** Credentials put on the wire. */
  injected: number;
  /** Secrets removed from responses. */
  scrubbed: number;
};

/** Values that are read when they are asked for. */
export interface Gauges {
  tunnels: number;
  sessions: number;
  stateUp: boolean;
  auditHealthy: boolean;
  auditLost: number;
}

/** All that a process counted, for another one to add up. */
export interface Counts {
  readonly requests: ReadonlyMap<string, Map<string, number>>;
  readonly fetches: ReadonlyMap<string, { done: number; failed: number }>;
  readonly stale: ReadonlyMap<string, number>;
  readonly usage: ReadonlyMap<string, Usage>;
  readonly durations: readonly number[];
  readonly limited: ReadonlyMap<string, number>;
  readonly alarms: ReadonlyMap<Reason, number>;
  readonly deliveries: ReadonlyMap<string, number>;
  readonly seconds: number;
  readonly injected: number;
  readonly captured: number;
  readonly scrubbed: number;
  readonly stubsSeen: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Upper bounds, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const;
/** Sessions of which the usage is kept; the oldest go first. */
const SESSION_LIMIT = 10_000;

/** The gate's counters: one `observe` per audit event. Label values come from tables and the configuration only. */
export class Metrics {
  readonly #startedAt: number;
  /** verdict → reason, or the empty text → count */
  readonly #requests = new Map<string, Map<string, number>>();
  /** vault → fetches that gave a secret, and that did not */
  readonly #fetches = new Map<string, { done: number; failed: number }>();
  /** credential → uses of a value whose time is over */
  readonly #stale = new Map<string, number>();
  readonly #usage = new Map<string, Usage>();
  readonly #durations = Array.from({ length: BUCKETS.length + 1 }, () => 0);
  /** limit → requests that it refused */
  readonly #limited = new Map<string, number>();
  readonly #alarms = new Map<Reason, number>();
  /** what became of it → alarms for the webhook */
  readonly #deliveries = new Map<string, number>();
  #seconds = 0;
  #injected = 0;
  #captured = 0;
  #scrubbed = 0;
  #stubsSeen = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  /** `startedAt`: of the gate, ms since the epoch. */
  constructor(startedAt = Date.now()) {
    this.#startedAt = startedAt;
  }

  observe(event: AuditEvent): void {
    let reasons = this.#requests.get(event.verdict);
    if (!reasons) this.#requests.set(event.verdict, (reasons = new Map()));
    const reason = event.reason ?? '';
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    const seconds = event.duration_ms / 1000;
    let bucket = 0;
    while (bucket < BUCKETS.length && seconds > (BUCKETS[bucket] as number)) bucket++;
    this.#durations[bucket] = (this.#durations[bucket] as number) + 1;
    this.#seconds += seconds;
    this.#injected += event.injected.length;
    for (const { credential, stale } of event.injected)
      if (stale) this.#stale.set(credential, (this.#stale.get(credential) ?? 0) + 1);
    this.#captured += event.captured?.length ?? 0;
    this.#scrubbed += event.scrubbed;
    this.#stubsSeen += event.stubs_seen;
    this.#bytesIn += event.bytes_in;
    this.#bytesOut += event.bytes_out;
    if (event.session !== null) this.#observeSession(event.session, event);
  }

  /** A credential was asked of a vault. */
  fetched(vault: string, done: boolean): void {
    let fetches = this.#fetches.get(vault);
    if (!fetches) this.#fetches.set(vault, (fetches = { done: 0, failed: 0 }));
    if (done) fetches.done++;
    else fetches.failed++;
  }

  /** `limit`: such as session.requests */
  limited(limit: string): void {
    add(this.#limited, limit);
  }

  alarmed(code: Reason): void {
    add(this.#alarms, code);
  }

  /** An alarm was delivered to the webhook, or was not. */
  delivered(result: string): void {
    add(this.#deliveries, result);
  }

  /** So far; it goes on changing. */
  counts(): Counts {
    return {
      requests: this.#requests,
      fetches: this.#fetches,
      stale: this.#stale,
      usage: this.#usage,
      durations: this.#durations,
      limited: this.#limited,
      alarms: this.#alarms,
      deliveries: this.#deliveries,
      seconds: this.#seconds,
      injected: this.#injected,
      captured: this.#captured,
      scrubbed: this.#scrubbed,
      stubsSeen: this.#stubsSeen,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }

  /** What another process counted; its counts must not change any more. */
  add(counts: Counts): void {
    addAll(this.#requests, counts.requests);
    addAll(this.#fetches, counts.fetches);
    addAll(this.#stale, counts.stale);
    addAll(this.#usage, counts.usage);
    addAll(this.#limited, counts.limited);
    addAll(this.#alarms, counts.alarms);
    addAll(this.#deliveries, counts.deliveries);
    for (const [i, n] of counts.durations.entries()) this.#durations[i] = (this.#durations[i] ?? 0) + n;
    this.#seconds += counts.seconds;
    this.#injected += counts.injected;
    this.#captured += counts.captured;
    this.#scrubbed += counts.scrubbed;
    this.#stubsSeen += counts.stubsSeen;
    this.#bytesIn += counts.bytesIn;
    this.#bytesOut += counts.bytesOut;
  }

  /** Refusals so far, by reason. */
  refusals(): ReadonlyMap<string, number> {
    return this.#requests.get('deny') ?? new Map<string, number>();
  }

  usage(session: string): Readonly<Usage> {
    return this.#usage.get(session) ?? { allowed: 0, denied: 0, injected: 0, scrubbed: 0 };
  }

  /** Prometheus text format, version 0.0.4. */
  text(gauges: Gauges): string {
    const requests = [...this.#requests].flatMap(([verdict, reasons]) =>
      [...reasons].map(([reason, n]): Sample => [`{verdict="${verdict}",reason="${reason}"}`, n]),
    );
    const fetches = [...this.#fetches].flatMap(([vault, n]): Sample[] => [
      [`{vault="${vault}",result="done"}`, n.done],
      [`{vault="${vault}",result="failed"}`, n.failed],
    ]);
    return [
      family('stubgate_requests_total', 'counter', 'Requests and refused tunnels', requests),
      this.#histogram(),
      family('stubgate_tunnels_open', 'gauge', 'Tunnels open now', [['', gauges.tunnels]]),
      family('stubgate_sessions', 'gauge', 'Sessions alive', [['', gauges.sessions]]),
      family('stubgate_state_up', 'gauge', '1 if sessions can be checked', [['', Number(gauges.stateUp)]]),
      family('stubgate_injected_total', 'counter', 'Credentials put on the wire', [['', this.#injected]]),
      family('stubgate_captured_total', 'counter', 'Secrets captured from responses', [['', this.#captured]]),
      family('stubgate_scrubbed_total', 'counter', 'Secrets removed from responses', [['', this.#scrubbed]]),
      family('stubgate_stubs_seen_total', 'counter', 'Stubs seen in requests', [['', this.#stubsSeen]]),
      family('stubgate_request_bytes_total', 'counter', 'Bytes from sandboxes', [['', this.#bytesIn]]),
      family('stubgate_response_bytes_total', 'counter', 'Bytes to sandboxes', [['', this.#bytesOut]]),
      family('stubgate_vault_fetches_total', 'counter', 'Credentials asked of a vault', fetches),
      family(
        'stubgate_stale_injected_total',
        'counter',
        'Credentials put on the wire beyond their ttl (stale_for)',
        [...this.#stale].map(([credential, n]): Sample => [`{credential="${credential}"}`, n]),
      ),
      family('stubgate_limited_total', 'counter', 'Refused for a limit', samples('limit', this.#limited)),
      family(
        'stubgate_alarms_total',
        'counter',
        'Stubs and secrets in wrong places',
        samples('code', this.#alarms),
      ),
      family(
        'stubgate_alarm_deliveries_total',
        'counter',
        'Alarms for the webhook, those of one session and code as one',
        samples('result', this.#deliveries),
      ),
      family('stubgate_audit_healthy', 'gauge', '1 if the audit can be written', [
        ['', Number(gauges.auditHealthy)],
      ]),
      family('stubgate_audit_lost_total', 'counter', 'Audit events given up', [['', gauges.auditLost]]),
      family('stubgate_start_time_seconds', 'gauge', 'Unix time of the start', [
        ['', this.#startedAt / 1000],
      ]),
    ].join('');
  }

  #observeSession(session: string, event: AuditEvent): void {
    let usage = this.#usage.get(session);
    if (!usage) {
      this.#usage.set(session, (usage = { allowed: 0, denied: 0, injected: 0, scrubbed: 0 }));
      if (this.#usage.size > SESSION_LIMIT) this.#usage.delete(this.#usage.keys().next().value as string);
    }
    if (event.verdict === 'deny') usage.denied++;
    else usage.allowed++;
    usage.injected += event.injected.length;
    usage.scrubbed += event.scrubbed;
  }

  #histogram(): string {
    let count = 0;
    const samples = this.#durations.map((n, i): Sample => {
      count += n;
      return [`_bucket{le="${BUCKETS[i] ?? '+Inf'}"}`, count];
    });
    samples.push(['_sum', this.#seconds], ['_count', count]);
    return family('stubgate_request_duration_seconds', 'histogram', 'Time to the last byte', samples);
  }
}

/** What follows the family's name, and the value. */
type Sample = [suffix: string, value: number];

function family(name: string, type: string, help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([suffix, value]) => `${name}${suffix} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function samples(label: string, counts: ReadonlyMap<string, number>): Sample[] {
  return [...counts].map(([value, n]) => [`{${label}="${value}"}`, n]);
}
