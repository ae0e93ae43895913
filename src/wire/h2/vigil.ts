import { performance } from 'node:perf_hooks';
import type { Http2Session } from 'node:http2';
import type { Socket } from 'node:net';

/** ms for the answer to a PING, or to SETTINGS (RFC 9113, sections 6.7, 6.5.3). */
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
  /** Bytes received by the last look, since when, and whether the peer was asked since. */
  #heard = 0;
  #heardAt = performance.now();
  #isAsked = false;
  #silentMs: number | undefined;

  constructor(session: Http2Session, socket: Socket) {
    this.#session = session;
    this.#socket = socket;
  }

  /**
   * Whether the peer has said nothing for `silentMs` ms, and did not answer when it was asked; the time begins anew with
   * another `silentMs`. To be called about twice a second as long as something is due. `now`: performance.now().
   */
  isVain(now: number, isDue: boolean, silentMs: number): boolean {
    const { bytesRead } = this.#socket;
    if (bytesRead !== this.#heard || !isDue || silentMs !== this.#silentMs) {
      this.#heard = bytesRead;
      this.#heardAt = now;
      this.#isAsked = false;
      this.#silentMs = silentMs;
      return false;
    }
    // Never at the look that asks: an answer that is here already was not read yet if looks were late.
    if (this.#isAsked) return now - this.#heardAt > silentMs + PING_MS;
    if (now - this.#heardAt > silentMs) {
      this.#isAsked = true;
      this.#ask();
    }
    return false;
  }

  #ask(): void {
    if (this.#session.destroyed) return;
    // Behind a GOAWAY node:http2 sends no PING; SETTINGS that change nothing have to be answered, too.
    if (this.#session.closed) this.#session.settings({});
    else this.#session.ping(() => {});
  }
}
