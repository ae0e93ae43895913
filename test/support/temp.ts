import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folders: string[] = [];

const clean = (): void => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
};
// Vitest cannot be imported outside of a test, such as when fuzzing.
if (process.env['VITEST']) (await import('vitest')).afterAll(clean);
else process.on('exit', clean);

/** An empty folder that goes when the test file, or the process, is done. */
export function tempFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `stubgate-${name}-`));
  folders.push(folder);
  return folder;
}
