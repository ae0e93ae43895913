import type { AuditLog } from '../audit/log.ts';
import type { Metrics } from '../audit/metrics.ts';
import type { Profile } from '../config/types.ts';
import type { StubKey } from '../inject/stub.ts';
import type { Reason } from '../errors.ts';
import type { Limiter } from '../limits/limiter.ts';
import type { AuditEvent, Log, Session } from '../types.ts';
import type { Upstream } from '../upstream/pool.ts';
import type { Captures } from '../capture/captures.ts';
import type { Keyring } from './keyring.ts';

/** The rooms that a request walks through. Replaced whole on reload; a request reads them once. */
export interface Rooms {
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly keyring: Keyring;
  readonly stubs: StubKey;
  readonly captures: Captures;
  /** Of a credential's stubs. */
  readonly shapeOf: (credential: string) => string;
  readonly upstream: Upstream;
  readonly audit: AuditLog;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Undefined: neither a profile nor a credential has any. */
  readonly limits: Limiter | undefined;
  /** Tells everybody who must hear of it. Never waits, never throws. */
  readonly alarm: (code: Reason, event: AuditEvent, session: Session | null) => void;
}
