import type { Machine } from './machine.ts';
import { figure, median, ratios, type Row } from './report.ts';

const GATE = 'stubgate';
/** What a short run on another machine may differ by, beyond the worst of the committed rounds. */
const TOLERANCE = 0.15;

/** Of the gate to a peer: median, lowest and highest round. */
export interface Ratio {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** bench/last.json: a full run's ratios, and where it ran. */
export interface Committed {
  readonly machine: Machine;
  /** By peer. */
  readonly versions: Readonly<Record<string, string>>;
  /** By row, then by peer. */
  readonly ratios: Readonly<Record<string, Readonly<Record<string, Ratio>>>>;
}

const rounded = (value: number): number => Number(value.toPrecision(3));

/** The ratios of each row that has more than the gate; an invalid one is left out. */
export function ratiosOf(rows: readonly Row[]): Committed['ratios'] {
  const all: Record<string, Record<string, Ratio>> = {};
  for (const row of rows) {
    for (const peer of Object.keys(row.values)) {
      const each = ratios(row, GATE, peer);
      const middle = median(each);
      if (peer === GATE || !Number.isFinite(middle)) continue;
      (all[row.key] ??= {})[peer] = {
        median: rounded(middle),
        low: rounded(Math.min(...each)),
        high: rounded(Math.max(...each)),
      };
    }
  }
  return all;
}

/** What got worse: a line for each ratio that lies beyond the committed rounds by more than they lie apart, and by 15 %. */
export function warnings(committed: Committed, rows: readonly Row[]): string[] {
  const now = ratiosOf(rows);
  return rows.flatMap(({ key, label, better }) =>
    Object.entries(now[key] ?? {}).flatMap(([peer, { median: value }]) => {
      const then = committed.ratios[key]?.[peer];
      if (!then) return [];
      const slack = 1 + Math.max(TOLERANCE, (then.high - then.low) / then.median);
      const isWorse = better === 'higher' ? value < then.low / slack : value > then.high * slack;
      return isWorse
        ? [`${label}: ${figure(value)} × ${peer}, was ${figure(then.low)} to ${figure(then.high)}`]
        : [];
    }),
  );
}
