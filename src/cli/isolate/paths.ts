import { lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** The path without links; none if nothing is there. */
export function real(path: string): string[] {
  try {
    return [realpathSync(path)];
  } catch {
    return [];
  }
}

/** Of the path itself, then of each folder above it. */
export function upwards(path: string): string[] {
  const above = dirname(path);
  return above === path ? [path] : [path, ...upwards(above)];
}

/** Whether the sandbox's user gets to it: in a user namespace, root is a user like any other. */
export function reachable(path: string): boolean {
  if (process.getuid?.() !== 0) return true;
  return upwards(dirname(path)).every(folder => {
    const { uid, gid, mode } = statSync(folder);
    const execute = uid === 0 ? 0o100 : gid === 0 ? 0o010 : 0o001;
    return (mode & execute) !== 0;
  });
}

/** Unix sockets that programs outside have bound, as far as the kernel tells their paths (proc_net(5)). */
export function boundSockets(): string[] {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n');
  const paths = lines.map(line => /^(?:\S+\s+){7}(\/.*)$/.exec(line)?.[1] ?? '');
  return [...new Set(paths)].filter(isSocket).flatMap(real).filter(reachable);
}

function isSocket(path: string): boolean {
  try {
    return path !== '' && lstatSync(path).isSocket();
  } catch {
    return false;
  }
}
