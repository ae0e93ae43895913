import { Refusal } from '../errors.ts';
import type { Log, Session } from '../types.ts';

/** Where a limit holds, and which one: for the metric, from a table. */
export interface LimitName {
  readonly scope: 'session' | 'profile' | 'credential';
  readonly kind: 'requests_per_second' | 'requests' | 'bytes_out' | 'tunnels';
  /** Of the profile, or the credential. */
  readonly name: string;
}

/** The same limit is logged at most so often, ms: a sandbox must not fill the log. */
const LOG_MS = 1000;
const MAX_LOGGED = 1000;

const WHAT = {
  requests_per_second: 'requests per second',
  requests: 'requests',
  bytes_out: 'bytes that are sent',
  tunnels: 'open tunnels',
} as const;
const OF = {
  session: 'this session',
  profile: 'all sessions of this profile together',
  credential: 'a credential that this request needs',
} as const;

/** Counts and logs what is refused for a limit. */
export class Refused {
  readonly #log: Log;
  readonly #count: (limit: string) => void;
  readonly #logged = new Map<string, { readonly at: number; more: number }>();

  /** `count`: for the metric. */
  constructor(log: Log, count: (limit: string) => void) {
    this.#log = log;
    this.#count = count;
  }

  /** `waitMs`: until it may be tried again; Infinity: not within the session's life. */
  refusal(limit: LimitName, { session, expiresAt }: Session, waitMs: number): Refusal {
    const { scope, kind, name } = limit;
    this.#count(`${scope}.${kind}`);
    this.#tell(`${scope}.${kind}`, name, session);
    const isFinal = waitMs === Number.POSITIVE_INFINITY;
    return new Refusal('rate_limited', {
      message: `The limit on ${WHAT[kind]} of ${OF[scope]} is reached`,
      ...(isFinal && { hint: 'It is not for waiting: do with less, or ask your operator' }),
      retryAfterMs: isFinal ? expiresAt - Date.now() : waitMs,
    });
  }

  #tell(limit: string, name: string, session: string): void {
    const key = `${limit} ${name} ${session}`;
    const now = Date.now();
    const last = this.#logged.get(key);
    if (last && now - last.at < LOG_MS) {
      last.more++;
      return;
    }
    this.#logged.delete(key);
    this.#logged.set(key, { at: now, more: 0 });
    const [oldest] = this.#logged.keys();
    if (this.#logged.size > MAX_LOGGED) this.#logged.delete(oldest as string);
    this.#log.warn('a limit is reached', { limit, name, session, ...(last?.more && { before: last.more }) });
  }
}
