import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Canary } from './canary.ts';
import type { Watched } from './watched.ts';

export interface WatchOrder {
  readonly canaries: readonly Canary[];
  /** Session's id: a process that has it in its environment is the sandbox's. */
  readonly session: string;
  /** Folders that the sandbox has of its own, so that its files are seen through its processes only. */
  readonly ownFolders: readonly string[];
}

export interface Watch {
  /** A process that is the sandbox's, with all that it starts. */
  follow(pid: number): void;
  /** One more secret to look for. */
  add(canary: Canary): void;
  /** After a last look. */
  stop(): Promise<Watched>;
}

/** Asks the thread for what it found. */
export const STOP = 'stop' as const;

const THREAD = new URL(`./watcher${extname(import.meta.url)}`, import.meta.url);

/** Looks at the sandbox's processes, in a thread of its own, until it is stopped. Linux only. */
export async function watchPrograms(order: WatchOrder): Promise<Watch> {
  const thread = new Worker(THREAD, { workerData: order });
  await once(thread, 'message');
  return {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    follow: pid => thread.postMessage(pid),
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    add: canary => thread.postMessage(canary),
    stop: async () => {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      thread.postMessage(STOP);
      const [watched] = (await once(thread, 'message')) as [Watched];
      await thread.terminate();
      return watched;
    },
  };
}
