import { subjectOfRecord, subjectRecord } from '../../mint/subject.ts';
import type { Subject } from '../../secret.ts';
import type { Session } from '../../types.ts';
import type { Seal } from '../seal.ts';

/** What stands in a sealed record: all of a session. One that is put back may be revoked already. */
interface Record1 extends Omit<Session, 'stubs' | 'captured' | 'subject'> {
  readonly version: 1;
  readonly stubs: readonly (readonly [string, string])[];
}

const placeOf = (tokenHash: string): string => `session ${tokenHash}`;

export function sealSession(seal: Seal, session: Session): string {
  const { captured: _, subject: __, ...lasting } = session;
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

const subjectPlace = (tokenHash: string): string => `subject ${tokenHash}`;

/** What stands beside the record, and ends with the session; empty if there is nothing that others need to be told. */
export function sealSubject(seal: Seal, { tokenHash, subject }: Session): string {
  // One that its sandbox has it shows to each gate.
  if (!subject || subject.isOwn) return '';
  return seal.seal(subjectPlace(tokenHash), subjectRecord(subject));
}

/** Undefined if none of our gates sealed it for this token. */
export function openSubject(seal: Seal, tokenHash: string, sealed: string): Subject | undefined {
  const record = seal.open(subjectPlace(tokenHash), sealed);
  return record === undefined ? undefined : subjectOfRecord(record);
}
