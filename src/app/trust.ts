import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/types.ts';
import { caBundle } from '../intercept/bundle.ts';
import type { Authority } from '../intercept/ca.ts';

/** What sandboxes trust, as files that their user can read. */
export function writeTrust(config: Config, authority: Authority): { caFile: string; bundleFile: string } {
  const caFile = join(config.ca.dir, 'sandbox-ca.pem');
  const bundleFile = join(config.ca.dir, 'sandbox-bundle.pem');
  mkdirSync(config.ca.dir, { recursive: true });
  for (const [file, text] of [
    [caFile, authority.rootPem],
    [bundleFile, caBundle(authority, config.upstream.caFile)],
  ] as const) {
    writeFileSync(file, text);
    chmodSync(file, 0o644);
  }
  return { caFile, bundleFile };
}
