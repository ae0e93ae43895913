import type { Session } from '../../types.ts';
import type { Seal } from '../seal.ts';

/** What stands in a sealed record: all of a session. One that is put back may be revoked already. */
interface Record1 extends Omit<Session, 'stubs' | 'captured'> {
  readonly version: 1;
  readonly stubs: readonly (readonly [string, string])[];
}

const placeOf = (tokenHash: string): string => `session ${tokenHash}`;

export function sealSession(seal: Seal, session: Session): string {
  const { captured: _, ...lasting } = session;
  const record: Record1 = { version: 1, ...lasting, stubs: [...session.stubs] };
  return seal.seal(placeOf(session.tokenHash), JSON.stringify(record));
}

/** Undefined if none of our gates sealed it for this token, or a later version did. */
export function openSession(
  seal: Seal,
  tokenHash: string,
  sealed: string,
  revoked: string | null,
): Session | undefined {
  const text = seal.open(placeOf(tokenHash), sealed);
  if (text === undefined) return undefined;
  const { version, stubs, ...session } = JSON.parse(text) as Record1;
  if (version !== 1 || session.tokenHash !== tokenHash) return undefined;
  return {
    ...session,
    labels: Object.freeze({ ...session.labels }),
    stubs: new Map(stubs),
    // Whatever stands there: it is revoked.
    ...(revoked !== null && { revokedAt: Number(revoked) || session.createdAt }),
  };
}
