import { z } from 'zod';
import { POINTER, tokensOf } from '../inject/json.ts';
import { locate } from '../inject/json-text.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer } from '../types.ts';

/** A string of a JSON body (RFC 8259), at a pointer (RFC 6901), such as those of RFC 6749, section 5.1. */
class Json implements CapturePlace {
  readonly type = 'json';
  readonly body = 'json';
  readonly slot: string;
  readonly #pointer: string;
  readonly #tokens: readonly string[];

  constructor(pointer: string) {
    this.#pointer = pointer;
    this.#tokens = tokensOf(pointer);
    this.slot = `json ${pointer}`;
  }

  find({ body }: ReadAnswer): Handout | undefined {
    const place = locate(body, this.#tokens);
    if (!place || place.start === place.end) return undefined;
    const { start, end } = place;
    const value: unknown = JSON.parse(body.toString('utf8', start, end));
    if (value === null || value === '') return undefined;
    if (typeof value !== 'string')
      throw new BodyFault(`holds something else than text at ${this.#pointer}`, '');
    return { value, spots: [{ in: 'body', start, end, text: value, write: stub => JSON.stringify(stub) }] };
  }
}

export const json = define({
  type: 'json',
  summary: 'A string in a JSON response body, at a JSON Pointer such as /access_token',
  schema: z.strictObject({
    pointer: z
      .string()
      .max(256)
      .regex(POINTER, 'must be a JSON Pointer (RFC 6901), such as /access_token')
      .describe('Where the secret stands: a JSON Pointer (RFC 6901), such as /access_token.'),
  }),
  build: ({ pointer }): CapturePlace => new Json(pointer),
});
