import { z } from 'zod';
import { NAME } from './scalars.ts';

/** The words for a value that is missing or of another kind. */
export const wrong = (expected: string) => ({
  error: ({ code, input }: { readonly code?: string | undefined; readonly input?: unknown }) =>
    `is ${code === 'invalid_value' && input !== undefined ? 'not valid' : kindOf(input)}; write ${expected}`,
});

/** Text that `parse` turns into a value; undefined from it is a fault. */
export function parsed<T>(expected: string, parse: (text: string) => T | undefined) {
  return z.string(wrong(expected)).transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.issues.push({ code: 'custom', message: `is not valid; write ${expected}`, input: undefined });
    return z.NEVER;
  });
}

/** Text of which `fault` tells what is wrong, if anything. */
export function checked(expected: string, fault: (text: string) => string | undefined) {
  return z.string(wrong(expected)).superRefine((text, context) => {
    const message = fault(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
}

export function name(of: string) {
  return checked(`a name for the ${of}`, text =>
    NAME.test(text) ? undefined : 'is not a name; write a letter, then at most 63 letters, digits, _ . -',
  );
}

export function path(what: string) {
  return checked(`the path of ${what}, absolute or from the folder of this file`, text =>
    text === '' || text.includes('\0') ? `is empty or holds a NUL; write the path of ${what}` : undefined,
  );
}

export function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, wrong(listed(values)));
}

export function integer(least: number, most: number) {
  return z
    .number(wrong(`a whole number from ${least} to ${most}`))
    .int(`is not a whole number; write one from ${least} to ${most}`)
    .min(least, `is too small; write ${least} to ${most}`)
    .max(most, `is too large; write ${least} to ${most}`);
}

export function flag() {
  return z.boolean(wrong('true or false'));
}

/** A list that, if it is there, is not empty: an empty one could be read as "any" as well as "none". */
export function list<T extends z.ZodType>(item: T, expected: string, ifEmpty: string) {
  return z.array(item, wrong(expected)).min(1, `is empty; ${ifEmpty}`);
}

export function listed(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

/** What a value is, without telling the value. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  return { string: 'text', object: 'a mapping', number: 'a number' }[typeof value as string] ?? 'not text';
}
