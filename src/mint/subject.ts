import { Refusal } from '../errors.ts';
import { Secret, type Subject } from '../secret.ts';
import { type Principal, VaultError } from '../types.ts';
import { claimsOf } from './jwt.ts';
import { TOKEN } from './token.ts';

/** The token that an operator gave for a session; undefined if it can be none. `credential`: whose stub stands for it. */
export function givenSubject(credential: string, text: string): Subject | undefined {
  if (!TOKEN.test(text)) return undefined;
  const { exp } = claimsOf(text);
  const isTold = typeof exp === 'number' && Number.isFinite(exp);
  return {
    token: new Secret(credential, text),
    isOwn: false,
    ...(isTold && { endsAt: Math.floor(exp * 1000) }),
  };
}

/** The token that its sandbox shows for a session. `endsAt`: ms since the epoch. */
export function ownSubject(text: string, endsAt: number): Subject {
  return { token: new Secret('subject token', text), endsAt, isOwn: true };
}

/** What a given one becomes where gates share it; to be sealed. */
export function subjectRecord({ token, endsAt }: Subject): string {
  return JSON.stringify({ credential: token.name, token: token.reveal(), endsAt });
}

export function subjectOfRecord(record: string): Subject {
  const { credential, token, endsAt } = JSON.parse(record) as Record<'credential' | 'token', string> & {
    endsAt?: number;
  };
  return { token: new Secret(credential, token), isOwn: false, ...(endsAt !== undefined && { endsAt }) };
}

/** The session's own token. Throws Refusal `credential_unavailable` that tells the sandbox why, too. */
export function subjectOf(who: Principal | undefined, credential: string, now: number): Secret {
  const subject = who?.subject;
  if (!subject)
    throw refusal(
      'This session has no token that could be exchanged for this credential',
      'Ask your operator: it must be opened with a JWT, or created with a subject token',
      `credential "${credential}": session ${who?.session} was neither opened with a JWT nor created with a subject token`,
    );
  if (subject.endsAt !== undefined && subject.endsAt <= now)
    throw refusal(
      'The token of this session, which is exchanged for this credential, has expired',
      'Get a new one from its issuer, and a new session with it',
      `credential "${credential}": the subject token of session ${who.session} has expired`,
    );
  return subject.token;
}

function refusal(message: string, hint: string, cause: string): Refusal {
  return new Refusal('credential_unavailable', { message, hint, cause: new VaultError('missing', cause) });
}
