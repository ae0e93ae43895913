import { Buffer } from 'node:buffer';
import { readdirSync, readFileSync, readlinkSync, type Stats, statSync } from 'node:fs';

/** A process, as /proc tells of it (proc_pid(5)). */
export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
}

export interface OpenFile {
  readonly fd: number;
  /** As the process sees it. */
  readonly path: string;
  /** By which it can be read from outside, even once it has no name. */
  readonly link: string;
  readonly stats: Stats;
}

/** Every process that can be seen. */
export function processes(): Process[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => {
      const stat = quietly(() => readFileSync(`/proc/${name}/stat`, 'latin1'));
      // The name stands in parentheses, and may hold some.
      const [, command, parent] = /^\d+ \((.*)\) \S (\d+)/s.exec(stat ?? '') ?? [];
      return command === undefined ? [] : [{ pid: Number(name), parent: Number(parent), name: command }];
    });
}

/** Those that were started by one of `roots`, or by what it started. */
export function descendants(all: readonly Process[], roots: ReadonlySet<number>): Process[] {
  const children = Map.groupBy(all, ({ parent }) => parent);
  const found: Process[] = [];
  const visit = (pid: number): void => {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      visit(child.pid);
    }
  };
  for (const root of roots) visit(root);
  return found;
}

/** The one with the most ancestors among them: the likeliest to be inside of what the others set up. */
export function innermost(some: readonly Process[]): Process | undefined {
  const parents = new Map(some.map(({ pid, parent }) => [pid, parent]));
  const depth = ({ pid }: Process): number => {
    let above = 0;
    for (let at = parents.get(pid); at !== undefined && above < some.length; at = parents.get(at)) above++;
    return above;
  };
  return some.toSorted((a, b) => depth(b) - depth(a))[0];
}

/**
 * `NAME=value` of the environment that it was started with; none of one that is about to end, and has no memory any more
 * (ESRCH, while it is still there). Throws if it may not be read.
 */
export function environmentOf(pid: number): string[] {
  try {
    return listed(readFileSync(`/proc/${pid}/environ`));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ESRCH') return [];
    throw thrown;
  }
}

export function argumentsOf(pid: number): string[] {
  return listed(readFileSync(`/proc/${pid}/cmdline`));
}

/** The name of the program that it runs now. */
export function commandOf(pid: number): string | undefined {
  return quietly(() => readFileSync(`/proc/${pid}/comm`, 'latin1').trim());
}

/** Whether it is there, and no zombie: of one of those only its exit code is left. */
export function isAlive(pid: number): boolean {
  const status = quietly(() => readFileSync(`/proc/${pid}/status`, 'latin1'));
  return status !== undefined && !/^State:\s+[ZX]/m.test(status);
}

const listed = (bytes: Buffer): string[] => bytes.toString('latin1').split('\0').filter(Boolean);

/** Its regular files. */
export function openFiles(pid: number): OpenFile[] {
  const names = quietly(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
  return names.flatMap(name => {
    const link = `/proc/${pid}/fd/${name}`;
    const stats = quietly(() => statSync(link));
    const path = quietly(() => readlinkSync(link));
    return stats?.isFile() && path !== undefined ? [{ fd: Number(name), path, link, stats }] : [];
  });
}

/** Undefined if it throws: a process ends whenever it likes. */
export function quietly<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
