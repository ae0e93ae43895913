import type { Compiled } from '../../config/types.ts';
import type { Authority } from '../../intercept/ca.ts';

/** What a check found. */
export interface Finding {
  /** `note`: works, but should be known. */
  readonly status: 'ok' | 'note' | 'failed';
  /** One line; no secret stands in it. */
  readonly text: string;
  /** What to type, or to write. */
  readonly fix?: string;
}

export interface Patient {
  readonly compiled: Compiled;
  /** Of this gate; absent: there is none yet, or it cannot be used. */
  readonly authority?: Authority;
  /** As the command was started with. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** ms since the epoch */
  readonly now: number;
}

/** Looks at one thing. What it throws is told as failed. */
export interface Check {
  readonly name: string;
  readonly run: (patient: Patient) => Finding[] | Promise<Finding[]>;
}

export const ok = (text: string): Finding => ({ status: 'ok', text });
export const note = (text: string, fix?: string): Finding => ({
  status: 'note',
  text,
  ...(fix !== undefined && { fix }),
});
export const failed = (text: string, fix: string): Finding => ({ status: 'failed', text, fix });
