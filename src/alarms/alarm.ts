import type { Reason } from '../errors.ts';
import type { AuditEvent, Session } from '../types.ts';

/** A misplaced stub, or a real secret in a request: what is told of it. Neither of the two stands in it. */
export interface Alarm {
  /** RFC 3339, of the first one. */
  readonly time: string;
  readonly code: Reason;
  readonly session: string | null;
  readonly profile: string | null;
  readonly sub: string | null;
  readonly act: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly host: string | null;
  readonly rule: string | null;
  readonly request_id: string;
  /** The session is ended for it. */
  readonly revoked: boolean;
}

export function alarmOf(code: Reason, event: AuditEvent, session: Session | null, revoked: boolean): Alarm {
  const { time, session: id, sub, act, labels, host, rule, request_id } = event;
  const profile = session?.profile ?? null;
  return { time, code, session: id, profile, sub, act, labels, host, rule, request_id, revoked };
}
