import { z } from 'zod';
import { isNamed } from '../fields.ts';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { fieldValues, setField, unreadable } from './fields.ts';

/** `Authorization: Bearer …` (RFC 6750, section 2.1); `token` is what GitHub's own clients write. */
const SCHEMES = ['bearer', 'token'];
const SP = 0x20;

class Bearer implements Placement {
  readonly type = 'bearer';
  readonly slot = 'header authorization';

  find(out: OutboundHead): readonly string[] {
    return fieldValues(out, 'authorization').map(value => {
      const at = tokenStart(value);
      return at < 0 ? unreadable(value) : value.slice(at);
    });
  }

  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed {
    const scheme = stub === undefined ? 'Bearer' : schemeOf(out, stub);
    setField(out, 'Authorization', secret.as(`${scheme} ${secret.reveal()}`));
    return { at: this.slot, wire: secret };
  }
}

/** Where the token of a value starts, behind scheme and spaces; -1 if the scheme is another one. */
function tokenStart(value: string): number {
  for (const scheme of SCHEMES) {
    let at = scheme.length;
    if (value.charCodeAt(at) !== SP || !isNamed(value.slice(0, at), scheme)) continue;
    while (value.charCodeAt(at) === SP) at++;
    return value.indexOf(' ', at) < 0 ? at : -1;
  }
  return -1;
}

/** The client's own word, in its own case. */
function schemeOf(out: OutboundHead, stub: string): string {
  for (const value of fieldValues(out, 'authorization')) {
    const at = tokenStart(value);
    if (at >= 0 && value.slice(at) === stub) return value.slice(0, value.indexOf(' '));
  }
  return 'Bearer';
}

export const bearer = define({
  type: 'bearer',
  summary: 'Authorization: Bearer <credential>; also the scheme "token"',
  schema: z.strictObject({}),
  build: (): Placement => new Bearer(),
});
