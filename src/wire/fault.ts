import { type Reason, Refusal } from '../errors.ts';
import type { RawHeaders } from '../types.ts';

/** Whose message is at fault, as the sandbox is told. */
export type Side = Extract<Reason, 'malformed_request' | 'upstream_malformed'>;

/** `message` names the fault and quotes nothing that the peer sent. */
export function fault(side: Side, message: string): Refusal {
  return new Refusal(side, { message });
}

/** Trailers that may not stand behind a body. Whoever refuses the message can look for stubs and secrets in them. */
export class TrailerFault extends Refusal {
  /** Private, so that no log prints what a peer sent. */
  readonly #trailers: RawHeaders;

  constructor(side: Side, message: string, trailers: RawHeaders) {
    super(side, { message });
    this.#trailers = trailers;
  }

  get trailers(): RawHeaders {
    return this.#trailers;
  }
}
