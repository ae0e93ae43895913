import { type Reason, Refusal } from '../errors.ts';
import { SessionError } from '../state/session.ts';

/** An error on its way to another process. */
export interface Fault {
  readonly kind: 'refusal' | 'session' | 'error';
  /** Reason, kind of SessionError, or the system's code. */
  readonly code: string | undefined;
  readonly message: string;
}

export function faultOf(thrown: unknown): Fault {
  if (thrown instanceof Refusal) return { kind: 'refusal', code: thrown.code, message: thrown.message };
  if (thrown instanceof SessionError) return { kind: 'session', code: thrown.kind, message: thrown.message };
  const error: NodeJS.ErrnoException = thrown instanceof Error ? thrown : new Error(String(thrown));
  return { kind: 'error', code: error.code, message: error.message };
}

export function errorOf({ kind, code, message }: Fault): Error {
  if (kind === 'refusal') return new Refusal(code as Reason, { message });
  if (kind === 'session') return new SessionError(code as SessionError['kind'], message);
  return Object.assign(new Error(message), code !== undefined && { code });
}
