/** One thing that is wrong with a configuration, and what to write instead. Holds no value from the file that could be secret. */
export interface Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly col: number;
  /** Such as `rules[0].inject[0].credential`; empty for the file itself. */
  readonly path: string;
  readonly message: string;
}

/** A configuration that cannot be used. Tells every problem at once, one per line. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(formatProblem).join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** `file:line:col: path: what is wrong; what to write instead` */
export function formatProblem({ file, line, col, path, message }: Problem): string {
  return path === '' ? `${file}:${line}:${col}: ${message}` : `${file}:${line}:${col}: ${path}: ${message}`;
}
