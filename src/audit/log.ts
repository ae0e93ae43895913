import { Buffer } from 'node:buffer';
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { Refusal } from '../errors.ts';
import type { AuditEvent } from '../types.ts';
import { CHAIN_START, headAfter, headAfterCut, LINE_LIMIT, NEWLINE, prevOf, splitLines } from './chain.ts';
import { toLine } from './line.ts';
import { lock } from './lock.ts';

const RETRY_MS = 1000;
/** Room for nearly every line. */
const SCRATCH_BYTES = 8192;
/** Events kept for when the file can be written again: those of requests that were on their way when it failed. */
const KEPT_LIMIT = 10_000;

/**
 * The audit file: one JSON line per event, in pure ASCII, chained by `prev` (see chain.ts).
 * `write` is synchronous: what it returned from survives the death of the process, though not of the kernel (no fsync).
 */
export class AuditLog {
  readonly #file: string;
  readonly #unlock: () => void;
  #fd = -1;
  readonly #scratch = Buffer.alloc(SCRATCH_BYTES);
  #head = CHAIN_START;
  #healthy = false;
  #checkedAt = 0;
  #cause: unknown;
  #kept: AuditEvent[] = [];
  #lost = 0;

  /** Throws if the file cannot be written, or another process writes it. Missing folders are made. */
  constructor(file: string) {
    this.#file = file;
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    // A lock beside /dev/stdout would be nobody's.
    this.#unlock = isDevice(file) ? () => {} : lock(file);
    try {
      this.#open();
    } catch (error) {
      this.#unlock();
      throw error;
    }
  }

  /** False from a failed write on, until the file can be written again. */
  get healthy(): boolean {
    return this.#healthy;
  }

  /** Events that were given up because the file could not be written for too long. */
  get lost(): number {
    return this.#lost;
  }

  /** Throws `audit_unavailable` unless the next event can be expected to reach the file. To be called per request. */
  assertWritable(): void {
    const now = performance.now();
    if (now - this.#checkedAt >= RETRY_MS) this.#check(now);
    if (!this.#healthy) throw new Refusal('audit_unavailable', { cause: this.#cause });
  }

  /** Throws `audit_unavailable`; the event is then kept, and written first when the file can be written again. */
  write(event: AuditEvent): void {
    if (!this.#healthy) {
      this.#keep(event);
      throw new Refusal('audit_unavailable', { cause: this.#cause });
    }
    try {
      this.#append(event);
    } catch (cause) {
      this.#fail(cause);
      this.#keep(event);
      throw new Refusal('audit_unavailable', { cause });
    }
  }

  /** Opens the file's name anew, after a log rotation moved the file: the new file continues the chain. */
  reopen(): void {
    this.#check(performance.now(), true);
  }

  /** Gives back the file and its lock. Further events are refused. */
  close(): void {
    this.#healthy = false;
    this.#checkedAt = Number.POSITIVE_INFINITY;
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    this.#unlock();
  }

  /** Notices a file that was deleted under the gate; opens, and writes what was kept, where that is needed. */
  #check(now: number, always = false): void {
    if (this.#checkedAt === Number.POSITIVE_INFINITY) return;
    this.#checkedAt = now;
    try {
      if (always || !this.#healthy || fstatSync(this.#fd).nlink === 0) this.#open();
      while (this.#kept[0]) {
        this.#append(this.#kept[0]);
        this.#kept.shift();
      }
    } catch (cause) {
      this.#fail(cause);
    }
  }

  #fail(cause: unknown): void {
    this.#healthy = false;
    this.#cause = cause;
    this.#checkedAt = performance.now();
  }

  #open(): void {
    const fd = openSync(this.#file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
    try {
      this.#head = continueChain(fd, this.#file, this.#head);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = fd;
    this.#healthy = true;
  }

  #append(event: AuditEvent): void {
    const text = `${toLine(event, this.#head)}\n`;
    const bytes = text.length <= this.#scratch.length ? this.#scratch : Buffer.alloc(text.length);
    const length = bytes.write(text, 'latin1');
    let written = 0;
    try {
      while (written < length) written += writeSync(this.#fd, bytes, written, length - written);
    } catch (error) {
      this.#takeBack(written);
      throw error;
    }
    this.#head = headAfter(bytes.subarray(0, length - 1));
  }

  /** Removes the half of a line. Where even that fails, the next opening closes it as a cut line. */
  #takeBack(bytes: number): void {
    if (bytes === 0) return;
    try {
      ftruncateSync(this.#fd, fstatSync(this.#fd).size - bytes);
    } catch {}
  }

  #keep(event: AuditEvent): void {
    if (this.#kept.length < KEPT_LIMIT) this.#kept.push(event);
    else this.#lost++;
  }
}

/** Such as /dev/stdout. */
export function isDevice(file: string): boolean {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat !== undefined && !stat.isFile();
}

/**
 * The chain's head at the end of an open file, which is read from its end only. An empty file continues at `head`.
 * A last line without its newline gets it: if it is not complete it stays visible as a cut line.
 */
function continueChain(fd: number, file: string, head: string): string {
  const stat = fstatSync(fd);
  if (!stat.isFile() || stat.size === 0) return head;
  const tail = readTail(fd, stat.size);
  const lines = splitLines(tail);
  const last = lines.findLastIndex(line => prevOf(line) !== undefined);
  if (last < 0 && tail.length < stat.size) {
    throw new Error(`${file} does not end in audit lines; move it away, or set audit.file to another name`);
  }
  let result = last < 0 ? head : headAfter(lines[last] as Buffer);
  for (const cut of lines.slice(last + 1)) result = headAfterCut(result, cut);
  if (tail.at(-1) !== NEWLINE) writeSync(fd, '\n');
  return result;
}

/** Two lines' worth of the end of the file. */
function readTail(fd: number, size: number): Buffer {
  const tail = Buffer.alloc(Math.min(size, 2 * LINE_LIMIT));
  let filled = 0;
  while (filled < tail.length) {
    const bytes = readSync(fd, tail, filled, tail.length - filled, size - tail.length + filled);
    if (bytes === 0) throw new Error('the file shrank while it was read');
    filled += bytes;
  }
  return tail;
}
