import { readFileSync, statSync } from 'node:fs';
import type { Log } from '../log.ts';

/** How often a file is looked at, ms. */
const LOOK_MS = 1000;

/** What a file holds, read again when it changes; a bad one is reported, and the last good one stays. */
export class WatchedFile<T> {
  readonly #file: string;
  readonly #what: string;
  readonly #parse: (text: string) => T;
  readonly #log: Log;
  #identity: string;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #value: T;

  /**
   * `what`: for errors, such as `identity[0].ca_file`. `parse` throws an Error that follows the file's name, and quotes
   * nothing of it. Throws an Error for the operator if it cannot be used now.
   */
  constructor(file: string, what: string, parse: (text: string) => T, log: Log) {
    this.#file = file;
    this.#what = what;
    this.#parse = parse;
    this.#log = log;
    this.#identity = identityOf(file);
    this.#value = this.#read();
  }

  /** `now`: performance.now(). */
  value(now: number): T {
    if (now - this.#lookedAt < LOOK_MS) return this.#value;
    this.#lookedAt = now;
    const identity = identityOf(this.#file);
    if (identity === this.#identity) return this.#value;
    this.#identity = identity;
    try {
      this.#value = this.#read();
      this.#log.info('a file was read again', { what: this.#what, file: this.#file });
    } catch (cause) {
      this.#log.error('a file cannot be used: what it held before stays', { cause });
    }
    return this.#value;
  }

  #read(): T {
    try {
      return this.#parse(readFileSync(this.#file, 'utf8'));
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const why = code === undefined ? message : `cannot be used (${code})`;
      throw new Error(`${this.#what} ${this.#file} ${why}`, { cause });
    }
  }
}

/** Changes when a file is written or replaced, behind links too; empty while there is none, or none that can be reached. */
function identityOf(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch {
    return '';
  }
}
