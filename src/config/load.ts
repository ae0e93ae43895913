import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { placements } from '../inject/index.ts';
import { minters } from '../mint/index.ts';
import { vaultTypes } from '../vaults/index.ts';
import { assemble, type Parsed } from './assemble.ts';
import { crossCheck, findWarnings } from './checks.ts';
import { YamlFile } from './document.ts';
import { problemsOf, wordIssue } from './issues.ts';
import { ConfigError, type Problem } from './problems.ts';
import { mapping, type Mapping } from './raw.ts';
import { configSchema } from './schema.ts';
import type { Config } from './types.ts';

const schema = configSchema(vaultTypes, placements, minters);

/** Absolute path of the configuration: `explicit`, else `$STUBGATE_CONFIG`, else ./stubgate.yaml, else ./config/stubgate.yaml. */
export function findConfig(
  explicit?: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
  cwd: string = process.cwd(),
): string {
  const named = explicit ?? (env['STUBGATE_CONFIG'] || undefined);
  if (named !== undefined) return resolve(cwd, named);
  const places = [join(cwd, 'stubgate.yaml'), join(cwd, 'config', 'stubgate.yaml')];
  const found = places.find(place => existsSync(place));
  if (found !== undefined) return found;
  throw new Error(
    `no configuration: --config is not given, $STUBGATE_CONFIG is not set, and there is no ${places.join(' and no ')}; write one with \`stubgate init\``,
  );
}

/** A configuration, and what was written. */
export interface Policy {
  readonly config: Config;
  readonly yaml: YamlFile;
  /** Its plain values. */
  readonly root: Mapping;
  readonly text: string;
}

/** The configuration in a file. Throws ConfigError with every problem in it. */
export function loadConfig(file: string): Config {
  return loadPolicy(file).config;
}

export function loadPolicy(file: string): Policy {
  return parsePolicy(readText(file), file);
}

/** A file as text; `found`: what was read of it already. Throws ConfigError if it cannot be read. */
export function readText(file: string, found?: Buffer): string {
  const path = resolve(file);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(found ?? readFileSync(path));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    const why =
      code === 'ERR_ENCODING_INVALID_ENCODED_DATA'
        ? 'is not UTF-8; save it as such'
        : `cannot be read (${code}); write one with \`stubgate init\`, or name another with --config`;
    throw new ConfigError([{ file: path, line: 1, col: 1, path: '', message: `the file ${why}` }]);
  }
}

/** The configuration that `text` holds, as if it stood in `file`. Throws ConfigError with every problem in it. */
export function parseConfig(text: string, file: string): Config {
  return parsePolicy(text, file).config;
}

export function parsePolicy(text: string, file: string): Policy {
  const { yaml, parsed, root, warnings } = checkPolicy(text, file);
  return { config: { ...assemble(parsed, root, yaml.file), warnings }, yaml, root, text };
}

/** What a file holds, checked; plain data but for `yaml`. */
export interface Checked {
  readonly yaml: YamlFile;
  readonly parsed: Parsed;
  readonly root: Mapping;
  readonly warnings: readonly Problem[];
}

/** Throws ConfigError with every problem. */
export function checkPolicy(text: string, file: string): Checked {
  const yaml = new YamlFile(text, resolve(file));
  if (yaml.value === undefined) throw new ConfigError(yaml.problems);
  if (yaml.value === null)
    throw new ConfigError([yaml.problem([], 'the file is empty; write at least `version: 1`')]);
  const root = withoutEmptySections(yaml.value);
  const problems: Problem[] = [...yaml.problems];
  const parsed = schema.safeParse(root, { error: wordIssue });
  if (parsed.error) problems.push(...problemsOf(yaml, parsed.error));
  crossCheck(mapping(root), (path, message) => problems.push(yaml.problem(path, message)));
  if (!parsed.success || problems.length > 0) throw new ConfigError(inOrder(problems));
  const warnings: Problem[] = [];
  findWarnings(mapping(root), (path, message) => warnings.push(yaml.problem(path, message)));
  return { yaml, parsed: parsed.data, root: mapping(root), warnings: inOrder(warnings) };
}

/**
 * The file without keys that have nothing behind them, such as `rules:` with all rules commented out. `profiles` stays:
 * without that key every rule holds.
 */
function withoutEmptySections(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value).filter(([key, section]) => section !== null || key === 'profiles'),
  );
}

/** By position; one problem for one place, the first that was found. */
export function inOrder(problems: readonly Problem[]): Problem[] {
  const sorted = problems.toSorted((a, b) => a.line - b.line || a.col - b.col);
  const places = new Set<string>();
  return sorted.filter(({ line, col, path }) => {
    const place = `${line}:${col}:${path}`;
    return !places.has(place) && places.add(place);
  });
}
