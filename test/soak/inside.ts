import { monitorEventLoopDelay } from 'node:perf_hooks';

/** What the gate's own process tells when it is asked; loaded into it before its code (`--expose-gc --import`). */
export interface Inside {
  /** Bytes in use after a garbage collection, those outside of the heap included. */
  readonly heap: number;
  /** Longest stall of the event loop since the last time, ms. */
  readonly stall: number;
}

const delays = monitorEventLoopDelay({ resolution: 10 });
delays.enable();
process.on('message', () => {
  const stall = Math.max(0, delays.max / 1e6 - 10);
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  // The collection was a stall of our own.
  delays.reset();
  process.send?.({ heap: heapUsed + external, stall } satisfies Inside);
});
process.channel?.unref();
