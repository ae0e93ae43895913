import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import { asRefusal, type Reason, Refusal } from '../../errors.ts';
import type { Sink } from '../../types.ts';
import type { Valve } from '../body.ts';
import type { Carrier, Switched } from '../message.ts';
import type { WireLimits } from '../limits.ts';
import { Endpoint, type EndpointHandlers, type OutgoingMessage } from './endpoint.ts';
import {
  CLOSE,
  type ControlOpcode,
  GOING_AWAY,
  INTERNAL_ERROR,
  type Kind,
  MAX_CONTROL,
  POLICY_VIOLATION,
  TOO_BIG,
  Violation,
} from './protocol.ts';

/** Where messages come from, as their stages see it. */
export interface Origin extends Valve {
  /** Ends the WebSocket, as if the stage had thrown. */
  fail(thrown: unknown): void;
}

/** What is done with all that goes one way. Whatever it throws ends the WebSocket; a Refusal is told to the client. */
export interface Filter {
  /** The stage that a message goes through on its way to `next`. */
  message(kind: Kind, next: Sink, origin: Origin): Sink;
  /** The payload of a ping or pong, or the reason of a Close, as it goes on; cut to what a control frame may hold. */
  control(opcode: ControlOpcode, payload: Buffer): Buffer;
}

/** How long a peer may take to answer a Close, and to end its connection, ms. */
const CLOSE_MS = 5000;

/** A WebSocket between a client and an upstream, message by message. */
export class Relay implements Switched {
  /** Why the gate ended it; null: it did not. */
  failure: Refusal | null = null;
  readonly #client: Endpoint;
  readonly #upstream: Endpoint;
  #onEnd: () => void = () => {};
  /** performance.now() when it began to end; null: it is open. */
  #closingAt: number | null = null;
  #deadline: NodeJS.Timeout | undefined;
  #moved = -1;
  #movedAt = 0;

