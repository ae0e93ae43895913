import { performance } from 'node:perf_hooks';
import { randomUUID } from 'node:crypto';
import type { AuditLog } from '../audit/log.ts';
import type { Metrics } from '../audit/metrics.ts';
import type { Reason, Refusal } from '../errors.ts';
import type { AuditEvent, RequestHead, Rule, Session, StubCount } from '../types.ts';
import { get } from '../fields.ts';
import type { Channel } from './target.ts';

/** Refusals of requests that hold a stub or a secret somewhere: the path may be the place. */
const TOUCHES_SECRETS: ReadonlySet<Reason> = new Set([
  'stub_misplaced',
  'secret_in_request',
  'foreign_credential',
]);
const NO_LABELS = {};
const WITHHELD = '[withheld]';
/** W3C Trace Context, section 3.2.2: version, trace id, parent id, flags. */
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/;

/**
 * The one audit event of a request, opened before the first possible return and written once, before or with the
 * last byte of the answer.
 */
export class Entry {
  readonly event: AuditEvent;
  /** Counts the stubs in the request's body. */
  body: { readonly seen: number } | null = null;
  /** Who asks, once that is known. */
  session: Session | null = null;
  readonly #startedAt: number;
  readonly #audit: AuditLog;
  readonly #metrics: Metrics;
  #written = false;

  /** `startedAt`: performance.now() when the request's head was complete. */
  constructor(audit: AuditLog, metrics: Metrics, startedAt: number) {
    this.#audit = audit;
    this.#metrics = metrics;
    this.#startedAt = startedAt;
    this.event = {
      time: timestamp(Date.now()),
      request_id: randomUUID(),
      session: null,
      sub: null,
      act: null,
      labels: NO_LABELS,
      rule: null,
      verdict: 'deny',
      reason: null,
      scheme: null,
      host: null,
      port: null,
      method: null,
      path: null,
      status: 0,
      injected: [],
      scrubbed: 0,
      stubs_seen: 0,
      bytes_in: 0,
      bytes_out: 0,
      duration_ms: 0,
      ttfb_ms: null,
      trace_id: null,
    };
  }

  get written(): boolean {
    return this.#written;
  }

  /** Who asks, and for what, as far as it is known. `originForm` is the target without scheme and authority. */
  asks(head: RequestHead, channel: Partial<Channel>, originForm: string): void {
    const { event } = this;
    if (channel.session) this.#by(channel.session);
    event.scheme = channel.scheme ?? null;
    event.host = channel.host ?? null;
    event.port = channel.port ?? null;
    event.method = head.method;
    event.path = originForm === '' ? null : withoutQuery(originForm);
    event.trace_id = traceId(get(head.headers, 'traceparent'));
  }

  #by(session: Session): void {
    this.session = session;
    this.event.session = session.session;
    this.event.sub = session.sub ?? null;
    this.event.act = session.act ?? null;
    this.event.labels = session.labels;
  }

  deny({ code, status }: Refusal): void {
    this.event.verdict = 'deny';
    this.event.reason = code;
    this.event.status = status;
    if (TOUCHES_SECRETS.has(code)) this.withhold();
  }

  /** Blanks the places in the path where a credential may stand. */
  redact({ injections }: Rule, stubs: StubCount): void {
    for (const { placement } of injections) {
      if (placement.redact && this.event.path !== null)
        this.event.path = placement.redact(this.event.path, stubs);
    }
  }

  /** Leaves out what the sandbox chose the text of. */
  withhold(): void {
    this.event.path = WITHHELD;
    this.event.trace_id = null;
  }

  firstByte(): void {
    this.event.ttfb_ms = milliseconds(performance.now() - this.#startedAt);
  }

  /** Writes the line; throws `audit_unavailable` if it cannot. A second call does nothing. */
  write(bytesIn: number, bytesOut: number): void {
    if (this.#written) return;
    this.#written = true;
    this.event.stubs_seen += this.body?.seen ?? 0;
    this.event.bytes_in = bytesIn;
    this.event.bytes_out = bytesOut;
    this.event.duration_ms = milliseconds(performance.now() - this.#startedAt);
    this.#metrics.observe(this.event);
    this.#audit.write(this.event);
  }
}

let lastMs = 0;
let lastText = '';

/** RFC 3339. Many requests begin in the same millisecond. */
function timestamp(ms: number): string {
  if (ms !== lastMs) {
    lastMs = ms;
    lastText = new Date(ms).toISOString();
  }
  return lastText;
}

function milliseconds(duration: number): number {
  return Math.round(duration * 1000) / 1000;
}

function withoutQuery(originForm: string): string {
  const mark = originForm.indexOf('?');
  return mark < 0 ? originForm : originForm.slice(0, mark);
}

function traceId(traceparent: string | undefined): string | null {
  return (traceparent && TRACEPARENT.exec(traceparent)?.[1]) || null;
}
