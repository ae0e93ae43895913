import { z } from 'zod';
import { HOP_BY_HOP_NAMES, isNamed, Names } from '../fields.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer } from '../types.ts';

/** Fields that say more than one thing, or that the gate itself reads or writes. */
const RESERVED = new Names(
  ...HOP_BY_HOP_NAMES,
  'content-length',
  'content-encoding',
  'content-type',
  'set-cookie',
  'location',
);

/** A header field of its own, such as the X-Subject-Token of OpenStack's Keystone. */
class Header implements CapturePlace {
  readonly type = 'header';
  readonly slot: string;
  readonly #field: string;

  constructor(name: string) {
    this.#field = name.toLowerCase();
    this.slot = `header ${this.#field}`;
  }

  find({ headers }: ReadAnswer): Handout | undefined {
    const found: number[] = [];
    for (let i = 0; i < headers.length; i += 2)
      if (isNamed(headers[i] as string, this.#field)) found.push(i + 1);
    const [start] = found;
    if (start === undefined) return undefined;
    if (found.length > 1) throw new BodyFault(`comes with the field ${this.#field} more than once`, '');
    const text = headers[start] as string;
    return { value: text, spots: [{ in: 'headers', start, end: start + 1, text, write: stub => stub }] };
  }
}

export const header = define({
  type: 'header',
  summary: 'A response header field that holds nothing else, such as X-Subject-Token',
  schema: z.strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be a header name, such as X-Subject-Token')
      .refine(name => !RESERVED.has(name), {
        message: 'is a field that holds more than a secret; name one that holds nothing else',
      })
      .describe('Name of the field.'),
  }),
  build: ({ name }): CapturePlace => new Header(name),
});
