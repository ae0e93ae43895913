import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

/** What a process of the gate tells when it is asked; loaded into it before its code (`--expose-gc --import`). */
export interface Inside {
  /** Bytes in use after a garbage collection, those outside of the heap included. */
  readonly heap: number;
  /** Longest stall of the event loop since the last time, ms. */
  readonly stall: number;
}

/** In the folder where the gate runs. */
export const insideFile = (pid: number): string => `inside-${pid}.json`;

if (isMainThread && process.env['SOAK_INSIDE'] === '1') answerWhenAsked(insideFile(process.pid));

function answerWhenAsked(file: string): void {
  const delays = monitorEventLoopDelay({ resolution: 10 });
  delays.enable();
  process.on('SIGUSR2', () => {
    const stall = Math.max(0, delays.max / 1e6 - 10);
    (globalThis as { gc?: () => void }).gc?.();
    const { heapUsed, external } = process.memoryUsage();
    // The collection was a stall of our own.
    delays.reset();
    writeFileSync(`${file}.new`, JSON.stringify({ heap: heapUsed + external, stall } satisfies Inside));
    renameSync(`${file}.new`, file);
  });
  // From now on the signal is heard, and does not end the process.
  writeFileSync(file, '');
}
