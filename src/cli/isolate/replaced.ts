import { closeSync, fstatSync, openSync, type Stats, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';

/** Behind the kernel's events, of which it drops some when there are too many. */
const POLL_MS = 250;

/** Calls back, once, when another file stands at one of the paths, or none. Returns what ends that. */
export function onReplaced(files: readonly string[], replaced: (file: string) => void): () => void {
  // As long as a file is open its successor has another inode.
  const open = files.map(file => ({ file, fd: openSync(file, 'r') }));
  const watchers = [...new Set(files.map(dirname))].map(folder => watch(folder, () => look()));
  const timer = setInterval(() => look(), POLL_MS);
  const end = (): void => {
    clearInterval(timer);
    for (const watcher of watchers.splice(0)) watcher.close();
    for (const { fd } of open.splice(0)) closeSync(fd);
  };
  const look = (): void => {
    const found = open.find(
      ({ file, fd }) => !isSame(fstatSync(fd), statSync(file, { throwIfNoEntry: false })),
    );
    if (!found) return;
    end();
    replaced(found.file);
  };
  for (const watcher of watchers) watcher.on('error', look);
  return end;
}

const isSame = (before: Stats, now: Stats | undefined): boolean =>
  before.dev === now?.dev && before.ino === now.ino;