  /** The sockets are paused. `up`: from the client to the upstream. */
  constructor(client: Carrier, upstream: Carrier, up: Filter, down: Filter) {
    const fromClient = new Way(this, up);
    const fromUpstream = new Way(this, down);
    this.#client = new Endpoint(client, 'client', fromClient);
    this.#upstream = new Endpoint(upstream, 'server', fromUpstream);
    fromClient.connect(this.#client, this.#upstream);
    fromUpstream.connect(this.#upstream, this.#client);
  }

  /** Bytes that came behind each head are read first. `onEnd`: the client's connection is over; called once. */
  start(clientEarly: Buffer, upstreamEarly: Buffer, onEnd: () => void): void {
    this.#onEnd = onEnd;
    this.#client.start(clientEarly);
    this.#upstream.start(upstreamEarly);
  }

  /** Wire bytes from the client. */
  get bytesIn(): number {
    return this.#client.bytesIn;
  }

  /** Wire bytes to the client. */
  get bytesOut(): number {
    return this.#client.bytesOut;
  }

  sweep(now: number, { idleMs, bodyIdleMs }: WireLimits): void {
    const ends = [this.#client, this.#upstream].filter(end => !end.hasEnded);
    const isSending = ends.some(({ socket }) => socket.writableLength > 0);
    // Once it ends, only what leaves counts: a peer that goes on sending does not keep it.
    const moved = ends.reduce((sum, end) => sum + progress(end, this.#closingAt !== null), 0);
    if (moved !== this.#moved) {
      this.#moved = moved;
      this.#movedAt = now;
    }
    const still = now - this.#movedAt;
    if (this.#closingAt === null) {
      if (isSending && still > bodyIdleMs) this.destroy();
      else if (still > idleMs) this.#close(GOING_AWAY, 'idle');
    } else if (now - this.#closingAt > CLOSE_MS && (!isSending || still > CLOSE_MS)) {
      this.destroy();
    }
  }

  drain(): void {
    this.#close(GOING_AWAY, 'the gate is shutting down');
  }

  destroy(): void {
    this.#client.destroy();
    this.#upstream.destroy();
  }

  /** Tells both peers, and waits for what they say to that. */
  #close(code: number, reason: string): void {
    for (const end of [this.#client, this.#upstream]) tell(end, code, reason);
    this.passed();
  }

  // ---- what the two ways tell ----------------------------------------------------------------------------------

  /** A Close went to one end, or came from one: a connection with both is over (RFC 6455, section 7.1.1). */
  passed(): void {
    this.#closingAt ??= performance.now();
    for (const end of [this.#client, this.#upstream]) if (end.closed && !end.hasEnded) end.finish();
  }

  /** `from` sent what may not pass: both are told to go, and neither is heard any more. */
  failed(from: Endpoint, thrown: unknown): void {
    if (this.failure) return;
    const isClient = from === this.#client;
    const violated = thrown instanceof Violation ? thrown : null;
    this.failure = violated
      ? new Refusal(isClient ? faultOf(violated) : 'upstream_malformed', { message: violated.message })
      : asRefusal(thrown);
    const code = violated?.code ?? (this.failure.status < 500 ? POLICY_VIOLATION : INTERNAL_ERROR);
    tell(this.#client, isClient ? code : INTERNAL_ERROR, `${this.failure.code}: ${this.failure.message}`);
    tell(this.#upstream, violated && !isClient ? code : GOING_AWAY, '');
    this.#closingAt ??= performance.now();
    this.#client.finish();
    this.#upstream.finish();
  }

  /** The connection to `end` is over. */
  ended(end: Endpoint): void {
    const isClient = end === this.#client;
    const other = isClient ? this.#upstream : this.#client;
    this.#closingAt ??= performance.now();
    end.socket.destroySoon();
    // Without its Close the other peer, too, sees a connection that just ends (RFC 6455, section 7.1.5).
    if (!end.closed && !other.hasEnded) other.finish();
    if (other.hasEnded) clearTimeout(this.#deadline);
    // With the client, whoever calls `sweep` is gone.
    else if (isClient) this.#deadline = setTimeout(() => this.destroy(), CLOSE_MS).unref();
    if (isClient) this.#onEnd();
  }
}

function faultOf({ code }: Violation): Reason {
  return code === TOO_BIG ? 'body_too_large' : 'malformed_request';
}

function tell(end: Endpoint, code: number, reason: string): void {
  if (!end.closeSent) end.control(CLOSE, closePayload(code, reason));
}

/** All that goes one way. */
class Way implements EndpointHandlers {
  readonly #relay: Relay;
  readonly #filter: Filter;
  #from!: Endpoint;
  #to!: Endpoint;
  #message: OutgoingMessage | null = null;

  constructor(relay: Relay, filter: Filter) {
    this.#relay = relay;
    this.#filter = filter;
  }

  connect(from: Endpoint, to: Endpoint): void {
    this.#from = from;
    this.#to = to;
    to.onDrain = this.#onDrain;
  }

  readonly #onDrain = (): void => this.#from.drained();

  message(kind: Kind): Sink {
    this.#message = this.#to.message(kind);
    const stage = this.#filter.message(kind, this.#message, this.#from);
    stage.onDrain = this.#onDrain;
    return stage;
  }

  control(opcode: ControlOpcode, payload: Buffer): void {
    this.flush();
    if (opcode !== CLOSE) return this.#to.control(opcode, fitting(this.#filter.control(opcode, payload)));
    this.#from.closeReceived = true;
    if (!this.#to.closeSent) this.#to.control(CLOSE, this.#closing(payload));
    this.#relay.passed();
  }

  /** A Close with its code as it is. */
  #closing(payload: Buffer): Buffer {
    if (payload.length <= 2) return payload;
    const reason = this.#filter.control(CLOSE, payload.subarray(2));
    return fitting(Buffer.concat([payload.subarray(0, 2), reason]));
  }

  ready(): boolean {
    return !this.#to.full;
  }

  flush(): void {
    this.#message?.flush();
  }

  failed(error: unknown): void {
    this.#relay.failed(this.#from, error);
  }

  ended(): void {
    this.#relay.ended(this.#from);
  }
}

/** Bytes that moved; with `outOnly` those that left. */
function progress({ socket }: Endpoint, outOnly: boolean): number {
  const left = socket.bytesWritten - socket.writableLength;
  return outOnly ? left : left + socket.bytesRead;
}

/** RFC 6455, section 5.5.1 */
function closePayload(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code, 0);
  payload.write(reason, 2);
  return fitting(payload);
}

/** At most as many bytes as a control frame may hold, cut between characters. */
function fitting(payload: Buffer): Buffer {
  if (payload.length <= MAX_CONTROL) return payload;
  let end = MAX_CONTROL;
  while (end > 0 && ((payload[end] as number) & 0xc0) === 0x80) end--;
  return payload.subarray(0, end);
}
