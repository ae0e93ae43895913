import { inspect } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { authenticate, SessionEnded, type Sessions } from '../../src/identity/index.ts';
import { MemorySessions } from '../../src/state/memory.ts';
import type { Session } from '../../src/types.ts';

const NOW = 1_000_000;
let sessions: MemorySessions;
let session: Session;
let token: string;
let other: { session: Session; token: string };

const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');

beforeEach(() => {
  sessions = new MemorySessions({ now: () => NOW });
  const options = { profile: 'default', ttlMs: 1_000, stubs: new Map() };
  ({ session, token } = sessions.create(options));
  other = sessions.create(options);
});

function refusal(header: string | undefined, now = NOW): Refusal {
  try {
    void authenticate(header, sessions, now);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(Refusal);
    return thrown as Refusal;
  }
  return expect.unreachable(String(header));
}

describe('authenticate', () => {
  it.each(['Basic', 'basic', 'BASIC', 'Basic  '])('accepts session and token under %j', scheme => {
    expect(authenticate(`${scheme} ${base64(`${session.session}:${token}`)}`, sessions, NOW)).toBe(session);
  });

  it.each(['Bearer', 'bearer', 'BEARER', 'Bearer  '])('accepts the token under %j', scheme => {
    expect(authenticate(`${scheme} ${token}`, sessions, NOW)).toBe(session);
  });

  it('tells sessions apart', () => {
    expect(authenticate(`Bearer ${other.token}`, sessions, NOW)).toBe(other.session);
  });

  const FORGED: readonly (readonly [string, () => string | undefined])[] = [
    ['nothing', () => undefined],
    ['an empty value', () => ''],
    ['a scheme only', () => 'Basic'],
    ['a scheme and a space', () => 'Bearer '],
    ['the token without a scheme', () => token],
    ['an unknown scheme', () => `Digest ${token}`],
    ['a scheme that is a property of every object', () => `constructor ${token}`],
    ['a tab after the scheme', () => `Bearer\t${token}`],
    ['a space before the scheme', () => ` Bearer ${token}`],
    ['a space after the token', () => `Bearer ${token} `],
    ['two tokens', () => `Bearer ${token}, Bearer ${token}`],
    ['a token cut short', () => `Bearer ${token.slice(0, -1)}`],
    ['a token with more behind it', () => `Bearer ${token}a`],
    ['a token with padding', () => `Bearer ${token}=`],
    ['a token in lower case', () => `Bearer ${token.toLowerCase()}`],
    ['the token’s hash', () => `Bearer ${session.tokenHash}`],
    ['the session’s id as token', () => `Bearer ${session.session}`],
    ['Basic in a Bearer', () => `Bearer ${base64(`${session.session}:${token}`)}`],
    ['the token alone in Basic', () => `Basic ${base64(token)}`],
    ['Basic without a session', () => `Basic ${base64(`:${token}`)}`],
    ['Basic without a token', () => `Basic ${base64(`${session.session}:`)}`],
    ['Basic the wrong way round', () => `Basic ${base64(`${token}:${session.session}`)}`],
    ['another session’s id', () => `Basic ${base64(`${other.session.session}:${token}`)}`],
    ['another session’s token', () => `Basic ${base64(`${session.session}:${other.token}`)}`],
    ['an id in another case', () => `Basic ${base64(`${session.session.toUpperCase()}:${token}`)}`],
    ['an unknown session', () => `Basic ${base64(`s_000000000000:${token}`)}`],
    ['an unknown token', () => `Basic ${base64(`${session.session}:sgt_${'0'.repeat(43)}`)}`],
    ['a token with a colon behind it', () => `Basic ${base64(`${session.session}:${token}:`)}`],
    ['a token with a line end', () => `Basic ${base64(`${session.session}:${token}\r\n`)}`],
    ['a token with NUL', () => `Basic ${base64(`${session.session}:${token}\0`)}`],
    [
      'Basic with an unused bit',
      () => `Basic ${base64(`${session.session}:${token}`).replace(/.(=+)$/, '/$1')}`,
    ],
    [
      'Basic with a space inside',
      () => `Basic ${base64(`${session.session}:${token}`).replace(/^.{8}/, '$& ')}`,
    ],
    ['Basic with one = too many', () => `Basic ${base64(`${session.session}:${token}`)}=`],
    [
      'Basic in base64url',
      () => `Basic ${base64(`${session.session}:${token}\xff\xff`).replaceAll('/', '_')}`,
    ],
    ['something very long', () => `Bearer ${'a'.repeat(1_000_000)}`],
  ];

  it.each(FORGED)('refuses %s, like anything else that is wrong', (_, forge) => {
    const { code, message, hint, cause } = refusal(forge());
    expect({ code, message, hint, cause }).toEqual({
      code: 'unauthenticated',
      message: 'No or wrong session token',
      hint: expect.any(String),
      cause: undefined,
    });
  });

  it('refuses an expired session from its last moment on, swept or not', () => {
    const header = `Bearer ${token}`;
    expect(authenticate(header, sessions, session.expiresAt - 1)).toBe(session);
    expect(refusal(header, session.expiresAt).code).toBe('session_expired');
    sessions.sweep(session.expiresAt);
    expect(refusal(header, session.expiresAt).code).toBe('session_expired');
  });

  it.each<[string, () => unknown]>([
    ['expired', () => refusal(`Bearer ${token}`, session.expiresAt)],
    ['was revoked', () => (sessions.revoke(session.session), refusal(`Bearer ${token}`))],
  ])('says whose session %s, and prints nothing of it', (_, refused) => {
    const thrown = refused() as SessionEnded;
    expect(thrown).toBeInstanceOf(SessionEnded);
    expect(thrown.session).toBe(session);
    expect(inspect(thrown, { showHidden: true, depth: 9 })).not.toContain(session.tokenHash);
    expect(JSON.stringify(thrown)).not.toContain(session.tokenHash);
  });

  it('refuses a revoked session, even after it would have expired', () => {
    sessions.revoke(session.session);
    expect(refusal(`Bearer ${token}`).code).toBe('session_revoked');
    expect(refusal(`Basic ${base64(`${session.session}:${token}`)}`, NOW + 5_000).code).toBe(
      'session_revoked',
    );
    expect(authenticate(`Bearer ${other.token}`, sessions, NOW)).toBe(other.session);
  });

  it('tells of an expiry or a revocation only to who holds the token', () => {
    sessions.revoke(session.session);
    expect(refusal(`Basic ${base64(`${session.session}:wrong`)}`).code).toBe('unauthenticated');
    expect(refusal(`Basic ${base64(`${other.session.session}:${token}`)}`).code).toBe('unauthenticated');
  });

  it('forgets a session an hour after its end', () => {
    sessions.revoke(session.session);
    sessions.sweep(NOW + 3_599_999);
    expect(refusal(`Bearer ${token}`).code).toBe('session_revoked');
    sessions.sweep(NOW + 3_600_000);
    expect(refusal(`Bearer ${token}`).code).toBe('unauthenticated');
  });
});

