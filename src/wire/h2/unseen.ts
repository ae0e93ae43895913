import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import type { Http2Session } from 'node:http2';
import { fault } from '../fault.ts';
import { unreadableHead } from '../head.ts';
import type { Exchange, ServerHandlers } from '../message.ts';

const NOTHING = Buffer.alloc(0);

/**
 * The streams of a client that node:http2 resets for what HTTP/2 forbids in a head, and never shows: each is told of
 * once, by the gap that it leaves in the identifiers (RFC 9113, section 5.1.1).
 */
export class UnseenStreams {
  readonly #session: Http2Session;
  readonly #handlers: ServerHandlers;
  readonly #max: number;
  /** The highest identifier that was seen, or told of. */
  #settled = -1;
  #told = 0;
  /** The highest identifier at the last look: its head may not have been complete. */
  #begun = -1;

  /** `max`: more are not told of; a client may also leave identifiers out. */
  constructor(session: Http2Session, handlers: ServerHandlers, max: number) {
    this.#session = session;
    this.#handlers = handlers;
    this.#max = max;
    // A session that ends no longer knows of its streams, and node:http2 itself ends one at a fault of its peer.
    const destroy = session.destroy.bind(session);
    const looked: typeof destroy = (...how) => {
      this.look(true);
      destroy(...how);
    };
    session.destroy = looked;
  }

  /** A stream was seen. */
  seen(id: number): void {
    this.#tell(id - 2);
    this.#settled = Math.max(this.#settled, id);
  }

  /** Called about twice a second, and when the connection ends. */
  look(isEnd = false): void {
    const last = this.#session.destroyed ? 0 : (this.#session.state.lastProcStreamID ?? 0);
    this.#tell(isEnd ? last : this.#begun);
    this.#begun = last;
  }

  #tell(last: number): void {
    while (this.#settled + 2 <= last && this.#told < this.#max) {
      this.#settled += 2;
      this.#told++;
      this.#handlers.malformed(gone(), fault('malformed_request', 'A head that HTTP/2 forbids'));
    }
  }
}

/** A request of which nothing is known, and that cannot be answered. */
function gone(): Exchange {
  return {
    head: unreadableHead(NOTHING),
    isHttp2: true,
    body: { pipe: sink => sink.end([]), take: () => NOTHING },
    startedAt: performance.now(),
    bytesIn: 0,
    bytesOut: 0,
    onAbort: null,
    done: true,
    responded: false,
    received: true,
    informational: () => {},
    respond: () => {
      throw new Error('the stream is gone');
    },
    flush: () => {},
    switch: () => {
      throw new Error('the stream is gone');
    },
    switched: null,
  };
}
