import { setImmediate as turn } from 'node:timers/promises';

/** Work that may be laid down after each step. */
export type Steps<T> = Generator<void, T>;

/** Longest time that steps are done without a look at what else waits, ms. */
const SLICE_MS = 1;

export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Between slices the event loop turns, so that nobody's request waits for all of it. */
export async function inSlices<T>(steps: Steps<T>): Promise<T> {
  for (let until = performance.now() + SLICE_MS; ; ) {
    const { done, value } = steps.next();
    if (done) return value;
    if (performance.now() < until) continue;
    await turn();
    until = performance.now() + SLICE_MS;
  }
}
