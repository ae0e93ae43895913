import type { AuditEvent } from '../types.ts';

/** Characters of a field that the sandbox chooses. */
const FIELD_LIMIT = 2048;

/** ASCII that JSON needs no escape for. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/**
 * The event as one line of JSON without its newline, in pure ASCII, fields in the contract's order. Assembled from few
 * large pieces, most of which the session's last line had as well: JSON.stringify takes a tenth of a small request.
 */
export function toLine(event: AuditEvent, prev: string): string {
  const last = lastOf(event);
  return (
    `${begun(event)}${event.request_id}${asked(event, last)}${answered(event, last)}${event.bytes_in},` +
    `"bytes_out":${event.bytes_out},"duration_ms":${milliseconds(event.duration_ms)},` +
    `"ttfb_ms":${milliseconds(event.ttfb_ms)},"trace_id":${quoted(event.trace_id)},` +
    `${event.captured ? capturedJson(event.captured) : ''}"prev":"${prev}"}`
  );
}

let lastTime = '';
let lastBegun = '';

/** Many requests begin in the same millisecond. */
function begun({ time }: AuditEvent): string {
  if (time !== lastTime) {
    lastTime = time;
    lastBegun = `{"time":"${time}","request_id":"`;
  }
  return lastBegun;
}

/** Two pieces of a session's last line, and the event that they were made for. */
interface Last {
  asked: AuditEvent | undefined;
  askedJson: string;
  answered: AuditEvent | undefined;
  answeredJson: string;
}

/** Sessions whose pieces are kept: an ended session is remembered for an hour, and they are most of what it would take. */
const MAX_LASTS = 1000;
/** A session's labels are one object as long as it lives. */
const lasts = new WeakMap<AuditEvent['labels'], Last>();
/** Those whose pieces are kept, as a ring. */
const kept: AuditEvent['labels'][] = [];
let oldest = 0;

function lastOf({ labels }: AuditEvent): Last {
  return lasts.get(labels) ?? keep(labels);
}

function keep(labels: AuditEvent['labels']): Last {
  const left = kept[oldest];
  if (left) lasts.delete(left);
  kept[oldest] = labels;
  oldest = (oldest + 1) % MAX_LASTS;
  const last: Last = { asked: undefined, askedJson: '', answered: undefined, answeredJson: '' };
  lasts.set(labels, last);
  return last;
}

function asked(event: AuditEvent, last: Last): string {
  if (last.asked && asksAlike(event, last.asked)) return last.askedJson;
  last.asked = event;
  last.askedJson =
    `","session":${quoted(event.session)},"sub":${quoted(event.sub)},"act":${quoted(event.act)},` +
    `"labels":${toAscii(JSON.stringify(event.labels))},"rule":${quoted(event.rule)},` +
    `"verdict":"${event.verdict}","reason":${quoted(event.reason)},"scheme":${quoted(event.scheme)},` +
    `"host":${quoted(event.host)},"port":${event.port},"method":${quoted(event.method)},` +
    `"path":${quoted(event.path)},`;
  return last.askedJson;
}

function asksAlike(a: AuditEvent, b: AuditEvent): boolean {
  return (
    a.session === b.session &&
    a.sub === b.sub &&
    a.act === b.act &&
    a.rule === b.rule &&
    a.verdict === b.verdict &&
    a.reason === b.reason &&
    a.scheme === b.scheme &&
    a.host === b.host &&
    a.port === b.port &&
    a.method === b.method &&
    a.path === b.path
  );
}

function answered(event: AuditEvent, last: Last): string {
  if (last.answered && answersAlike(event, last.answered)) return last.answeredJson;
  const injected = event.injected.map(
    ({ credential, placement, version, stale }) =>
      `{"credential":${quoted(credential)},"placement":${quoted(placement)},"version":${quoted(version)}${stale ? ',"stale":true' : ''}}`,
  );
  last.answered = event;
  last.answeredJson = `"status":${event.status},"injected":[${injected.join()}],"scrubbed":${event.scrubbed},"stubs_seen":${event.stubs_seen},"bytes_in":`;
  return last.answeredJson;
}

function answersAlike(a: AuditEvent, b: AuditEvent): boolean {
  const isSame =
    a.status === b.status &&
    a.scrubbed === b.scrubbed &&
    a.stubs_seen === b.stubs_seen &&
    a.injected.length === b.injected.length;
  return isSame && a.injected.every((one, i) => isAlike(one, b.injected[i]));
}

function capturedJson(captured: NonNullable<AuditEvent['captured']>): string {
  const all = captured.map(({ credential, at }) => `{"credential":${quoted(credential)},"at":${quoted(at)}}`);
  return `"captured":[${all.join()}],`;
}

type Injected = AuditEvent['injected'][number];

function isAlike(a: Injected, b: Injected | undefined): boolean {
  return (
    a.credential === b?.credential &&
    a.placement === b.placement &&
    a.version === b.version &&
    a.stale === b.stale
  );
}

function quoted(value: string | null): string {
  if (value === null) return 'null';
  const text = value.length > FIELD_LIMIT ? `${value.slice(0, FIELD_LIMIT)}…` : value;
  return PLAIN.test(text) ? `"${text}"` : toAscii(JSON.stringify(text));
}

const THOUSANDTHS = Array.from({ length: 1000 }, (_, n) => (n === 0 ? '' : `.${`${n}`.padStart(3, '0')}`));

/** To three places; a fraction is slow to print, two integers are not. */
function milliseconds(duration: number | null): string {
  if (duration === null) return 'null';
  const micros = Math.round(duration * 1000);
  const whole = Math.floor(micros / 1000);
  return `${whole}${THOUSANDTHS[micros - whole * 1000]}`;
}

/** JSON in which no character can move a terminal's cursor or be read in another direction. */
const toAscii = (json: string): string =>
  json.replace(/[^\x20-\x7e]/g, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
