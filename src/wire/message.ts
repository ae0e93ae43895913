import type { Duplex } from 'node:stream';
import type { Refusal } from '../errors.ts';
import type { FieldSource, RawHeaders, RequestHead, Sink, Source } from '../types.ts';
import type { WireLimits } from './limits.ts';

export interface Answer {
  readonly status: number;
  readonly reason: string;
  /** Without framing and hop-by-hop fields: the exchange writes those. */
  readonly headers: RawHeaders;
  /** The head that the fields are from, if they are. */
  readonly source?: FieldSource | undefined;
  /** Body bytes; undefined: not known beforehand. */
  readonly length: number | undefined;
  /** Closes the connection after the answer. */
  readonly close?: boolean;
}

/** What another protocol than HTTP is carried by: a socket, or one stream of HTTP/2 (h2/carrier.ts). */
export interface Carrier extends Duplex {
  /** Bytes in, and bytes handed over to be sent, those that still wait included. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Ends behind what was written, and is gone then. */
  destroySoon(): void;
}

/** A protocol that a connection, or a stream, was switched to. Times: performance.now(). */
export interface Switched {
  /** Enforces the time limits; called about twice a second. */
  sweep(now: number, limits: WireLimits): void;
  /** Ends in good order. */
  drain(): void;
  destroy(): void;
}

/** One request of a client and its answer, in whatever version of HTTP. */
export interface Exchange {
  readonly head: RequestHead;
  readonly isHttp2: boolean;
  readonly body: Source;
  /** performance.now() when the head was complete. */
  readonly startedAt: number;
  /** Wire bytes of the request so far, head included. */
  readonly bytesIn: number;
  /** Wire bytes of the answer so far, interim answers included. */
  readonly bytesOut: number;
  /**
   * The client went away, was too slow, or broke its body's framing, before the answer was complete; called at most
   * once. With a Refusal as the cause the client is still there: it may be answered, if no answer was begun.
   */
  onAbort: ((cause: Error) => void) | null;
  /** The answer is complete, or nobody is there to read it. */
  readonly done: boolean;
  /** An answer was begun. */
  readonly responded: boolean;
  /** The request's body was received to its end. */
  readonly received: boolean;
  /** Sends a 1xx answer, to a client that knows them. */
  informational(status: number, reason: string, headers: RawHeaders): void;
  /** Begins the answer; its head is held until the first bytes of the body, the end, or `flush`. */
  respond(answer: Answer): Sink;
  /** Sends what is held. */
  flush(): void;
  /**
   * Accepts another protocol, with 101 or in HTTP/2 with 200 (RFC 8441, section 5), and gives away what carries it,
   * paused, with the bytes that came too early. The caller sets `switched` next.
   */
  switch(headers: RawHeaders): { socket: Carrier; early: Buffer };
  /** Answers for the connection, or the stream, from now on. */
  switched: Switched | null;
}

/** The client's end of a connection, as its owner sees it. */
export interface Connection {
  /** Enforces the time limits; called about twice a second. `now`: performance.now(). */
  sweep(now: number): void;
  /** Ends the connection behind what is under way; at once if that is nothing. */
  drain(): void;
  destroy(): void;
}

export interface ServerHandlers {
  /** One request. Over HTTP/1.1 strictly in order: the next one is not read before this one is answered and received. */
  request(x: Exchange): void;
  /** A head that could not be read; it may be answered. Over HTTP/1.1 the connection closes then. */
  malformed(x: Exchange, refusal: Refusal): void;
  /** The socket is closed; not called after `detach`. */
  closed(): void;
}
