import { Buffer } from 'node:buffer';
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { quietly } from './processes.ts';
import type { QuickSearch, Spotted } from './quick.ts';
import { type Needles, search } from './search.ts';

/** Files up to this are read in every way; larger ones for whole secrets in the common spellings. */
const SMALL = 1024 * 1024;
const PIECE = 8 * 1024 * 1024;
const MAX_FILE = 1024 * 1024 * 1024;
/** Names that one look through folders may meet. */
const MAX_NAMES = 500_000;

/** Looks through a file. Throws if it may not be read. `offset`: -1 where a decoded reading held it. */
export function searchFile(path: string, needles: Needles, quick: QuickSearch): Spotted[] {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(PIECE + quick.overlap);
    const found: Spotted[] = [];
    for (let at = 0; at < MAX_FILE; at += PIECE) {
      const read = readSync(file, bytes, 0, bytes.length, at);
      const piece = bytes.subarray(0, read);
      for (const one of quick.in(piece)) found.push({ ...one, offset: at + one.offset });
      if (at === 0 && read <= SMALL)
        found.push(...search(piece, needles).map(one => ({ ...one, offset: -1 })));
      if (read < bytes.length) break;
    }
    const best = new Map(found.toReversed().map(one => [one.credential, one]));
    return [...best.values()];
  } finally {
    closeSync(file);
  }
}

/** Regular files below the folders that were written since a time (ms), and what could not be looked through. */
export function writtenSince(
  folders: readonly string[],
  since: number,
): { readonly files: readonly string[]; readonly unseen: readonly string[] } {
  const files: string[] = [];
  const unseen: string[] = [];
  const seen = new Set<string>();
  let names = 0;
  const visit = (folder: string): void => {
    const stats = quietly(() => statSync(folder));
    const id = `${stats?.dev} ${stats?.ino}`;
    if (!stats || seen.has(id)) return;
    seen.add(id);
    const entries = quietly(() => readdirSync(folder, { withFileTypes: true }));
    if (!entries) return void unseen.push(folder);
    for (const entry of entries) {
      const path = join(folder, entry.name);
      if (++names > MAX_NAMES) return;
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile() && isNewer(path, since)) files.push(path);
    }
  };
  for (const folder of new Set(folders)) visit(folder);
  if (names > MAX_NAMES) unseen.push(`what is behind the first ${MAX_NAMES} names of ${folders.join(', ')}`);
  return { files, unseen };
}

function isNewer(path: string, since: number): boolean {
  const stats = quietly(() => statSync(path));
  return stats !== undefined && Math.max(stats.mtimeMs, stats.ctimeMs) >= since;
}
