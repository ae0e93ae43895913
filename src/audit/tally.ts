/** A number, or numbers by name. */
export type Tally = number | ReadonlyMap<string, Tally> | { readonly [name: string]: Tally };

/** Adds tallies by name to those that are there. */
export function addAll<T extends Tally>(own: Map<string, T>, more: ReadonlyMap<string, T>): void {
  for (const [name, tally] of more) own.set(name, sum(own.get(name), tally) as T);
}

/** Of two of one shape; a new one, but for what only one of them has. */
function sum(a: Tally | undefined, b: Tally): Tally {
  if (a === undefined) return b;
  if (typeof b === 'number') return (a as number) + b;
  if (b instanceof Map) {
    const both = new Map(a as ReadonlyMap<string, Tally>);
    addAll(both, b as ReadonlyMap<string, Tally>);
    return both;
  }
  const [left, right] = [a, b] as [Record<string, Tally>, Record<string, Tally>];
  return Object.fromEntries(Object.entries(right).map(([name, tally]) => [name, sum(left[name], tally)]));
}
