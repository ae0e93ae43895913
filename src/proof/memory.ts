import { Buffer } from 'node:buffer';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import type { QuickSearch, Spotted } from './quick.ts';

interface Region {
  readonly start: number;
  readonly end: number;
  /** `[heap]`, `[stack]`, a file, or empty: anonymous. */
  readonly name: string;
}

export interface InMemory extends Spotted {
  readonly address: number;
  readonly region: string;
}

const PAGE = 4096;
/** Bytes of one read. */
const PIECE = 4 * 1024 * 1024;
/** Of an entry in pagemap (proc_pid_pagemap(5)): the page is in memory, or swapped out. */
const IN_USE = 0xc0;
const ENTRY = 8;

/** What a process may write: heap, stacks, anonymous memory, private copies of files (proc_pid_maps(5)). */
function writableRegions(pid: number): Region[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  return lines.flatMap(line => {
    const [, start, end, name = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw\S* \S+ \S+ \d+ *(.*)$/.exec(line) ?? [];
    if (start === undefined || end === undefined || /^\/dev\/(?!shm)/.test(name)) return [];
    return [{ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), name }];
  });
}

/** The parts of a region that hold something; all of it where that is not told. */
function* used(region: Region, pagemap: number | undefined): Generator<{ start: number; end: number }> {
  const step = PIECE / PAGE;
  const entries = Buffer.alloc(step * ENTRY);
  for (let at = region.start; at < region.end; at += PIECE) {
    const pages = Math.min(step, (region.end - at) / PAGE);
    const read =
      pagemap === undefined ? 0 : readSync(pagemap, entries, 0, pages * ENTRY, (at / PAGE) * ENTRY);
    const isUsed = (page: number): boolean =>
      read < (page + 1) * ENTRY || ((entries[page * ENTRY + 7] as number) & IN_USE) !== 0;
    for (let from = 0; from < pages; from++) {
      if (!isUsed(from)) continue;
      let to = from + 1;
      while (to < pages && isUsed(to)) to++;
      yield { start: at + from * PAGE, end: at + to * PAGE };
      from = to;
    }
  }
}

/**
 * Looks through the memory of a process as it is now. Yields after each piece, so that the caller may rest. Throws if it
 * may not be read.
 */
export function* searchMemory(
  pid: number,
  quick: QuickSearch,
): Generator<{ bytes: number; found: InMemory[] }> {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  let pagemap: number | undefined;
  try {
    pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  } catch {
    // Everything is read, then.
  }
  try {
    const bytes = Buffer.alloc(PIECE + quick.overlap);
    for (const region of writableRegions(pid)) {
      for (const { start, end } of used(region, pagemap)) {
        const wanted = Math.min(end + quick.overlap, region.end) - start;
        const read = readAt(memory, bytes, wanted, start);
        const found = quick.in(bytes.subarray(0, read)).map(spotted => ({
          ...spotted,
          address: start + spotted.offset,
          region: region.name || 'anonymous memory',
        }));
        yield { bytes: read, found };
      }
    }
  } finally {
    closeSync(memory);
    if (pagemap !== undefined) closeSync(pagemap);
  }
}

/** 0 where the memory is gone meanwhile. */
function readAt(file: number, bytes: Buffer, length: number, position: number): number {
  try {
    return readSync(file, bytes, 0, length, position);
  } catch {
    return 0;
  }
}
