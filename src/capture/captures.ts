import { setTimeout as delay } from 'node:timers/promises';
import { Refusal } from '../errors.ts';
import { randomBase62 } from '../inject/base62.ts';
import { isAwsShape, parseShape } from '../inject/shape.ts';
import type { StubKey } from '../inject/stub.ts';
import type { Log, Session } from '../types.ts';
import { type CaptureRecord, Held, merged } from './held.ts';

/** What gates keep for each other, sealed. */
export interface CaptureStore {
  /** Undefined if another gate holds it. `fence`: larger than that of every holder before. */
  lock(name: string, ttlMs: number): Promise<{ fence: number; release(): Promise<void> } | undefined>;
  get(name: string): Promise<string | undefined>;
  /** False if it was written under a later fence. */
  put(name: string, text: string, ttlMs: number, fence: number): Promise<boolean>;
}

export interface CapturesOptions {
  readonly stubs: StubKey;
  /** Undefined where there is nobody to share with. */
  readonly store: CaptureStore | undefined;
  readonly log: Log;
  readonly onEnd: (listener: (session: Session) => void) => unknown;
  readonly now?: () => number;
  /** After a session's end, until what it captured is forgotten; 10 s. */
  readonly forgetMs?: number;
}

/** A secret that was handed out, and what the sandbox gets instead. */
export interface Wanted {
  readonly credential: string;
  readonly shape: string;
  readonly value: string;
  readonly ttlMs: number | undefined;
}

/** Its tunnels end within a second, and what still flows in them is searched to the end. */
const FORGET_MS = 10_000;
/** How old what other gates captured may be where no stub of it is expected. */
const FRESH_MS = 1000;
const LOCK_MS = 5000;
const RETRY_MS = 20;
/** Of a session that has ended. */
const GONE_MS = 1;

interface Load {
  /** When it began. */
  readonly at: number;
  /** Undefined: it is over. */
  reading: Promise<void> | undefined;
}

/** Secrets that upstreams handed out to sessions, in memory, and sealed where gates share a store. */
export class Captures {
  readonly #options: CapturesOptions;
  readonly #now: () => number;
  readonly #loads = new WeakMap<Session, Load>();

  constructor(options: CapturesOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    options.onEnd(session => this.#end(session));
  }

  /** Throws `rate_limited`: before a request whose answer could not be captured. */
  requireRoom({ captured }: Session): void {
    if (captured instanceof Held && captured.isFull) throw tooMany();
  }

  /**
   * What other gates captured for the session, if there are others: as it is now, or as it was a second ago. Undefined:
   * nothing to wait for. Rejects with `state_unavailable` if a stub is expected, and none is known.
   */
  load(session: Session, isExpected: boolean): Promise<void> | undefined {
    const { store } = this.#options;
    if (!store) return undefined;
    const last = this.#loads.get(session);
    const isFresh = last !== undefined && this.#now() - last.at < FRESH_MS;
    if (isFresh && !isExpected) return last.reading?.catch(() => {});
    const reading = this.#read(store, session);
    const load: Load = { at: this.#now(), reading };
    this.#loads.set(session, load);
    return reading
      .catch((thrown: unknown) => {
        if (isExpected && !session.captured) throw thrown;
      })
      .finally(() => {
        load.reading = undefined;
      });
  }

  async #read(store: CaptureStore, session: Session): Promise<void> {
    const records = recordsOf(await store.get(nameOf(session)));
    if (records.length > 0) this.#of(session).learn(records);
  }

  /** Registers secrets at once, and gives a stub for each as soon as the other gates can know them, too. */
  async take(session: Session, wanted: readonly Wanted[]): Promise<string[]> {
    const held = this.#of(session);
    const records = wanted.map(one => this.#record(held, one));
    const own = records.filter(record => !held.isShared(record));
    if (own.length > 0) {
      await this.#share(session, before => merged(before, own, this.#now()));
      held.learn(own);
    }
    return records.map(({ stub }) => stub);
  }

  #record(held: Held, { credential, shape, value, ttlMs }: Wanted): CaptureRecord {
    const endsAt = ttlMs === undefined ? undefined : this.#now() + ttlMs;
    const before = held.again(credential, value, endsAt);
    if (before) return before;
    if (held.isBursting) throw tooMany();
    const stub = this.#options.stubs.mint(parseShape(shape));
    const standsAs = isAwsShape(shape) ? this.#options.stubs.accessKeyId(stub) : stub;
    const made = { id: randomBase62(8), credential, stub, standsAs, value };
    const record = { ...made, ...(endsAt !== undefined && { endsAt }) };
    held.add(record);
    return record;
  }

  #of(session: Session): Held {
    if (session.captured instanceof Held) return session.captured;
    const held = new Held(this.#now);
    session.captured = held;
    return held;
  }

  /** One gate at a time: each adds to what the others put there. */
  async #share(
    session: Session,
    change: (before: readonly CaptureRecord[]) => readonly CaptureRecord[],
    ttlMs = session.expiresAt - this.#now(),
  ): Promise<void> {
    const { store } = this.#options;
    if (!store) return;
    const name = nameOf(session);
    const until = this.#now() + LOCK_MS;
    for (;;) {
      const lock = await store.lock(name, LOCK_MS);
      if (lock) {
        try {
          const text = JSON.stringify(change(recordsOf(await store.get(name))));
          if (await store.put(name, text, Math.max(GONE_MS, ttlMs), lock.fence)) return;
        } finally {
          await lock.release();
        }
      }
      if (this.#now() > until) throw new Refusal('state_unavailable');
      await delay(RETRY_MS);
    }
  }

  #end(session: Session): void {
    if (!session.captured) return;
    const { log, forgetMs = FORGET_MS } = this.#options;
    setTimeout(() => {
      session.captured = undefined;
    }, forgetMs).unref();
    this.#share(session, () => [], GONE_MS).catch((cause: unknown) =>
      log.warn('what a session captured stays in Redis, sealed, until the session would have expired', {
        cause,
      }),
    );
  }
}

function tooMany(): Refusal {
  return new Refusal('rate_limited', {
    message: 'This session holds as many captured credentials as it may',
    hint: 'Use those that it was given, or ask your operator for a `ttl` at their capture',
  });
}

const nameOf = ({ session }: Session): string => `captured ${session}`;

function recordsOf(text: string | undefined): readonly CaptureRecord[] {
  return text === undefined ? [] : (JSON.parse(text) as CaptureRecord[]);
}
