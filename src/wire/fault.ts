import { type Reason, Refusal } from '../errors.ts';

/** Whose message is at fault, as the sandbox is told. */
export type Side = Extract<Reason, 'malformed_request' | 'upstream_malformed'>;

/** `message` names the fault and quotes nothing that the peer sent. */
export function fault(side: Side, message: string): Refusal {
  return new Refusal(side, { message });
}
