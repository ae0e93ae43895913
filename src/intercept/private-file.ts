import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs';

/** Access bits of the group and of everybody else. */
const OTHERS = 0o077;

/** The text of a file that nobody but us may read; `what` names it in errors, such as `the CA key`. */
export function readPrivate(file: string, what: string): string {
  const descriptor = opened(file, what);
  try {
    requireOurs(descriptor, file, what);
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

export function readPublic(file: string, what: string): string {
  const descriptor = opened(file, what);
  try {
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

function opened(file: string, what: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const fault = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
    throw new Error(`${what} ${file} ${fault}`, { cause });
  }
}

function requireOurs(descriptor: number, file: string, what: string): void {
  const us = process.geteuid?.();
  if (us === undefined) return; // no owner and no mode to look at on this system
  const { mode, uid } = fstatSync(descriptor);
  if (uid !== us)
    throw new Error(
      `${what} ${file} belongs to user ${uid}, stubgate runs as ${us}: run chown ${us} ${file}`,
    );
  if ((mode & OTHERS) === 0) return;
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  throw new Error(`${what} ${file} is open to other users (mode ${shown}): run chmod 600 ${file}`);
}

/** Writes a new file, whole or not at all. One that is there stays as it is: of several processes one wins. */
export function createOnce(file: string, content: string, mode: number): void {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    writeDurably(temporary, content, mode);
    linkSync(temporary, file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'EEXIST') throw new Error(`cannot create ${file} (${code})`, { cause });
  } finally {
    unlinkIfThere(temporary);
  }
}

function writeDurably(file: string, content: string, mode: number): void {
  const descriptor = openSync(file, 'wx', mode);
  try {
    writeSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function unlinkIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // never written
  }
}
