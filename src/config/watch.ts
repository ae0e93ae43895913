import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { LARGE, loadAside } from './aside.ts';
import { compileConfig } from './compile.ts';
import { parseConfig, readText } from './load.ts';
import type { Compiled, Config } from './types.ts';

/** The file is asked for, not listened to: editors and Kubernetes put a new one in its place. */
const POLL_MS = 500;

/** Sections that are read once, at the start. */
const FIXED = ['listen', 'ca', 'state', 'audit', 'limits'] as const;

export interface ConfigWatch {
  /** Reads the file now, changed or not. */
  reload(): void;
  close(): void;
}

/**
 * Calls `onGood` when the file holds another configuration, `onBad` when it holds a bad one (an empty file too); the
 * caller keeps the last good one. A large file is told of later than it is read; what changes meanwhile is read anew.
 * Keeps no process alive.
 */
export function watchConfig(
  file: string,
  onGood: (compiled: Compiled, text: string) => void,
  onBad: (error: unknown) => void,
): ConfigWatch {
  let loaded = digest(readIfThere(file));
  let last: string | undefined;
  let judged: string | undefined;
  let closed = false;
  let reading: AbortController | undefined;
  const reload = (found = readIfThere(file)): void => {
    loaded = digest(found);
    reading?.abort(); // of an older file
    reading = undefined;
    try {
      // What was found is what counts: read again, the file may be half of another one.
      const text = readText(file, found);
      if (found !== undefined && found.length > LARGE) readAside(text);
      else onGood(compileConfig(parseConfig(text, file)), text);
    } catch (error) {
      onBad(error);
    }
  };
  const readAside = (text: string): void => {
    const { signal } = (reading = new AbortController());
    loadAside(file, text, signal)
      .then(compiled => signal.aborted || onGood(compiled, text))
      .catch((error: unknown) => signal.aborted || onBad(error));
  };
  const poll = async (): Promise<void> => {
    const now = await identity(file);
    // A file that changed since the last look may still be written, and half of it could be valid.
    if (now === last && now !== judged) {
      judged = now;
      const found = readIfThere(file);
      if (digest(found) !== loaded) reload(found);
    }
    last = now;
    if (!closed) timer.refresh();
  };
  const timer = setTimeout(() => void poll(), POLL_MS).unref();
  return {
    reload: () => reload(),
    close: () => {
      closed = true;
      reading?.abort();
      clearTimeout(timer);
    },
  };
}

/** Names of the sections that differ but only count after a restart. */
export function needsRestart(running: Config, next: Config): string[] {
  return FIXED.filter(section => !isDeepStrictEqual(running[section], next[section]));
}

/** What changes when a file is written or replaced, behind links too; empty while there is no file. */
async function identity(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch {
    return '';
  }
}

/** Undefined while there is no file. */
function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

const digest = (text: Buffer | undefined): string | undefined =>
  text && createHash('sha256').update(text).digest('hex');
