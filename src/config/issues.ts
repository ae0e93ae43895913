import type { z } from 'zod';
import type { YamlFile } from './document.ts';
import { kindOf, listed } from './fields.ts';
import type { Problem } from './problems.ts';
import { suggest } from './words.ts';

const EXPECTED: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  record: 'a mapping of names',
};

/** Joins the keys that a mapping may have, in the message of an issue about those that it may not have. */
const SEPARATOR = ', ';

/** Words for what a schema, one of a plug-in's too, says nothing about itself. Holds no value from the file. */
export function wordIssue(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'unrecognized_keys':
      // One issue tells of several keys; `problemsOf` gives each its own message.
      return keysOf(issue.inst).join(SEPARATOR);
    case 'invalid_type': {
      const what = `is ${kindOf(issue.input)}`;
      const keys = keysOf(issue.inst);
      return `${what}; write ${keys.length > 0 ? `a mapping with ${listed(keys)}` : (EXPECTED[issue.expected] ?? 'another value')}`;
    }
    case 'invalid_value':
      return `is not valid; write ${listed(issue.values.map(String))}`;
    case 'invalid_union': {
      const options = (issue as { options?: readonly unknown[] }).options;
      return options
        ? `is not valid; write ${listed(options.map(String))}`
        : 'is not valid; look at the JSON Schema';
    }
    case 'too_small':
      return `is too small or too short; write at least ${issue.minimum}`;
    case 'too_big':
      return `is too large or too long; write at most ${issue.maximum}`;
    case 'not_multiple_of':
      return `is not valid; write a multiple of ${issue.divisor}`;
    default:
      return 'is not valid; look at the JSON Schema';
  }
}

/** A schema's issues as problems with positions. */
export function problemsOf(yaml: YamlFile, error: z.ZodError): Problem[] {
  return error.issues.flatMap(issue => {
    if (issue.code === 'unrecognized_keys') {
      const known = issue.message.split(SEPARATOR);
      return issue.keys.map(key =>
        yaml.problem([...issue.path, key], `is no key of this mapping; ${suggest(key, known)}`, 'key'),
      );
    }
    if (issue.code === 'invalid_key') {
      return [yaml.problem(issue.path, issue.issues[0]?.message ?? 'is not a name', 'key')];
    }
    return [yaml.problem(issue.path, issue.message)];
  });
}

function keysOf(schema: unknown): string[] {
  const def = (schema as { _zod?: { def?: { shape?: object } } } | undefined)?._zod?.def;
  return Object.keys(def?.shape ?? {});
}
