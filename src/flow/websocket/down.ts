import { Refusal } from '../../errors.ts';
import { standsFor } from '../../inject/stands-for.ts';
import { Scrubber } from '../../scrub/index.ts';
import type { Sink } from '../../types.ts';
import { type ControlOpcode, type Kind, TEXT } from '../../wire/websocket/protocol.ts';
import type { Filter } from '../../wire/websocket/relay.ts';
import { Utf8 } from '../../wire/websocket/utf8.ts';
import type { Job } from '../judge.ts';
import type { Rooms } from '../rooms.ts';

/** What an upstream sends, scrubbed message by message; a byte is held only while it may be the start of a secret. */
export class Down implements Filter {
  readonly #rooms: Rooms;
  readonly #job: Job;
  #scrubber: Scrubber;
  /** By scrubbers before this one. */
  #hits = 0;

  constructor(rooms: Rooms, job: Job) {
    this.#rooms = rooms;
    this.#job = job;
    this.#scrubber = this.#current();
  }

  /** Secrets removed so far. */
  get hits(): number {
    return this.#hits + this.#scrubber.hits;
  }

  message(kind: Kind, next: Sink): Sink {
    const scrubber = this.#renewed();
    return scrubber.body(kind === TEXT && !scrubber.patterns.empty ? new Text(next) : next);
  }

  control(_opcode: ControlOpcode, payload: Buffer): Buffer {
    return this.#renewed().whole(payload);
  }

  /** A WebSocket may outlive a secret: each message is searched for those that the gate knows by then. */
  #renewed(): Scrubber {
    const current = this.#current();
    if (current.patterns !== this.#scrubber.patterns) {
      this.#hits += this.#scrubber.hits;
      this.#scrubber = current;
    }
    return this.#scrubber;
  }

  #current(): Scrubber {
    const { profile, session } = this.#job;
    const patterns = this.#rooms.keyring.patterns(profile, session);
    return new Scrubber(patterns, name => standsFor(session, name, this.#rooms.stubs));
  }
}

/** A scrubbed text: where a removal broke a character it must not go on, as no client could read it. */
class Text implements Sink {
  readonly #next: Sink;
  readonly #utf8 = new Utf8();

  constructor(next: Sink) {
    this.#next = next;
  }

  get onDrain(): (() => void) | null {
    return this.#next.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#next.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    if (!this.#utf8.push(chunk)) throw broken();
    return this.#next.write(chunk);
  }

  end(): void {
    if (!this.#utf8.complete) throw broken();
    this.#next.end([]);
  }

  abort(cause: Error): void {
    this.#next.abort(cause);
  }
}

function broken(): Refusal {
  return new Refusal('undecodable_response', { message: 'A text is not UTF-8 once its secrets are removed' });
}
