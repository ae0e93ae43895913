import { z } from 'zod';
import { isNamed, keyOf, pairsOf, valueOf } from '../inject/pairs.ts';
import { percentDecode } from '../inject/percent.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer } from '../types.ts';
import { lifeOf } from './expiry.ts';

/** A field of a body in application/x-www-form-urlencoded (WHATWG URL, section 5), as GitHub's token endpoint sends it. */
class Form implements CapturePlace {
  readonly type = 'form';
  readonly body = ['form'] as const;
  readonly slot: string;
  readonly #field: string;
  readonly #expiresIn: string | undefined;

  constructor(field: string, expiresIn: string | undefined) {
    this.#field = field;
    this.#expiresIn = expiresIn;
    this.slot = `form ${field}`;
  }

  find({ body }: ReadAnswer): Handout | undefined {
    const pairs = pairsOf(body.toString('latin1'));
    const at = indexOf(pairs, this.#field);
    const pair = pairs[at];
    const value = pair === undefined ? '' : valueOf(pair);
    if (pair === undefined || value === '') return undefined;
    const before = pairs.slice(0, at).reduce((length, other) => length + other.length + 1, 0);
    const start = before + keyOf(pair).length + 1;
    const end = before + pair.length;
    const told = this.#expiresIn === undefined ? undefined : pairs[indexOf(pairs, this.#expiresIn)];
    const lifeMs = lifeOf(told === undefined ? undefined : valueOf(told), this.#expiresIn ?? '');
    return {
      value,
      spots: [{ in: 'body', start, end, text: value, write: encodeURIComponent }],
      ...(lifeMs !== undefined && { lifeMs }),
    };
  }
}

/** Of the one pair of that name; -1 if there is none. Throws BodyFault where two readers may find another one. */
function indexOf(pairs: readonly string[], field: string): number {
  // Some readers end a pair at `;` too (HTML 4.01, appendix B.2.2), and some ignore case.
  const alike = pairs.flatMap(pair => pair.split(';')).filter(pair => isAlike(pair, field));
  const at = pairs.findIndex(pair => isNamed(pair, field));
  if (alike.length > (at < 0 ? 0 : 1))
    throw new BodyFault(`holds the field ${field} more than once, behind a ;, or in another case`, '');
  if (pairs[at]?.includes(';') && valueOf(pairs[at]) !== '')
    throw new BodyFault(`holds a ; in the field ${field}`, '');
  return at;
}

function isAlike(pair: string, field: string): boolean {
  const name = percentDecode(keyOf(pair).replaceAll('+', ' '));
  return name.trim().toLowerCase() === field.toLowerCase();
}

const field = () => z.string().regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable ASCII characters');

export const form = define({
  type: 'form',
  summary: 'A field of a response body in application/x-www-form-urlencoded, such as access_token',
  schema: z.strictObject({
    field: field().describe('Name of the field; it may stand once.'),
    expires_in: field()
      .optional()
      .describe('Field that says for how many seconds it is good, such as expires_in; `ttl` bounds it.'),
  }),
  build: ({ field: name, expires_in: expiresIn }): CapturePlace => new Form(name, expiresIn),
});
