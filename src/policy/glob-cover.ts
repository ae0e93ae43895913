import { lenientReadings } from './path.ts';
import { pathCells } from './path-cells.ts';

/** Whether a glob cannot read a path leniently, because one that covers it does not. */
export function isUnread(glob: string, unread: ReadonlySet<string>): boolean {
  return unread.has(glob) || [...unread].some(outer => isCoveredBy(glob, outer));
}

const covered = new Map<string, boolean>();

/** Said only of globs that have no other spelling: of those, a lenient reading is covered as well. */
function isCoveredBy(glob: string, outer: string): boolean {
  if (lenientReadings(glob).length > 1 || lenientReadings(outer).length > 1) return false;
  const key = `${glob} ${outer}`;
  let is = covered.get(key);
  if (is === undefined) {
    let left = 10_000;
    const patterns = [glob, outer].map(text => ({ glob: text, lenient: false }));
    const cells = pathCells(patterns, steps => (left -= steps) >= 0);
    is = cells?.every(({ under }) => !under.has(0) || under.has(1)) ?? false;
    covered.set(key, is);
  }
  return is;
}
