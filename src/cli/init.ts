import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { suggest } from '../config/words.ts';
import { UsageError } from './fail.ts';
import { print } from './output.ts';
import { GROUPS, PRESETS } from './presets/index.ts';
import type { PresetContext, PresetMaker } from './presets/preset.ts';
import { casesText, configText } from './presets/write.ts';
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
    .option('--with <presets>', 'rules to begin with, and cases that test them; see below', readPresets, [])
    .option('-o, --out <file>', 'where to', 'stubgate.yaml')
    .option('--force', 'replace a file that is there')
    .addHelpText('after', `\nPresets:\n${presetList()}\n\nExample:\n  stubgate init --with github,openai,npm`)
    .action(init);
}

function presetList(): string {
  return GROUPS.map(({ title, presets }) => `  ${title}: ${Object.keys(presets).join(', ')}`).join('\n');
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
  const cases = out.replace(/(?:\.ya?ml)?$/, '.cases.yaml');
  for (const file of names.length > 0 ? [out, cases] : [out]) {
    if (existsSync(file) && !force)
      throw new UsageError(`${file} is there; write to another file with --out, or replace it with --force`);
  }
  const context: PresetContext = { repository: repositoryOf, registry };
  const presets = names.map(name => (PRESETS[name] as PresetMaker)(context));
  mkdirSync(dirname(resolve(out)), { recursive: true });
  writeFileSync(out, configText(presets), { mode: 0o644 });
  if (presets.length > 0) writeFileSync(cases, casesText(presets), { mode: 0o644 });
  for (const [i, { summary, note }] of presets.entries()) {
    const replace = /Replace [^.;]+/.exec(note ?? '')?.[0];
    console.error(`${names[i]}: ${summary}${replace === undefined ? '' : `. ${replace}`}`);
  }
  print(out);
  if (presets.length > 0) print(cases);
}

/** Of the folder's remote. */
function repositoryOf(host: string): string | undefined {
  const { stdout } = spawnSync('git', ['config', 'remote.origin.url'], { encoding: 'utf8' });
  const url = (stdout ?? '')
    .trim()
    .replace(/\/$/, '')
    .replace(/\.git$/, '');
  const path = new RegExp(`(?:^|[/@])${host.replaceAll('.', '\\.')}[:/](.+)$`).exec(url)?.[1];
  return path !== undefined && /^[\w.-]+(?:\/[\w.-]+)+$/.test(path) ? path : undefined;
}
