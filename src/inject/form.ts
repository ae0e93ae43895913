import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { BodyFault, type OutboundHead, type Placed, type Placement } from '../types.ts';
import { limitOf, maxBody, textOf } from './body.ts';
import { isNamed, keyOf, pairsOf, valueOf } from './pairs.ts';
import { percentEncoded, percentWires } from './percent.ts';

/** A field of a body in application/x-www-form-urlencoded (WHATWG URL, section 5). */
class Form implements Placement {
  readonly type = 'form';
  readonly slot: string;
  readonly body: { readonly kind: 'form'; readonly limit: number };
  readonly #field: string;

  constructor(field: string, limit: number) {
    this.#field = field;
    this.slot = `form ${field}`;
    this.body = { kind: 'form', limit };
  }

  find({ body }: OutboundHead): readonly string[] | undefined {
    if (body?.kind !== 'form') return undefined;
    const pairs = pairsOf(textOf(body));
    const mine = pairs.filter(pair => isNamed(pair, this.#field));
    // Some servers end a pair at `;` too (HTML 4.01, appendix B.2.2).
    const hidden = pairs.some(pair => pair.split(';').some((part, i) => i > 0 && isNamed(part, this.#field)));
    if (mine.length > 1 || hidden) {
      throw new BodyFault(`holds the field ${this.#field} more than once, or behind a ;`, 'Send it once');
    }
    return mine.map(valueOf);
  }

  wires(secret: Secret): readonly Secret[] {
    return percentWires(secret);
  }

  /** Rewrites the pair, or adds one; everything else stays byte for byte. */
  inject({ body }: OutboundHead, _stub: string | undefined, secret: Secret): Placed {
    if (!body) throw new Error('a form was planned for and is not there');
    const wire = secret.as(percentEncoded(secret));
    const pairs = pairsOf(textOf(body));
    const found = pairs.findIndex(pair => isNamed(pair, this.#field));
    const at = found < 0 ? pairs.length : found;
    const key = pairs[at] === undefined ? encodeURIComponent(this.#field) : keyOf(pairs[at]);
    pairs[at] = `${key}=${wire.reveal()}`;
    body.content = secret.as(pairs.join('&'));
    return { at: this.slot, wire };
  }
}

export const form = define({
  type: 'form',
  summary:
    'A field of a request body in application/x-www-form-urlencoded, such as client_secret=<credential>',
  schema: z.strictObject({
    field: z
      .string()
      .regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable ASCII characters')
      .describe('Name of the field; it may stand once.'),
    max_body: maxBody(),
  }),
  build: ({ field, max_body }): Placement => new Form(field, limitOf(max_body)),
});
