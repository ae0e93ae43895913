import type { Socket } from 'node:net';
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

/** A protocol that a connection was switched to. Times: performance.now(). */
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
   * Answers with 101 and gives the connection to the protocol that `headers` name: its socket, paused, and the bytes
   * that came too early. The caller sets `switched` next. HTTP/1.1 only.
   */
  switch(headers: RawHeaders): { socket: Socket; early: Buffer };
  /** Answers for the connection from now on. */
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
