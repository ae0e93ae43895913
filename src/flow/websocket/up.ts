import { Buffer } from 'node:buffer';
import { Refusal } from '../../errors.ts';
import { StubCounter } from '../../inject/stub.ts';
import { applyMessage, type MessagePlan, messageInjections, planMessage } from '../../inject/websocket.ts';
import type { Meter } from '../../limits/limiter.ts';
import { Metered } from '../../limits/metered.ts';
import { detector, type Patterns } from '../../scrub/index.ts';
import type { AuditEvent, Sink } from '../../types.ts';
import {
  type ControlOpcode,
  type Kind,
  PING,
  TEXT,
  TOO_BIG,
  Violation,
} from '../../wire/websocket/protocol.ts';
import type { Filter, Origin } from '../../wire/websocket/relay.ts';
import type { Job } from '../judge.ts';
import type { Rooms } from '../rooms.ts';
import { meterOf } from '../spend.ts';

/** Bytes of a text message that is read whole, because a credential may have its place in it. */
const MAX_WHOLE = 1024 * 1024;

/**
 * What a client sends. A real secret ends the WebSocket. Where the rule places credentials in messages, the session's
 * stub is swapped there, and ends it elsewhere; without, stubs are counted and pass, as in a request's body.
 */
export class Up implements Filter {
  readonly #rooms: Rooms;
  readonly #job: Job;
  readonly #injections: ReturnType<typeof messageInjections>;
  readonly #meter: Meter | undefined;
  /** The limit that a control frame has reached, told with what follows it. */
  #over: unknown;
  #counter: StubCounter;
  #counted = 0;

  constructor(rooms: Rooms, job: Job) {
    this.#rooms = rooms;
    this.#job = job;
    this.#injections = messageInjections(job.rule);
    this.#meter = meterOf(rooms.limits, job);
    this.#counter = new StubCounter(rooms.stubs);
  }

  /** Stubs so far. */
  get seen(): number {
    return this.#counted + this.#counter.seen;
  }

  message(kind: Kind, next: Sink, origin: Origin): Sink {
    if (this.#over !== undefined) throw this.#over;
    const judged = this.#judged(kind, next, origin);
    return this.#meter ? new Metered(this.#meter, judged, refusal => origin.fail(refusal), origin) : judged;
  }

  #judged(kind: Kind, next: Sink, origin: Origin): Sink {
    const patterns = this.#patterns();
    const counter = this.#nextCounter();
    if (kind === TEXT && this.#injections.length > 0) {
      return new Whole(counter, text => this.#judge(text, patterns, next, origin));
    }
    const searched = detector(patterns, next, () => {
      throw new Refusal('secret_in_request');
    });
    return new Counted(counter, searched, this.#injections.length > 0);
  }

  control(opcode: ControlOpcode, payload: Buffer): Buffer {
    if (this.#over !== undefined) throw this.#over;
    // So few bytes are not waited for.
    this.#meter?.(payload.length)?.catch((thrown: unknown) => (this.#over = thrown));
    const counter = this.#nextCounter();
    counter.feed(payload);
    if (this.#patterns().find(payload)) throw new Refusal('secret_in_request');
    if (this.#injections.length === 0 || counter.seen === 0) return payload;
    if (opcode === PING) throw new Refusal('stub_misplaced');
    // The answer to a ping, or to a Close, that was scrubbed: it says again what it was told.
    return Buffer.alloc(0);
  }

  /** As the gate knows them now: a WebSocket may outlive a secret. */
  #patterns(): Patterns {
    return this.#rooms.keyring.patterns(this.#job.profile, this.#job.session);
  }

  /** Of the next message, in which nothing goes on that began in the last one. */
  #nextCounter(): StubCounter {
    this.#counted += this.#counter.seen;
    this.#counter = new StubCounter(this.#rooms.stubs);
    return this.#counter;
  }

  #judge(text: Buffer, patterns: Patterns, next: Sink, origin: Origin): void {
    const { keyring, stubs } = this.#rooms;
    if (patterns.find(text)) throw new Refusal('secret_in_request');
    const plan = planMessage(text, this.#injections, this.#job.session, stubs);
    const fetching = keyring.open(
      this.#job.profile,
      plan.steps.map(step => step.injection.credential),
      this.#job.session,
    );
    if (!fetching) return this.#send(plan, text, next);
    origin.pause();
    fetching
      .then(() => {
        this.#send(plan, text, next);
        origin.resume();
      })
      .catch((cause: unknown) => origin.fail(cause));
  }

  #send(plan: MessagePlan, text: Buffer, next: Sink): void {
    const { keyring } = this.#rooms;
    const isSwapped = plan.steps.length > 0;
    next.write(isSwapped ? applyMessage(plan, name => keyring.secret(name, this.#job.session)) : text);
    next.end([]);
    for (const { injection } of plan.steps) this.#note(injection.credential, injection.placement.slot);
  }

  /** Once for each version of a credential, however many messages carry it. */
  #note(credential: string, placement: string): void {
    const { event } = this.#job.entry;
    const version = this.#rooms.keyring.secret(credential, this.#job.session).version ?? null;
    const isNoted = (one: AuditEvent['injected'][number]): boolean =>
      one.credential === credential && one.placement === placement && one.version === version;
    if (!event.injected.some(isNoted))
      event.injected = [...event.injected, { credential, placement, version }];
  }
}

/** A message on its way, while its stubs are counted. */
class Counted implements Sink {
  readonly #counter: StubCounter;
  readonly #next: Sink;
  readonly #isStrict: boolean;

  /** `isStrict`: a stub ends it, before the chunk that completes the stub goes on. */
  constructor(counter: StubCounter, next: Sink, isStrict: boolean) {
    this.#counter = counter;
    this.#next = next;
    this.#isStrict = isStrict;
  }

  get onDrain(): (() => void) | null {
    return this.#next.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#next.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    this.#counter.feed(chunk);
    if (this.#isStrict && this.#counter.seen > 0) throw new Refusal('stub_misplaced');
    return this.#next.write(chunk);
  }

  end(): void {
    this.#next.end([]);
  }

  abort(cause: Error): void {
    this.#next.abort(cause);
  }
}

/** A message that is judged when it is here to its end. */
class Whole implements Sink {
  onDrain: (() => void) | null = null;
  readonly #counter: StubCounter;
  readonly #judge: (text: Buffer) => void;
  #chunks: Buffer[] = [];
  #size = 0;

  constructor(counter: StubCounter, judge: (text: Buffer) => void) {
    this.#counter = counter;
    this.#judge = judge;
  }

  write(chunk: Buffer): boolean {
    this.#size += chunk.length;
    if (this.#size > MAX_WHOLE) {
      const message = `A text of more than ${MAX_WHOLE} bytes, where a rule places credentials in texts`;
      throw new Violation(TOO_BIG, message);
    }
    this.#counter.feed(chunk);
    this.#chunks.push(chunk);
    return true;
  }

  end(): void {
    this.#judge(Buffer.concat(this.#chunks));
  }

  abort(): void {
    this.#chunks = [];
  }
}