describe('a gate that shares its sessions', () => {
  const elsewhere = (found: Session | undefined | Error, suspended = false): Sessions => ({
    suspended,
    byToken: () => undefined,
    lookUp: (): Promise<Session | undefined> =>
      found instanceof Error ? Promise.reject(found) : Promise.resolve(found),
  });

  it('asks for an unknown token, and only for one', async () => {
    const asked: string[] = [];
    const shared: Sessions = {
      suspended: false,
      byToken: (tokenHash): Session | undefined => sessions.byToken(tokenHash),
      lookUp: of => {
        asked.push(of);
        return Promise.resolve(other.session);
      },
    };
    expect(authenticate(`Bearer ${token}`, shared, NOW)).toBe(session);
    expect(asked).toEqual([]);
    expect(await authenticate('Bearer unknown', shared, NOW)).toBe(other.session);
    expect(asked).toEqual(['unknown']);
  });

  it.each([
    ['nobody', (): undefined => undefined, 'unauthenticated'],
    ['a session of another id', (): Session => session, 'unauthenticated'],
    ['a revoked session', (): Session => ({ ...other.session, revokedAt: NOW }), 'session_revoked'],
    ['an expired session', (): Session => ({ ...other.session, expiresAt: NOW }), 'session_expired'],
    ['that it cannot be told', (): Error => new Refusal('state_unavailable'), 'state_unavailable'],
  ] as const)('refuses where it finds %s', async (_, found, code) => {
    const header = `Basic ${base64(`${other.session.session}:unknown`)}`;
    await expect(authenticate(header, elsewhere(found()), NOW)).rejects.toMatchObject({ code });
  });

  it('trusts nobody that it cannot check any more, and tells only who holds a token', async () => {
    const suspended: Sessions = {
      ...elsewhere(undefined),
      suspended: true,
      byToken: of => sessions.byToken(of),
    };
    expect(() => authenticate(`Bearer ${token}`, suspended, NOW)).toThrow(new Refusal('state_unavailable'));
    await expect(authenticate('Bearer unknown', suspended, NOW)).rejects.toMatchObject({
      code: 'unauthenticated',
    });
    sessions.revoke(session.session);
    expect(() => authenticate(`Bearer ${token}`, suspended, NOW)).toThrow(new Refusal('session_revoked'));
  });
});
