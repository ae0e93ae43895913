import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { fieldValues, setField, unreadable } from './fields.ts';
import { isSpecial } from './outbound.ts';

/** Further fields that routing and framing read. */
const RESERVED = new Set(['host', 'expect', 'trailer']);

class Header implements Placement {
  readonly type = 'header';
  readonly slot: string;
  readonly #name: string;
  readonly #field: string;
  readonly #prefix: string;

  constructor(name: string, prefix: string) {
    this.#name = name;
    this.#field = name.toLowerCase();
    this.#prefix = prefix;
    this.slot = `header ${this.#field}`;
  }

  find(out: OutboundHead): readonly string[] {
    const prefix = this.#prefix;
    return fieldValues(out, this.#field).map(value =>
      value.startsWith(prefix) ? value.slice(prefix.length) : unreadable(value),
    );
  }

  inject(out: OutboundHead, _stub: string | undefined, secret: Secret): Placed {
    setField(out, this.#name, secret.as(this.#prefix + secret.reveal()));
    return { at: this.slot, wire: secret };
  }
}

export const header = define({
  type: 'header',
  summary: 'A header field of its own, such as x-api-key',
  schema: z.strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be a header name, such as x-api-key')
      .refine(name => !isSpecial(name.toLowerCase()) && !RESERVED.has(name.toLowerCase()), {
        message: 'is a field that the gate itself writes; name the field that carries the credential',
      }),
    prefix: z
      .string()
      .regex(/^[\x21-\x7e][\x20-\x7e]{0,63}$/, 'must be 1 to 64 printable ASCII characters, such as "token "')
      .optional(),
  }),
  build: ({ name, prefix }): Placement => new Header(name, prefix ?? ''),
});
