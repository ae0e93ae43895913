import { z } from 'zod';
import { isNamed, keyOf, pairsOf, valueOf } from '../inject/pairs.ts';
import { percentDecode } from '../inject/percent.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer } from '../types.ts';

/** A field of a body in application/x-www-form-urlencoded (WHATWG URL, section 5), as GitHub's token endpoint sends it. */
class Form implements CapturePlace {
  readonly type = 'form';
  readonly body = 'form';
  readonly slot: string;
  readonly #field: string;

  constructor(field: string) {
    this.#field = field;
    this.slot = `form ${field}`;
  }

  find({ body }: ReadAnswer): Handout | undefined {
    const pairs = pairsOf(body.toString('latin1'));
    // Some readers end a pair at `;` too (HTML 4.01, appendix B.2.2), and some ignore case.
    const alike = pairs.flatMap(pair => pair.split(';')).filter(pair => this.#isAlike(pair));
    const at = pairs.findIndex(pair => isNamed(pair, this.#field));
    if (alike.length > (at < 0 ? 0 : 1))
      throw new BodyFault(
        `holds the field ${this.#field} more than once, behind a ;, or in another case`,
        '',
      );
    const pair = pairs[at];
    const value = pair === undefined ? '' : valueOf(pair);
    if (pair === undefined || value === '') return undefined;
    if (pair.includes(';')) throw new BodyFault(`holds a ; in the field ${this.#field}`, '');
    const before = pairs.slice(0, at).reduce((length, other) => length + other.length + 1, 0);
    const start = before + keyOf(pair).length + 1;
    const end = before + pair.length;
    return { value, spots: [{ in: 'body', start, end, text: value, write: encodeURIComponent }] };
  }

  #isAlike(pair: string): boolean {
    const name = percentDecode(keyOf(pair).replaceAll('+', ' '));
    return name.trim().toLowerCase() === this.#field.toLowerCase();
  }
}

export const form = define({
  type: 'form',
  summary: 'A field of a response body in application/x-www-form-urlencoded, such as access_token',
  schema: z.strictObject({
    field: z
      .string()
      .regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable ASCII characters')
      .describe('Name of the field; it may stand once.'),
  }),
  build: ({ field }): CapturePlace => new Form(field),
});
