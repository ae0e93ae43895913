import { setFlagsFromString } from 'node:v8';

/**
 * Tunes V8's heap for many short-lived exchanges; to be called before anything runs often. Where V8 sees objects of
 * one place survive, it makes the next ones in old space, and there each keeps alive what it refers to: whole exchanges
 * survived every scavenge. Without that a scavenge takes 0.5 ms instead of 15 (docs/performance.md).
 *
 * V8 counts the memory of Node's buffers as if it were old, so that some 20 MB of a body that passes through call for a
 * collection of the whole heap: twice the CPU of a download. With a limit of three times what lives, a scavenge, which
 * frees them all, comes first (docs/performance.md, "Bulk").
 */
export function tuneHeap(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
  setFlagsFromString('--heap-growing-percent=200');
}
