import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { MemorySessions } from '../../src/state/memory.ts';
import { SessionError, type SessionOptions } from '../../src/state/session.ts';
import type { Session } from '../../src/types.ts';

const HOUR = 3_600_000;
let now: number;
let sessions: MemorySessions;
let ended: Session[];

beforeEach(() => {
  now = 1_000_000;
  sessions = new MemorySessions({ now: () => now, max: 3 });
  ended = [];
  sessions.onEnd(session => ended.push(session));
});

const create = (options: Partial<SessionOptions> = {}) =>
  sessions.create({
    profile: 'default',
    ttlMs: 60_000,
    stubs: new Map([['github', 'ghp_stub']]),
    ...options,
  });

function failure(options: Partial<SessionOptions>): SessionError {
  try {
    create(options);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(SessionError);
    return thrown as SessionError;
  }
  return expect.unreachable(inspect(options));
}

describe('create', () => {
  it('makes a session with an id and a token of their own', () => {
    const { session, token } = create({ sub: 'alice', act: 'agent-1', labels: { repo: 'acme/app' } });
    expect(session).toEqual({
      session: expect.stringMatching(/^s_[0-9A-Za-z]{12}$/),
      profile: 'default',
      sub: 'alice',
      act: 'agent-1',
      labels: { repo: 'acme/app' },
      createdAt: now,
      expiresAt: now + 60_000,
      tokenHash: createHash('sha256').update(token).digest('hex'),
      stubs: new Map([['github', 'ghp_stub']]),
    });
    expect(token).toMatch(/^sgt_[0-9A-Za-z]{43}$/);
  });

  it('never makes the same one twice', () => {
    const many = new MemorySessions();
    const made = Array.from({ length: 1_000 }, () =>
      many.create({ profile: 'p', ttlMs: 1, stubs: new Map() }),
    );
    expect(new Set(made.map(({ session }) => session.session)).size).toBe(1_000);
    expect(new Set(made.map(({ token }) => token)).size).toBe(1_000);
  });

  it('keeps no token', () => {
    const { token } = create();
    expect(inspect(sessions, { showHidden: true, depth: 9 })).not.toContain(token);
    expect(JSON.stringify(sessions.list())).not.toContain(token);
  });

  it('is not changed through what it was made from', () => {
    const labels: Record<string, string> = { a: '1' };
    const stubs = new Map([['github', 'ghp_stub']]);
    const { session } = create({ labels, stubs });
    labels['b'] = '2';
    stubs.clear();
    expect(session.labels).toEqual({ a: '1' });
    expect(session.stubs.size).toBe(1);
  });

  it('leaves out who is not named', () => {
    const { session } = create();
    expect('sub' in session || 'act' in session).toBe(false);
  });

  it.each([
    [{ ttlMs: 0 }, 'ttl must be more than 0 and at most 30 days'],
    [{ ttlMs: -1 }, 'ttl'],
    [{ ttlMs: Number.NaN }, 'ttl'],
    [{ ttlMs: Number.POSITIVE_INFINITY }, 'ttl'],
    [{ ttlMs: 0.5 }, 'ttl'],
    [{ ttlMs: 31 * 24 * HOUR }, 'ttl'],
    [{ sub: '' }, 'sub must be 1 to 256 printable characters'],
    [{ sub: 'a\nb' }, 'sub'],
    [{ sub: 'a\u2028b' }, 'sub'],
    [{ sub: 'a\u202eb' }, 'sub'],
    [{ act: 'x'.repeat(257) }, 'act'],
    [{ act: '\x1b[2J' }, 'act'],
    [{ act: '\ud800' }, 'act'],
    [{ labels: { 'a b': '1' } }, "label's name"],
    [{ labels: { '': '1' } }, "label's name"],
    [{ labels: { '-a': '1' } }, "label's name"],
    [{ labels: { ['x'.repeat(64)]: '1' } }, "label's name"],
    [{ labels: { 'a\n': '1' } }, "label's name"],
    [{ labels: JSON.parse('{"__proto__":"1"}') as Record<string, string> }, "label's name"],
    [{ labels: { repo: '' } }, 'label "repo" must be 1 to 256'],
    [{ labels: { repo: 'a\r\nb' } }, 'label "repo"'],
    [{ labels: { repo: 'x'.repeat(257) } }, 'label "repo"'],
    [
      { labels: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`l${i}`, '1'])) },
      'at most 32 labels',
    ],
  ])('refuses %j', (options: Partial<SessionOptions>, message) => {
    const error = failure(options);
    expect(error.kind).toBe('invalid');
    expect(error.message).toContain(message);
    expect(sessions.list()).toEqual([]);
  });

  it.each([
    { repo: 'acme/app' },
    { a: '1' },
    { ['x'.repeat(63)]: 'x'.repeat(256) },
    { 'ci.run-id_1': 'Größe 😀' },
    Object.fromEntries(Array.from({ length: 32 }, (_, i) => [`l${i}`, '1'])),
  ])('accepts the labels %j', labels => {
    expect(create({ labels }).session.labels).toEqual(labels);
  });

  it('makes no more than so many live ones, and again when one has ended', () => {
    const [first] = [create(), create(), create()];
    const error = failure({});
    expect(error.kind).toBe('full');
    expect(error.message).toBe('3 sessions are live; revoke some, or give them a shorter ttl');
    sessions.revoke(first?.session.session ?? '');
    create();
    expect(failure({}).kind).toBe('full');
    now += 60_000;
    sessions.sweep(now);
    create();
  });
});

