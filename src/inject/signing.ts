import type { Scope } from './sigv4/signer.ts';
import type { OutboundHead, Placement } from '../types.ts';

/**
 * A placement that signs the request, which the client has signed with its stub: the credential itself never goes out.
 * It is asked, and injects, after all others.
 */
export interface SigningPlacement extends Placement {
  /** Bytes of a body that is received whole, because its hash is signed and not told. */
  readonly limit: number;
  /** One that the rule signs for. */
  readonly example: Omit<Scope, 'time'>;
  /** What stands at the place when that stub has signed. */
  idOf(stub: string, ids: StubIds): string;
  /** How many stubs stand beside the id, where they belong: none, or a session token. */
  beside(out: OutboundHead, stub: string, ids: StubIds): number;
  /** Throws what is wrong with the client's signature. False: that can be told only once `out.body` is there. */
  verify(out: OutboundHead, stub: string, ids: StubIds): boolean;
}

/** The other parts of AWS keys whose secret access key is the stub. */
export interface StubIds {
  accessKeyId(stub: string): string;
  sessionToken(stub: string): string;
}

export function signs(placement: Placement): placement is SigningPlacement {
  return 'verify' in placement;
}
