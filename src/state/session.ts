import { hash } from 'node:crypto';
import { randomBase62 } from '../inject/base62.ts';
import type { Subject } from '../secret.ts';
import type { Session } from '../types.ts';

/** What a session is created from. */
export interface SessionOptions {
  readonly profile: string;
  readonly ttlMs: number;
  readonly sub?: string | undefined;
  readonly act?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Credential name → stub. */
  readonly stubs: ReadonlyMap<string, string>;
  readonly subject?: Subject | undefined;
}

export interface NewSession {
  readonly session: Session;
  /** Given out once; only its hash is kept. */
  readonly token: string;
}

/** Why no session was made: `invalid` says what to write instead, `full` that too many are live. */
export class SessionError extends Error {
  readonly kind: 'invalid' | 'full';

  constructor(kind: 'invalid' | 'full', message: string) {
    super(message);
    this.name = 'SessionError';
    this.kind = kind;
  }
}

const MAX_TTL_MS = 30 * 24 * 3_600_000;
const MAX_LABELS = 32;
const MAX_TEXT = 256;
export const LABEL_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?$/;
/** Controls, line and paragraph separators, invisible format characters, lone surrogates: nothing that could forge a line. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/** A session with a fresh id (71 bits) and token (256 bits, whoever makes it). Throws SessionError. */
export function newSession(
  options: SessionOptions,
  now: number,
  token = `sgt_${randomBase62(43)}`,
): NewSession {
  return { session: sessionOf(options, now, hash('sha256', token)), token };
}

/** A session that a credential of somebody else's opens. `tokenHash`: 64 hex digits that no token hashes to. Throws SessionError. */
export function openedSession(tokenHash: string, options: SessionOptions, now: number): Session {
  return { ...sessionOf(options, now, tokenHash), isOpened: true };
}

function sessionOf(options: SessionOptions, now: number, tokenHash: string): Session {
  const { profile, ttlMs, sub, act, labels = {}, stubs, subject } = options;
  if (!Number.isSafeInteger(ttlMs) || ttlMs <= 0 || ttlMs > MAX_TTL_MS) {
    throw invalid('ttl must be more than 0 and at most 30 days, such as 30m');
  }
  checkText('sub', sub);
  checkText('act', act);
  checkLabels(labels);
  return {
    session: `s_${randomBase62(12)}`,
    profile,
    ...(sub === undefined ? {} : { sub }),
    ...(act === undefined ? {} : { act }),
    labels: Object.freeze({ ...labels }),
    createdAt: now,
    expiresAt: now + ttlMs,
    tokenHash,
    stubs: new Map(stubs),
    ...(subject && { subject }),
  };
}

function checkText(what: string, text: string | undefined): void {
  if (text === undefined) return;
  if (text === '' || text.length > MAX_TEXT || UNPRINTABLE.test(text)) {
    throw invalid(`${what} must be 1 to ${MAX_TEXT} printable characters`);
  }
}

function checkLabels(labels: Readonly<Record<string, string>>): void {
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) throw invalid(`a session may have at most ${MAX_LABELS} labels`);
  for (const [name, value] of entries) {
    if (!LABEL_NAME.test(name)) {
      throw invalid(`a label's name must be 1 to 63 of A-Z a-z 0-9 _ . / -, such as repo`);
    }
    checkText(`label "${name}"`, value);
  }
}

function invalid(message: string): SessionError {
  return new SessionError('invalid', message);
}
