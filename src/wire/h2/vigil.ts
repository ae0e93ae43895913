import { performance } from 'node:perf_hooks';
import type { Http2Session } from 'node:http2';
import type { Socket } from 'node:net';

/** ms for the answer to a PING (RFC 9113, section 6.7). */
const PING_MS = 10_000;
/**
 * ms without a byte until a peer is asked behind a GOAWAY: if it breaks a rule then, node:http2 reads and writes no more,
 * and tells nobody.
 */
export const PARTING_MS = 5000;

/** Watches for signs of life of a peer: one that is silent is asked for one, so that nobody waits for it in vain. */
export class Vigil {
  readonly #session: Http2Session;
  readonly #socket: Socket;
  /** Bytes received by the last look, since when, and whether a PING was sent since. */
  #heard = 0;
  #heardAt = performance.now();
  #isAsked = false;

  constructor(session: Http2Session, socket: Socket) {
    this.#session = session;
    this.#socket = socket;
  }

  /**
   * Whether the peer has said nothing for `silentMs` ms, and did not answer when it was asked. To be called about twice
   * a second as long as something is due. `now`: performance.now().
   */
  isVain(now: number, isDue: boolean, silentMs: number): boolean {
    const { bytesRead } = this.#socket;
    if (bytesRead !== this.#heard || !isDue) {
      this.#heard = bytesRead;
      this.#heardAt = now;
      this.#isAsked = false;
    } else if (!this.#isAsked && now - this.#heardAt > silentMs) {
      this.#isAsked = true;
      if (!this.#session.destroyed) this.#session.ping(() => {});
    }
    return now - this.#heardAt > silentMs + PING_MS;
  }
}
