import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { fieldValues, setField, unreadable } from './fields.ts';

/** `Authorization: Bearer …` (RFC 6750, section 2.1); `token` is what GitHub's own clients write. */
const FORM = /^(bearer|token) +(\S+)$/i;

class Bearer implements Placement {
  readonly type = 'bearer';
  readonly slot = 'header authorization';

  find(out: OutboundHead): readonly string[] {
    return fieldValues(out, 'authorization').map(value => FORM.exec(value)?.[2] ?? unreadable(value));
  }

  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed {
    const scheme = stub === undefined ? 'Bearer' : this.#schemeOf(out, stub);
    setField(out, 'Authorization', secret.as(`${scheme} ${secret.reveal()}`));
    return { at: this.slot, wire: secret };
  }

  /** The client's own word, in its own case. */
  #schemeOf(out: OutboundHead, stub: string): string {
    for (const value of fieldValues(out, 'authorization')) {
      const match = FORM.exec(value);
      if (match?.[2] === stub) return match[1] as string;
    }
    return 'Bearer';
  }
}

export const bearer = define({
  type: 'bearer',
  summary: 'Authorization: Bearer <credential>; also the scheme "token"',
  schema: z.strictObject({}),
  build: (): Placement => new Bearer(),
});
