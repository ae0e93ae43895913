import { lstatSync, mkdirSync } from 'node:fs';
import { constants, enableCompileCache } from 'node:module';

/**
 * Keeps what V8 compiles in `dir`, for the next start; made if it is not there. Whoever writes there runs code in the next
 * gate, so it has to be ours, and nobody else's: else nothing is kept. Whether it is.
 */
export function keepCompiled(dir: string): boolean {
  if (!isOurs(dir)) return false;
  return enableCompileCache(dir).status === constants.compileCacheStatus.ENABLED;
}

function isOurs(dir: string): boolean {
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch {
    // It is there, or cannot be made.
  }
  try {
    const found = lstatSync(dir);
    return found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0;
  } catch {
    return false;
  }
}
