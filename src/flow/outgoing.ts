import type { Outbound } from '../inject/outbound.ts';
import type { Plan } from '../inject/swap.ts';
import type { Secret } from '../secret.ts';

/** A request on its way out: its head, and what will be swapped in it. */
export interface Outgoing {
  readonly out: Outbound;
  readonly swaps: Plan;
  /** Names of the credentials to be placed. */
  readonly credentials: readonly string[];
  /** The value of each of them that was sent. */
  sent?: readonly Secret[];
  /** Of a WebSocket’s handshake; absent: the request is none. */
  readonly key?: string | undefined;
  /** The body as the client sent it, for a rule that places a credential in it. */
  readonly received?: Buffer;
}
