import { isDeepStrictEqual } from 'node:util';
import type { CaseFile } from '../config/cases/load.ts';
import type { Expectation, PolicyCase } from '../config/cases/schema.ts';
import { ConfigError, type Problem } from '../config/problems.ts';
import type { Compiled } from '../config/types.ts';
import { suggest } from '../config/words.ts';
import { type Foreseen, Foresight } from '../flow/foresee.ts';
import { parseRequest } from './explain.ts';
import { UsageError } from './fail.ts';

/** One key of a case that is not as expected, as texts. */
export interface Mismatch {
  readonly key: string;
  readonly expected: string;
  readonly got: string;
}

export interface CaseResult {
  readonly file: string;
  readonly line: number;
  readonly index: number;
  readonly name: string;
  /** Empty: the case passes. */
  readonly mismatches: readonly Mismatch[];
  readonly outcome: Expectation;
}

/** Asks the policy each case. Throws ConfigError with every case that cannot be asked. */
export function runCases(compiled: Compiled, files: readonly CaseFile[]): CaseResult[] {
  const foresight = new Foresight(compiled);
  const problems: Problem[] = [];
  const results = files.flatMap(file =>
    file.cases.flatMap((of, index) => {
      const found = problemsWith(compiled, file, of, index);
      problems.push(...found);
      return found.length > 0 ? [] : [run(foresight, file, of, index)];
    }),
  );
  if (problems.length > 0) throw new ConfigError(problems);
  return results;
}

function problemsWith(compiled: Compiled, { yaml }: CaseFile, of: PolicyCase, index: number): Problem[] {
  const problems: Problem[] = [];
  const profiles = [...compiled.profiles.keys()];
  if (!profiles.includes(of.as.profile)) {
    const path = ['cases', index, 'as', 'profile'];
    problems.push(
      yaml.problem(path, `names no profile of the configuration; ${suggest(of.as.profile, profiles)}`),
    );
  }
  try {
    parseRequest(...parts(of.request));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const message =
      'cannot be asked; write a method in capitals, and http:// or https:// with a host, a path and no fragment';
    problems.push(yaml.problem(['cases', index, 'request'], message));
  }
  const names = [...compiled.credentials.keys()];
  const texts = [
    ['request', of.request],
    ...Object.entries(of.headers ?? {}).map(([key, value]) => [`headers.${key}`, value]),
  ];
  for (const [key = '', text = ''] of texts) {
    for (const [, name = ''] of text.matchAll(/\{stub:([^{}]*)\}/g)) {
      if (names.includes(name)) continue;
      const path = ['cases', index, ...key.split('.')];
      problems.push(
        yaml.problem(path, `holds a stub of no credential of the configuration; ${suggest(name, names)}`),
      );
    }
  }
  return problems;
}

function run(foresight: Foresight, { file, yaml }: CaseFile, of: PolicyCase, index: number): CaseResult {
  const [method, url] = parts(of.request);
  const rest = /^[a-z]+:\/\/[^/?#]+(.*)$/.exec(url)?.[1] ?? '';
  const originForm = rest.startsWith('/') ? rest : `/${rest}`;
  const { headers, as } = of;
  const imagined = { ...parseRequest(method, url), originForm, ...(headers && { headers }) };
  const foreseen = foresight.ask(as, imagined) as Foreseen;
  const outcome = outcomeOf(foreseen);
  const { line } = yaml.problem(['cases', index], '');
  const name = of.name ?? of.request;
  return { file, line, index, name, outcome, mismatches: mismatches(of.expect, outcome) };
}

function parts(request: string): [method: string, url: string] {
  const space = request.indexOf(' ');
  return [request.slice(0, space), request.slice(space + 1)];
}

function outcomeOf({ verdict, reason, rule, inject, dial }: Foreseen): Expectation {
  return {
    verdict,
    ...(reason !== null && { reason }),
    rule,
    inject: inject.map(({ credential, placement }) => ({
      credential,
      as: placement.type,
      at: placement.slot,
    })),
    ...(dial && { dial: dial.to }),
  };
}

function mismatches(expected: Expectation | undefined, got: Expectation): Mismatch[] {
  if (!expected) return [{ key: 'expect', expected: 'nothing is written', got: show(got) }];
  return Object.entries(expected).flatMap(([key, wanted]) => {
    if (wanted === undefined) return [];
    const is =
      key === 'inject' ? narrowed(got.inject ?? [], wanted as Injected) : got[key as keyof Expectation];
    return isDeepStrictEqual(wanted, is) ? [] : [{ key, expected: show(wanted), got: show(is) }];
  });
}

type Injected = NonNullable<Expectation['inject']>;

/** Only the keys that are expected. */
function narrowed(got: Injected, wanted: Injected): Injected {
  return got.map((one, i) => {
    const keys = Object.keys(wanted[i] ?? one);
    return Object.fromEntries(Object.entries(one).filter(([key]) => keys.includes(key))) as Injected[number];
  });
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? 'none' : JSON.stringify(value);
}
