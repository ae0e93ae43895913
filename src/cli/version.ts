import { readFileSync } from 'node:fs';

/** Of the package, whose manifest stands two folders up both from the source and from what is built of it. */
export function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
