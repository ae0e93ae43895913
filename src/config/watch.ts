import { createHash } from 'node:crypto';
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { compileConfig } from './compile.ts';
import { loadConfig } from './load.ts';
import type { Compiled, Config } from './types.ts';

/** The file is asked for, not listened to: editors and Kubernetes put a new one in its place. */
const POLL_MS = 500;
/** A file that changed between two polls may still be written: half of it could be valid. */
const SETTLE_MS = POLL_MS + 100;

/** Sections that are read once, at the start. */
const FIXED = ['listen', 'ca', 'state', 'audit', 'limits'] as const;

export interface ConfigWatch {
  /** Reads the file now, changed or not. */
  reload(): void;
  close(): void;
}

/**
 * Calls `onGood` when the file holds another configuration, `onBad` when it holds a bad one (an empty file too); the
 * caller keeps the last good one. Keeps no process alive.
 */
export function watchConfig(
  file: string,
  onGood: (compiled: Compiled) => void,
  onBad: (error: unknown) => void,
): ConfigWatch {
  let seen = digest(file);
  let settling: NodeJS.Timeout | undefined;
  const reload = (): void => {
    seen = digest(file);
    let compiled: Compiled;
    try {
      compiled = compileConfig(loadConfig(file));
    } catch (error) {
      onBad(error);
      return;
    }
    onGood(compiled);
  };
  const reloadIfChanged = (): void => {
    if (digest(file) !== seen) reload();
  };
  const onChange = (): void => {
    clearTimeout(settling);
    settling = setTimeout(reloadIfChanged, SETTLE_MS).unref();
  };
  watchFile(file, { interval: POLL_MS, persistent: false }, onChange);
  return {
    reload,
    close: () => {
      clearTimeout(settling);
      unwatchFile(file, onChange);
    },
  };
}

/** Names of the sections that differ but only count after a restart. */
export function needsRestart(running: Config, next: Config): string[] {
  return FIXED.filter(section => !isDeepStrictEqual(running[section], next[section]));
}

/** Undefined while there is no file. */
function digest(file: string): string | undefined {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch {
    return undefined;
  }
}
