import { statSync, watch } from 'node:fs';
import { dirname } from 'node:path';

/** Behind the kernel's events, of which it drops some when there are too many. */
const POLL_MS = 250;

/** Calls back once another file stands at one of the paths, or none. Returns what ends that. */
export function onReplaced(files: readonly string[], replaced: (file: string) => void): () => void {
  const known = new Map(files.map(file => [file, identity(file)]));
  const look = (): void => {
    for (const [file, before] of known) {
      if (identity(file) === before) continue;
      known.clear();
      replaced(file);
    }
  };
  const watchers = [...new Set(files.map(dirname))].map(folder => watch(folder, look));
  for (const watcher of watchers) watcher.on('error', look);
  const timer = setInterval(look, POLL_MS);
  return () => {
    clearInterval(timer);
    for (const watcher of watchers) watcher.close();
  };
}

/** Empty if there is no such file. */
function identity(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat ? `${stat.dev}:${stat.ino}` : '';
}