describe('look-up', () => {
  it('finds by token and by id, and lists', () => {
    const { session } = create();
    expect(sessions.byToken(session.tokenHash)).toBe(session);
    expect(sessions.byToken(session.tokenHash.toUpperCase())).toBeUndefined();
    expect(sessions.get(session.session)).toBe(session);
    expect(sessions.get('s_000000000000')).toBeUndefined();
    expect(sessions.list()).toEqual([session]);
  });
});

describe('the end of a session', () => {
  it('is told at once when it is revoked, once', () => {
    const { session } = create();
    expect(sessions.revoke(session.session)).toBe(true);
    expect(ended).toEqual([session]);
    expect(session.revokedAt).toBe(now);
    expect(sessions.revoke(session.session)).toBe(false);
    now += 100_000;
    sessions.sweep(now);
    expect(ended).toEqual([session]);
    expect(session.revokedAt).toBe(1_000_000);
  });

  it('is told by the sweep after it expired, once', () => {
    const { session } = create();
    now += 59_999;
    sessions.sweep(now);
    expect(ended).toEqual([]);
    now += 1;
    sessions.sweep(now);
    sessions.sweep(now);
    expect(ended).toEqual([session]);
    expect(session.revokedAt).toBeUndefined();
  });

  it('cannot be a revocation any more once it expired', () => {
    const { session } = create();
    sessions.sweep(now + 60_000);
    expect(sessions.revoke(session.session)).toBe(false);
    expect(session.revokedAt).toBeUndefined();
  });

  it('is false for a session that never was', () => {
    expect(sessions.revoke('s_000000000000')).toBe(false);
    expect(sessions.revoke('__proto__')).toBe(false);
  });

  it('is remembered for an hour', () => {
    const [one, two] = [create(), create({ ttlMs: 30_000 })];
    sessions.revoke(one.session.session);
    sessions.sweep(now + 30_000);
    expect(sessions.list()).toHaveLength(2);
    sessions.sweep(now + HOUR - 1);
    expect(sessions.byToken(one.session.tokenHash)).toBe(one.session);
    sessions.sweep(now + HOUR);
    expect(sessions.list()).toEqual([two.session]);
    expect(sessions.byToken(one.session.tokenHash)).toBeUndefined();
    expect(sessions.get(one.session.session)).toBeUndefined();
    sessions.sweep(now + 30_000 + HOUR);
    expect(sessions.list()).toEqual([]);
  });

  it('is forgotten sooner where more have ended than may live', () => {
    const made = Array.from({ length: 5 }, () => {
      const { session } = create();
      sessions.revoke(session.session);
      return session;
    });
    expect(sessions.list()).toEqual(made.slice(2));
    expect(sessions.byToken(made[0]?.tokenHash ?? '')).toBeUndefined();
  });

  it('is told to every listener that still listens, also to one that acts on sessions', () => {
    const told: string[] = [];
    const stop = sessions.onEnd(() => told.push('stopped'));
    sessions.onEnd(session => {
      told.push('acting');
      sessions.revoke(session.session);
    });
    stop();
    sessions.revoke(create().session.session);
    expect(told).toEqual(['acting']);
  });

  it('comes for all that expired together', () => {
    const made = [create(), create(), create({ ttlMs: 60_001 })];
    sessions.sweep(now + 60_000);
    expect(ended).toEqual(made.slice(0, 2).map(({ session }) => session));
  });
});

describe('a session that a credential of somebody else’s opens', () => {
  const HOUR = 3_600_000;
  const KEY = 'cd'.repeat(32);
  const wanted = { profile: 'default', sub: 'robot', ttlMs: 24 * HOUR, stubs: new Map() };

  it('is the one that it opened before, live or ended', () => {
    let now = 0;
    const sessions = new MemorySessions({ now: () => now });
    const session = sessions.open(KEY, wanted);
    expect(session).toMatchObject({ tokenHash: KEY, sub: 'robot', expiresAt: 24 * HOUR });
    expect(sessions.open(KEY, wanted)).toBe(session);
    expect(sessions.byToken(KEY)).toBe(session);
    expect(sessions.live).toBe(1);
    now = 24 * HOUR;
    sessions.sweep(now);
    expect(sessions.open(KEY, wanted)).toBe(session);
  });

  it('stays revoked until the credential has ended, though the session is forgotten', () => {
    let now = 0;
    const sessions = new MemorySessions({ now: () => now });
    const { session } = sessions.open(KEY, wanted);
    sessions.revoke(session);
    for (now of [HOUR, 2 * HOUR, 24 * HOUR - 1]) {
      sessions.sweep(now);
      expect(sessions.get(session)).toBeUndefined();
      expect(() => sessions.open(KEY, wanted)).toThrow('revoked');
    }
    now = 24 * HOUR;
    sessions.sweep(now);
    expect(sessions.open(KEY, wanted).session).not.toBe(session);
  });

  it('is not forgotten to be revoked when many others end', () => {
    const sessions = new MemorySessions({ max: 2, now: () => 0 });
    const keys = ['a', 'b', 'c', 'd'].map(of => of.repeat(64));
    for (const key of keys) sessions.revoke(sessions.open(key, wanted).session);
    for (const key of keys.slice(0, 2)) expect(() => sessions.open(key, wanted)).toThrow('revoked');
    for (const key of keys.slice(2)) expect(sessions.open(key, wanted).revokedAt).toBe(0);
    // No room to remember more: nobody new.
    expect(() => sessions.open('e'.repeat(64), wanted)).toThrow('2 sessions are live');
  });
});
