import { z } from 'zod';
import { POINTER, tokensOf } from '../inject/json.ts';
import { locate } from '../inject/json-text.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer } from '../types.ts';
import { lifeOf } from './expiry.ts';

/** A string of a JSON body (RFC 8259), at a pointer (RFC 6901), such as those of RFC 6749, section 5.1. */
class Json implements CapturePlace {
  readonly type = 'json';
  readonly body = ['json'] as const;
  readonly slot: string;
  readonly #pointer: string;
  readonly #expiresIn: string | undefined;

  constructor(pointer: string, expiresIn: string | undefined) {
    this.#pointer = pointer;
    this.#expiresIn = expiresIn;
    this.slot = `json ${pointer}`;
  }

  find({ body }: ReadAnswer): Handout | undefined {
    const { value, start, end } = valueAt(body, this.#pointer) ?? {};
    if (value === undefined || value === null || value === '') return undefined;
    if (start === undefined || end === undefined || typeof value !== 'string')
      throw new BodyFault(`holds something else than text at ${this.#pointer}`, '');
    const told = this.#expiresIn === undefined ? undefined : valueAt(body, this.#expiresIn)?.value;
    const lifeMs = lifeOf(told, this.#expiresIn ?? '');
    return {
      value,
      spots: [{ in: 'body', start, end, text: value, write: stub => JSON.stringify(stub) }],
      ...(lifeMs !== undefined && { lifeMs }),
    };
  }
}

function valueAt(
  body: Buffer,
  pointer: string,
): { readonly value: unknown; readonly start: number; readonly end: number } | undefined {
  const place = locate(body, tokensOf(pointer));
  if (!place || place.start === place.end) return undefined;
  const { start, end } = place;
  return { value: JSON.parse(body.toString('utf8', start, end)) as unknown, start, end };
}

const pointer = (example: string) =>
  z.string().max(256).regex(POINTER, `must be a JSON Pointer (RFC 6901), such as ${example}`);

export const json = define({
  type: 'json',
  summary: 'A string in a JSON response body, at a JSON Pointer such as /access_token',
  schema: z.strictObject({
    pointer: pointer('/access_token').describe(
      'Where the secret stands: a JSON Pointer (RFC 6901), such as /access_token.',
    ),
    expires_in: pointer('/expires_in')
      .optional()
      .describe(
        'Where the answer says for how many seconds it is good, such as /expires_in; `ttl` bounds it.',
      ),
  }),
  build: ({ pointer: at, expires_in: expiresIn }): CapturePlace => new Json(at, expiresIn),
});
