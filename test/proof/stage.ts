import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileConfig } from '../../src/config/compile.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Compiled } from '../../src/config/types.ts';
import { tempFolder } from '../audit/event.ts';

const CREDENTIALS = 'credentials: { token: { from: "env:STUBGATE_TEST_TOKEN", stub: { env: TOKEN } } }';

/** A configuration of these rules, in a file of its own. */
export function compiledWith(...rules: string[]): Compiled {
  const file = join(tempFolder(), 'stubgate.yaml');
  writeRules(file, ...rules);
  return compileConfig(loadConfig(file));
}

export function writeRules(file: string, ...rules: string[]): void {
  writeFileSync(file, `version: 1\n${CREDENTIALS}\nrules:\n${rules.map(rule => `  - ${rule}\n`).join('')}`);
}

export const BEARER = '{ name: api, hosts: [api.test], inject: [{ credential: token, as: bearer }] }';
