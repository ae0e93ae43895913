import type { Findings } from './windows.ts';

const MB = 1024 * 1024;
/** Shorter ones tell nothing: caches fill, and code is compiled. */
const LEAST_MINUTES = 5;
/** For resident memory: V8 gives back and takes again what the heap does not need, tens of MB within minutes. */
const LEAST_RESIDENT_MINUTES = 20;
/** What may be added over a whole run after its warm-up, by the slope: noise of the collector, and caches. */
const HEAP_BYTES = 6 * MB;
const RSS_BYTES = 64 * MB;
/** What a gate remembers for an hour on purpose: of an ended session, of a secret's value that was replaced. */
const SESSION_BYTES = 2 * 1024;
const VALUE_BYTES = 30 * 1024;
/** Of a run, from its beginning. */
const WARM_UP = 0.3;

interface Sample {
  /** Minutes since the beginning. */
  readonly at: number;
  /** After a garbage collection, bytes. */
  readonly heap: number;
  readonly rss: number;
}

/** Memory over time. */
export class Memory {
  readonly #samples: Sample[] = [];
  readonly #stalls: number[] = [];

  add(sample: Sample, stall: number): void {
    this.#samples.push(sample);
    this.#stalls.push(stall);
  }

  /** Lines for the report; adds a finding for what grows all the time. `sessions`, `values`: of the whole run. */
  judge(findings: Findings, sessions: number, values: number): string[] {
    const end = this.#samples.at(-1)?.at ?? 0;
    const steady = this.#samples.filter(({ at }) => at >= end * WARM_UP);
    const minutes = end - (steady[0]?.at ?? 0);
    const heap = slope(steady.map(({ at, heap: bytes }) => [at, bytes]));
    const rss = slope(steady.map(({ at, rss: bytes }) => [at, bytes]));
    const stalls = this.#stalls.toSorted((a, b) => b - a);
    const remembered = ((sessions * SESSION_BYTES + values * VALUE_BYTES) * minutes) / Math.max(end, 1 / 60);
    const lines = [
      `heap after GC: ${mb(steady[0]?.heap)} → ${mb(steady.at(-1)?.heap)} MB, slope ${kb(heap)} KB/min; resident: ${mb(steady[0]?.rss)} → ${mb(steady.at(-1)?.rss)} MB, slope ${kb(rss)} KB/min, over ${minutes.toFixed(1)} min, in which ${mb(remembered)} MB may be remembered on purpose`,
      `longest stalls of the event loop, ms: ${stalls
        .slice(0, 5)
        .map(ms => ms.toFixed(0))
        .join(', ')}; median of the longest in 10 s: ${(stalls[stalls.length >> 1] ?? 0).toFixed(0)}`,
    ];
    if (end < LEAST_MINUTES) return [...lines, `memory is judged from ${LEAST_MINUTES} minutes on only`];
    if (heap * minutes > HEAP_BYTES + remembered) findings.add('the heap grows', lines[0] as string);
    if (end < LEAST_RESIDENT_MINUTES)
      return [...lines, `resident memory is judged from ${LEAST_RESIDENT_MINUTES} minutes on only`];
    if (rss * minutes > RSS_BYTES + remembered) findings.add('resident memory grows', lines[0] as string);
    return lines;
  }
}

/** Least squares, per unit of x. */
export function slope(points: readonly (readonly [number, number])[]): number {
  const n = points.length;
  const meanX = points.reduce((all, [x]) => all + x, 0) / n;
  const meanY = points.reduce((all, [, y]) => all + y, 0) / n;
  const over = points.reduce((all, [x, y]) => all + (x - meanX) * (y - meanY), 0);
  const under = points.reduce((all, [x]) => all + (x - meanX) ** 2, 0);
  return under === 0 ? 0 : over / under;
}

const mb = (bytes = 0): string => (bytes / MB).toFixed(1);
const kb = (bytes: number): string => (bytes / 1024).toFixed(0);
