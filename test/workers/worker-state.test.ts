import { EventEmitter } from 'node:events';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import { givenSubject } from '../../src/mint/subject.ts';
import { Seal } from '../../src/state/seal.ts';
import { newSession } from '../../src/state/session.ts';
import type { PrimaryCalls, WorkerCalls } from '../../src/workers/calls.ts';
import { Channel } from '../../src/workers/channel.ts';
import { SharedState } from '../../src/workers/shared-state.ts';
import { toldOf } from '../../src/workers/shared-sessions.ts';
import { type ToPrimary, WorkerSessions } from '../../src/workers/worker-sessions.ts';
import { workerState } from '../../src/workers/worker-state.ts';
import { canary, leaks } from '../support/canary.ts';

const OPTIONS = { profile: 'default', ttlMs: 60_000, stubs: new Map([['api', 'stub']]) };

/** A primary and workers, all here; everything that goes from one to the other is seen. */
function open(workers: number) {
  const seen: string[] = [];
  const key = randomBytes(32);
  const ends: Channel<WorkerCalls, PrimaryCalls>[] = [];
  const shared = new SharedState({
    sessions: sessions => {
      const told = sessions.map(session => toldOf(new Seal(key), session));
      for (const end of ends) end.tell('sessions', told);
    },
    revoked: (id, at) => ends.forEach(end => end.tell('revoked', id, at)),
    sync: async () => void (await Promise.all(ends.map(end => end.ask(1000, 'sync')))),
  });
  const all = Array.from({ length: workers }, () => {
    const [up, down] = [new EventEmitter(), new EventEmitter()];
    const send = (to: EventEmitter) => (message: unknown) => {
      seen.push(JSON.stringify(message, (_, part: unknown) => (part instanceof Map ? [...part] : part)));
      setImmediate(() => to.emit('message', structuredClone(message)));
    };
    const primary = new Channel<PrimaryCalls, WorkerCalls>(
      { send: send(up), on: (event, listener) => down.on(event, listener) },
      {
        sessions: list => sessions.learn(list),
        revoked: (id, at) => sessions.revoked(id, at),
        sync: () => {},
      } as Partial<WorkerCalls> as WorkerCalls,
      () => new Refusal('state_unavailable'),
    );
    const sessions = new WorkerSessions(primary);
    ends.push(
      new Channel<WorkerCalls, PrimaryCalls>(
        { send: send(down), on: (event, listener) => up.on(event, listener) },
        { ...shared.callsOf({}), happened: () => {}, leave: () => {} },
        () => new Error('late'),
      ),
    );
    return workerState(primary, sessions, key, workers);
  });
  return { shared, all, seen };
}

test('a worker knows a session before its token is handed out, and its end before that is told', async () => {
  const { shared, all } = open(2);
  const { session } = await shared.sessions.create(OPTIONS);
  const known = all.map(({ sessions }) => sessions.byToken(session.tokenHash));
  expect(known.map(one => one?.stubs)).toEqual([session.stubs, session.stubs]);
  const ended: string[] = [];
  for (const { sessions } of all) sessions.onEnd(({ session: id }) => void ended.push(id));
  await all[0]?.sessions.revoke(session.session);
  expect(ended).toEqual([session.session, session.session]);
  expect(known.every(one => one?.revokedAt !== undefined)).toBe(true);
});

test('a credential that comes to both at once opens one session', async () => {
  const { all } = open(2);
  const opened = await Promise.all(all.map(async ({ sessions }) => sessions.open('ab'.repeat(32), OPTIONS)));
  expect(opened[0]?.session).toBe(opened[1]?.session);
  expect(opened[0]).not.toBe(opened[1]);
});

test('a session that ended while its opening was answered is known as ended', async () => {
  const { all } = open(2);
  const [one, other] = all;
  const known = await one?.sessions.open('ab'.repeat(32), OPTIONS);
  const id = known?.session ?? '';
  const [opened] = await Promise.all([
    other?.sessions.open('ab'.repeat(32), OPTIONS),
    one?.sessions.revoke(id),
  ]);
  expect(opened?.revokedAt).toBeDefined();
});

test('a token goes nowhere, and what is kept only sealed, under a hidden name', async () => {
  const { shared, all, seen } = open(2);
  const [one, other] = all;
  const { token } = await shared.sessions.create(OPTIONS);
  const secret = canary('gho_');
  const lock = await one?.store?.lock('captured s_1', 1000);
  expect(await other?.store?.lock('captured s_1', 1000)).toBeUndefined();
  expect(await one?.store?.put('captured s_1', secret, 1000, lock?.fence ?? 0)).toBe(true);
  await lock?.release();
  expect(await other?.store?.get('captured s_1')).toBe(secret);
  expect(await other?.store?.lock('captured s_1', 1000)).toMatchObject({ fence: (lock?.fence ?? 0) + 1 });
  expect(seen.join('\n')).toContain('put');
  for (const hidden of [secret, token]) expect(leaks(seen.join('\n'), hidden)).toEqual([]);
  expect(seen.join('\n')).not.toContain('captured s_1');
});

test('a token that may be exchanged for a session reaches each worker, and stands nowhere on the way', async () => {
  const { shared, all, seen } = open(2);
  const secret = canary('subject.');
  const subject = givenSubject('api', secret);
  const { session } = await shared.sessions.create({ ...OPTIONS, subject });
  const told = all.map(({ sessions }) => sessions.byToken(session.tokenHash)?.subject);
  expect(told).toEqual([subject, subject]);
  expect(told.map(one => one?.token.equals(subject?.token ?? new Secret('', '')))).toEqual([true, true]);
  expect(leaks(seen.join('\n'), secret)).toEqual([]);
});

test('one that starts later is told of it before it has the key', () => {
  const [seal, secret] = [new Seal(randomBytes(32)), canary('subject.')];
  const { session } = newSession({ ...OPTIONS, subject: givenSubject('api', secret) }, Date.now());
  const sessions = new WorkerSessions({} as ToPrimary);
  sessions.learn([structuredClone(toldOf(seal, session))]);
  expect(sessions.byToken(session.tokenHash)?.subject).toBeUndefined();
  sessions.unseal(seal);
  const token = sessions.byToken(session.tokenHash)?.subject?.token;
  expect(token?.equals(new Secret('api', secret))).toBe(true);
});

test('one whose primary does not answer revokes all the same, and serves nobody new', async () => {
  const silent = new Channel<PrimaryCalls, WorkerCalls>(
    { send: () => {}, on: () => {} },
    {} as WorkerCalls,
    () => new Refusal('state_unavailable'),
  );
  const sessions = new WorkerSessions(silent);
  const { session } = newSession(OPTIONS, Date.now());
  sessions.learn([{ session, subject: '' }]);
  const [revoked, opened] = await Promise.allSettled([
    sessions.revoke(session.session),
    sessions.open('cd'.repeat(32), OPTIONS),
  ]);
  expect(session.revokedAt).toBeDefined();
  expect([revoked, opened].map(one => one.status)).toEqual(['rejected', 'rejected']);
});
