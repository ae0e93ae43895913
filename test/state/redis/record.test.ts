import { expect, test } from 'vitest';
import { givenSubject, ownSubject } from '../../../src/mint/subject.ts';
import { openSubject, sealSession, sealSubject } from '../../../src/state/redis/record.ts';
import { Seal } from '../../../src/state/seal.ts';
import { newSession } from '../../../src/state/session.ts';
import type { Subject } from '../../../src/secret.ts';
import { canary, leaks } from '../../support/canary.ts';

const seal = new Seal(Buffer.from('a key of thirty-two characters..'));
const secret = canary('subject.');

function sessionWith(subject: Subject | undefined) {
  const options = { profile: 'default', ttlMs: 60_000, stubs: new Map([['api', 'stub']]), subject };
  return newSession(options, Date.now()).session;
}

test('a subject token that was given is sealed, for its session only', () => {
  const session = sessionWith(givenSubject('api', secret));
  const sealed = sealSubject(seal, session);
  expect(leaks(sealed, secret)).toEqual([]);
  expect(openSubject(seal, session.tokenHash, sealed)?.token.reveal()).toBe(secret);
  expect(openSubject(seal, sessionWith(undefined).tokenHash, sealed)).toBeUndefined();
});

test('one that its sandbox has is not written down, nor is any in the record of a session', () => {
  const session = sessionWith(ownSubject(secret, Date.now() + 60_000));
  expect(sealSubject(seal, session)).toBe('');
  const record = seal.open(`session ${session.tokenHash}`, sealSession(seal, session)) ?? '';
  expect(JSON.parse(record)).not.toHaveProperty('subject');
});
