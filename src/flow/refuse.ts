import { Buffer } from 'node:buffer';
import type { Reason, Refusal } from '../errors.ts';
import { STATUS_CODES } from '../http.ts';
import type { RawHeaders } from '../types.ts';
import type { Exchange } from '../wire/server.ts';
import type { Entry } from './entry.ts';
import type { Rooms } from './rooms.ts';

/** Somebody tries to carry a secret out, or believes to. */
export const ALARMS: ReadonlySet<Reason> = new Set(['stub_misplaced', 'secret_in_request']);

/** Tells the operator, and the other gates. `rooms` of the request. */
export function raiseAlarm(
  { log, alarm }: Pick<Rooms, 'log' | 'alarm'>,
  code: Reason,
  { event, session }: Entry,
): void {
  log.warn('alarm', { code, session: event.session, host: event.host });
  alarm(code, event, session);
}

const CHALLENGE: RawHeaders = ['proxy-authenticate', 'Basic realm="stubgate"'];

/** Answers with a refusal that the client can read (contract, section 3). Nothing may have been sent before. */
export function refuse(x: Exchange, refusal: Refusal, requestId: string): void {
  const { status, code, retryAfter } = refusal;
  const body = Buffer.from(refusal.body(requestId));
  const headers = [
    'content-type',
    'application/json',
    'stubgate-reason',
    code,
    'cache-control',
    'no-store',
    ...(status === 407 ? CHALLENGE : []),
    ...(retryAfter === undefined ? [] : ['retry-after', String(retryAfter)]),
  ];
  const sink = x.respond({ status, reason: STATUS_CODES[status] ?? '', headers, length: body.length });
  sink.write(body);
  sink.end([]);
}

/** Bytes of that answer's body, for the audit line that is written before it. */
export function refusalLength(refusal: Refusal, requestId: string): number {
  return Buffer.byteLength(refusal.body(requestId));
}
