import { Buffer } from 'node:buffer';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditEvent } from '../types.ts';
import { LINE_LIMIT, splitLines } from './chain.ts';
import { printable } from './printable.ts';

export interface TailOptions {
  /** Asked again and again while they are followed: one that is new is read from its start. */
  files: () => readonly string[];
  /** Lines from the end to begin with. */
  lines: number;
  /** Goes on with what is appended, across log rotation, until `signal` aborts. */
  follow: boolean;
  signal: AbortSignal;
  /** Milliseconds between two looks at followed files. */
  interval?: number;
}

const CHUNK = 1 << 16;

/** The lines of audit files, from their end on, without their newlines; of several files in the order of their time. */
export async function* tailAudit(options: TailOptions): AsyncGenerator<string> {
  const { files, lines, follow, signal, interval = 200 } = options;
  const opened = new Map<string, OpenFile>();
  try {
    const last: string[] = [];
    for (const file of files()) {
      const handle = await open(file, 'r');
      const end = await lastLines(handle, (await handle.stat()).size, lines);
      opened.set(file, new OpenFile(file, handle, end.at));
      last.push(...end.last);
    }
    yield* opened.size > 1 ? byTime(last).slice(-lines) : last;
    if (!follow) return;
    while (!signal.aborted) {
      for (const file of files())
        if (!opened.has(file)) opened.set(file, new OpenFile(file, await open(file, 'r'), 0));
      let hasMoved = false;
      for (const one of opened.values()) {
        yield* one.more();
        hasMoved ||= one.hasMoved;
      }
      if (!hasMoved) await delay(interval, undefined, { signal }).catch(() => {});
    }
  } finally {
    for (const one of opened.values()) await one.close();
  }
}

function byTime(lines: readonly string[]): string[] {
  const timed = lines.map(line => [/"time":"([^"]*)"/.exec(line)?.[1] ?? '', line] as const);
  return timed.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, line]) => line);
}

/** A file that is followed by its name. */
class OpenFile {
  readonly #name: string;
  #handle: FileHandle;
  #reader: AppendedLines;
  /** At the last look another file had the name: what is in that need not be waited for. */
  hasMoved = false;

  constructor(name: string, handle: FileHandle, at: number) {
    this.#name = name;
    this.#handle = handle;
    this.#reader = new AppendedLines(handle, at);
  }

  /** What was appended. */
  async *more(): AsyncGenerator<string> {
    // Asked before reading: nothing is written to a file after its successor is there.
    this.hasMoved = await hasMoved(this.#handle, this.#name);
    yield* this.#reader.read();
    if (!this.hasMoved) return;
    await this.#handle.close();
    this.#handle = await open(this.#name, 'r');
    this.#reader = new AppendedLines(this.#handle, 0);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Up to `count` complete lines before `end`, and the offset after the last of them. */
async function lastLines(handle: FileHandle, end: number, count: number) {
  let size = Math.min(end, CHUNK);
  for (;;) {
    const bytes = await readExactly(handle, end - size, size);
    const complete = bytes.subarray(0, bytes.lastIndexOf('\n') + 1);
    const lines = splitLines(complete);
    if (size < end) lines.shift();
    if (lines.length >= count || size === end) {
      const last = count === 0 ? [] : lines.slice(-count).map(line => line.toString('utf8'));
      return { last, at: end - size + complete.length };
    }
    size = Math.min(end, size * 4);
  }
}

async function readExactly(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}

/** Whether another file has the name now, and can be opened. */
async function hasMoved(handle: FileHandle, file: string): Promise<boolean> {
  const now = await stat(file).catch(() => undefined);
  return now !== undefined && now.ino !== (await handle.stat()).ino;
}

/** What is appended to an open file, in complete lines. */
class AppendedLines {
  readonly #handle: FileHandle;
  readonly #chunk = Buffer.alloc(CHUNK);
  #position: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(handle: FileHandle, position: number) {
    this.#handle = handle;
    this.#position = position;
  }

  async *read(): AsyncGenerator<string> {
    if ((await this.#handle.stat()).size < this.#position) this.#startOver();
    for (;;) {
      const { bytesRead } = await this.#handle.read(this.#chunk, 0, CHUNK, this.#position);
      if (bytesRead === 0) return;
      this.#position += bytesRead;
      const bytes = Buffer.concat([this.#rest, this.#chunk.subarray(0, bytesRead)]);
      const stop = bytes.lastIndexOf('\n') + 1;
      this.#rest = bytes.length - stop > LINE_LIMIT ? Buffer.alloc(0) : bytes.subarray(stop);
      for (const line of splitLines(bytes.subarray(0, stop))) yield line.toString('utf8');
    }
  }

  /** After a rotation by copy and truncate. */
  #startOver(): void {
    this.#position = 0;
    this.#rest = Buffer.alloc(0);
  }
}

/** One event for a person to read. A line that is not an event is shown as it stands, marked. */
export function formatAuditLine(line: string, colour: boolean): string {
  try {
    const event = JSON.parse(line) as AuditEvent;
    const verdict = printable(event.verdict);
    const code = event.verdict === 'deny' ? 31 : event.verdict === 'tunnel' ? 33 : 32;
    const mark = colour ? `\x1b[${code}m${verdict}\x1b[0m` : verdict;
    return `${printable(event.time)} ${mark} ${printable(summary(event))}`;
  } catch {
    return `?? ${printable(line)}`;
  }
}

function summary(event: AuditEvent): string {
  const url = `${event.scheme ?? ''}://${event.host ?? '?'}:${event.port ?? '?'}${event.path ?? ''}`;
  const pairs: [string, string | number | null][] = [
    ['rule', event.rule],
    ['reason', event.reason],
    ['injected', event.injected.map(i => `${i.credential}→${i.placement}`).join(',')],
    ['scrubbed', event.scrubbed],
    ['session', event.session],
    ['sub', event.sub],
    ['ms', event.duration_ms],
  ];
  const told = pairs.filter(([, value]) => value !== null && value !== '' && value !== 0);
  return [event.status, event.method ?? 'CONNECT', url, ...told.map(([k, v]) => `${k}=${v}`)].join(' ');
}
