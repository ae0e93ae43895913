import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** Locks that this process holds: its own id in a lock file that is not among them was left by a process before it. */
const held = new Set<string>();

/** Another living process writes the file. */
export class AuditLocked extends Error {}

/** Takes `<file>.lock`, which names its holder. Returns what gives it back. Throws AuditLocked if a living process holds it. */
export function lock(file: string): () => void {
  const path = `${file}.lock`;
  const mine = identify(process.pid);
  for (;;) {
    try {
      writeFileSync(path, mine, { flag: 'wx', mode: 0o600 });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    removeStale(path);
  }
  held.add(path);
  return () => {
    held.delete(path);
    rmSync(path, { force: true });
  };
}

/**
 * Moves a lock aside before judging it: of two processes that find the same stale lock, one gets it, and a lock that
 * was taken in between is put back.
 */
function removeStale(path: string): void {
  refuseIfAlive(path, path);
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    refuseIfAlive(aside, path);
  } catch (error) {
    linkSync(aside, path);
    throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

function refuseIfAlive(file: string, path: string): void {
  let holder: string;
  try {
    holder = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const pid = Number.parseInt(holder, 10);
  const alive = pid === process.pid ? held.has(path) : pid > 0 && holder === identify(pid);
  if (alive) {
    throw new AuditLocked(
      `process ${pid} writes this audit file already (${path}); give each gate an audit file of its own`,
    );
  }
}

/** `<pid> <start time in clock ticks since boot>`: a process id alone is used again. Empty if there is no such process. */
function identify(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): field 2 is the command in parentheses and may hold anything; field 22 is the start time.
    return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}\n`;
  } catch {
    return signalable(pid) ? `${pid}\n` : '';
  }
}

/** Where there is no /proc. */
function signalable(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
