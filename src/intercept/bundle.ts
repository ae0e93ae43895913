import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemRoots } from '../roots.ts';
import type { Authority } from './ca.ts';
import { readPublic } from './private-file.ts';

/**
 * What a sandbox trusts, PEM: the system's roots for what is tunnelled, those of `extraCaFile` (`upstream.ca_file`),
 * and the gate's own. For a client that reaches nothing but intercepted hosts `authority.rootPem` is enough.
 */
export function caBundle(authority: Authority, extraCaFile?: string): string {
  const extra = extraCaFile === undefined ? [] : [readPublic(extraCaFile, 'upstream.ca_file')];
  return [authority.rootPem, ...extra, ...systemRoots()].map(text => `${text.trim()}\n`).join('');
}

/** What sandboxes trust, as files in `dir` that their user can read: our CA alone, and the whole bundle. */
export function writeTrust(
  dir: string,
  authority: Authority,
  extraCaFile?: string,
): { caFile: string; bundleFile: string } {
  const caFile = join(dir, 'sandbox-ca.pem');
  const bundleFile = join(dir, 'sandbox-bundle.pem');
  mkdirSync(dir, { recursive: true });
  for (const [file, text] of [
    [caFile, authority.rootPem],
    [bundleFile, caBundle(authority, extraCaFile)],
  ] as const) {
    // A sandbox may be reading it.
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) writeFileSync(file, text);
    chmodSync(file, 0o644);
  }
  return { caFile, bundleFile };
}
