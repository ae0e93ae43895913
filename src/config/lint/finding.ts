import type { Problem } from '../problems.ts';
import type { Path } from '../document.ts';
import type { Policy } from '../load.ts';
import type { CheckCode, Level } from './codes.ts';

/** Something valid that is probably not meant. */
export interface Finding extends Problem {
  readonly code: CheckCode;
  readonly level: Level;
  /** What to write instead. */
  readonly fix: string;
}

/** Takes what a check found at a path of the file. */
export type Find = (code: CheckCode, path: Path, message: string, fix: string) => void;

/** A check: looks at a policy, and at nothing else. */
export type Check = (policy: Policy, find: Find) => void;
