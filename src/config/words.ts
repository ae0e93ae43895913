import { isShowable } from './secrets.ts';

/** A list in an error is to be read, also when a file has thousands of rules. */
const MOST_TOLD = 20;

/** The word among `known` that was probably meant: at most two letters off, and less than half of it. */
export function nearest(written: string, known: Iterable<string>): string | undefined {
  const word = written.slice(0, 64).toLowerCase();
  let best: string | undefined;
  let least = Math.min(3, Math.ceil(word.length / 2));
  for (const candidate of known) {
    const distance = editDistance(word, candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

/** `did you mean "x"?`, or `write one of x, y, z`; never what was written, nor names that may be secrets. */
export function suggest(written: string, names: readonly string[], ifNone = 'leave it out'): string {
  const known = [...new Set(names)].filter(isShowable);
  const meant = nearest(written, known);
  if (meant !== undefined) return `did you mean "${meant}"?`;
  if (known.length === 0) return ifNone;
  return known.length === 1 ? `write ${known[0]}` : `write one of ${known.slice(0, MOST_TOLD).join(', ')}`;
}

/** Insertions, deletions, replacements and swaps of neighbours (Damerau, restricted). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (last[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] as number) + 1 : replaced;
      row.push(Math.min((last[j] as number) + 1, (row[j - 1] as number) + 1, replaced, swapped));
    }
    [before, last] = [last, row];
  }
  return last[b.length] as number;
}
