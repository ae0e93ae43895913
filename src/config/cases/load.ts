import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { YamlFile } from '../document.ts';
import { problemsOf, wordIssue } from '../issues.ts';
import { inOrder, readText } from '../load.ts';
import { ConfigError, type Problem } from '../problems.ts';
import { casesSchema, type PolicyCase } from './schema.ts';

export const CASES_ENDING = '.cases.yaml';

/** Cases of one file, in its order. */
export interface CaseFile {
  readonly file: string;
  readonly text: string;
  readonly yaml: YamlFile;
  readonly cases: readonly PolicyCase[];
}

/** The files of cases beside a configuration, but for those that are named after another one. */
export function findCaseFiles(config: string): string[] {
  const folder = dirname(config);
  const isForeign = (name: string): boolean => {
    const owner = join(folder, `${name.slice(0, -CASES_ENDING.length)}.yaml`);
    return owner !== config && existsSync(owner);
  };
  const names = readdirSync(folder).filter(name => name.endsWith(CASES_ENDING) && !isForeign(name));
  return names.toSorted().map(name => join(folder, name));
}

/** The configuration that a file of cases is named after; undefined if there is none. */
export function configOfCases(file: string): string | undefined {
  const name = basename(file).slice(0, -CASES_ENDING.length);
  return [`${name}.yaml`, 'stubgate.yaml']
    .map(owner => join(dirname(file), owner))
    .find(owner => existsSync(owner));
}

/** Throws ConfigError with every problem of every file. */
export function loadCases(files: readonly string[]): CaseFile[] {
  const problems: Problem[] = [];
  const loaded = files.flatMap(file => {
    try {
      return [parseCases(readText(file), file)];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return loaded;
}

export function parseCases(text: string, file: string): CaseFile {
  const yaml = new YamlFile(text, file);
  if (yaml.value === undefined) throw new ConfigError(yaml.problems);
  if (yaml.value === null)
    throw new ConfigError([yaml.problem([], 'the file is empty; write `version: 1` and `cases:`')]);
  const parsed = casesSchema.safeParse(yaml.value, { error: wordIssue });
  const problems = [...yaml.problems, ...(parsed.error ? problemsOf(yaml, parsed.error) : [])];
  if (!parsed.success || problems.length > 0) throw new ConfigError(inOrder(problems));
  return { file, text, yaml, cases: parsed.data.cases };
}
