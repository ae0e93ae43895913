import { Buffer } from 'node:buffer';
import { onTestFinished } from 'vitest';
import type { Refusal } from '../../../src/errors.ts';
import { openRedis } from '../../../src/state/redis/open.ts';
import type { RedisOptions } from '../../../src/state/redis/options.ts';
import type { SessionOptions } from '../../../src/state/session.ts';
import type { State } from '../../../src/state/state.ts';
import type { Log, Session } from '../../../src/types.ts';

export const KEY = Buffer.from('a key that all gates share, and Redis has not');

export const options = (port: number, more: Partial<RedisOptions> = {}): RedisOptions => ({
  mode: 'server',
  nodes: [{ host: '127.0.0.1', port }],
  db: 0,
  tls: undefined,
  graceMs: 2000,
  prefix: 'stubgate',
  ...more,
});

export interface OneState extends State {
  /** What it logged. */
  readonly told: string[];
  readonly ended: Session[];
}

/** What one gate has of the shared state. */
export async function openOne(of: RedisOptions, key = KEY): Promise<OneState> {
  const told: string[] = [];
  const ended: Session[] = [];
  const log = new Proxy({} as Log, {
    get:
      () =>
      (message: string, fields: Record<string, unknown> = {}) => {
        const cause = fields['cause'] as Error | undefined;
        told.push(`${message} ${JSON.stringify({ ...fields, ...(cause && { cause: cause.message }) })}`);
      },
  });
  const state = await openRedis(of, key, log);
  state.sessions.onEnd(session => ended.push(session));
  onTestFinished(() => state.close());
  return { ...state, sessions: state.sessions, told, ended };
}

export const wanted = (more: Partial<SessionOptions> = {}): SessionOptions => ({
  profile: 'default',
  ttlMs: 60_000,
  sub: 'alice',
  labels: { repo: 'acme/one' },
  stubs: new Map([['github', 'ghp_stub']]),
  ...more,
});

/** The code of a refusal. */
export async function refused(promise: unknown): Promise<string> {
  return Promise.resolve(promise).then(
    () => 'not refused',
    (error: unknown) => (error as Refusal).code,
  );
}
