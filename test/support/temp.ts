import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** An empty folder that goes when the test file is done. */
export function tempFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `stubgate-${name}-`));
  folders.push(folder);
  return folder;
}
