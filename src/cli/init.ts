import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { suggest } from '../config/words.ts';
import { UsageError } from './fail.ts';
import { print } from './output.ts';
import { type Preset, PRESETS } from './presets.ts';
import { registry } from './registries.ts';

interface InitOptions {
  with: string[];
  out: string;
  force?: boolean;
}

export function initVerb(program: Command): void {
  program
    .command('init')
    .description('write a commented configuration')
    .option('--with <presets>', `rules to begin with, of ${Object.keys(PRESETS).join(', ')}`, readPresets, [])
    .option('-o, --out <file>', 'where to', 'stubgate.yaml')
    .option('--force', 'replace a file that is there')
    .addHelpText('after', '\nExample:\n  stubgate init --with github,openai,npm')
    .action(init);
}

function readPresets(text: string, before: string[]): string[] {
  const names = text.split(',').map(name => name.trim());
  for (const name of names) {
    if (!Object.hasOwn(PRESETS, name))
      throw new UsageError(`--with: no preset ${name}; ${suggest(name, Object.keys(PRESETS))}`);
  }
  return [...new Set([...before, ...names])];
}

function init({ with: names, out, force }: InitOptions): void {
  if (existsSync(out) && !force)
    throw new UsageError(`${out} is there; write to another file with --out, or replace it with --force`);
  const context = { repository: githubRepository(), registry };
  const presets = names.map(name => (PRESETS[name] as (typeof PRESETS)[string])(context));
  mkdirSync(dirname(resolve(out)), { recursive: true });
  writeFileSync(out, configText(presets), { mode: 0o644 });
  for (const [i, { summary }] of presets.entries()) console.error(`${names[i]}: ${summary}`);
  print(out);
}

/** Of the folder's remote. */
function githubRepository(): string | undefined {
  const { stdout } = spawnSync('git', ['config', 'remote.origin.url'], { encoding: 'utf8' });
  return /github\.com[:/]([\w.-]+\/[\w.-]+?)(?:\.git)?\/?\s*$/.exec(stdout ?? '')?.[1];
}

/** Without presets it allows nothing. */
export function configText(presets: readonly Preset[]): string {
  const credentials = presets.map(preset => preset.credentials).join('');
  const rules = presets.map(preset => preset.rules).join('');
  return `# yaml-language-server: $schema=./stubgate.schema.json
version: 1

listen:
  proxy: 127.0.0.1:8080     # for sandboxes: HTTPS_PROXY
  admin: 127.0.0.1:8081     # for you; never reachable from a sandbox
ca: { dir: ./certs }        # made on the first start
audit: { file: ./audit.jsonl }

# No secret stands in this file. \`from\` says where one is read: env:VARIABLE of the gate's own environment,
# file:/path, or <vault>:<id> of an entry in \`vaults\`. The sandbox finds a stub in the variable \`stub.env\`.
credentials:${credentials === '' ? ' {}' : credentials}

# The first rule that matches decides; what no rule matches is denied.
# *.example.com is any name below example.com, not example.com itself. In a path * stays in a segment, ** does not.
rules:${rules === '' ? ' []' : rules}

# Profiles are named selections of the rules; without them there is one, "default", with all rules.
# profiles:
#   readonly: { rules: [docs], ttl: 1h }

# upstream:
#   ca_file: ./corporate-ca.pem                       # added to the system's trust
#   proxy: http://proxy.example.com:3128              # the way out, if there is but one
`;
}
