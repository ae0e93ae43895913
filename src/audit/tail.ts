import { Buffer } from 'node:buffer';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditEvent } from '../types.ts';
import { LINE_LIMIT, splitLines } from './chain.ts';
import { printable } from './printable.ts';

export interface TailOptions {
  file: string;
  /** Lines from the end to begin with. */
  lines: number;
  /** Goes on with what is appended, across log rotation, until `signal` aborts. */
  follow: boolean;
  signal: AbortSignal;
  /** Milliseconds between two looks at a followed file. */
  interval?: number;
}

const CHUNK = 1 << 16;

/** The lines of an audit file, from its end on, without their newlines. */
export async function* tailAudit(options: TailOptions): AsyncGenerator<string> {
  let handle = await open(options.file, 'r');
  try {
    const end = (await handle.stat()).size;
    const { last, at } = await lastLines(handle, end, options.lines);
    yield* last;
    let reader = new AppendedLines(handle, at);
    while (options.follow && !options.signal.aborted) {
      // Asked before reading: nothing is written to a file after its successor is there.
      const moved = await hasMoved(handle, options.file);
      yield* reader.read();
      if (moved) {
        await handle.close();
        handle = await open(options.file, 'r');
        reader = new AppendedLines(handle, 0);
      } else {
        await delay(options.interval ?? 200, undefined, { signal: options.signal }).catch(() => {});
      }
    }
  } finally {
    await handle.close();
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
