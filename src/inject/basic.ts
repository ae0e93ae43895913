import { Buffer } from 'node:buffer';
import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { fieldValues, setField, unreadable } from './fields.ts';

/** `Authorization: Basic base64(user:password)` (RFC 7617, section 2). */
const FORM = /^basic +([A-Za-z0-9+/]+={0,2})$/i;

interface UserPass {
  readonly user: string;
  readonly password: string;
}

class Basic implements Placement {
  readonly type = 'basic';
  readonly slot = 'header authorization';
  readonly #username: string | undefined;

  constructor(username: string | undefined) {
    this.#username = username;
  }

  find(out: OutboundHead): readonly string[] {
    return fieldValues(out, 'authorization').flatMap(value => {
      const pair = parse(value);
      return pair ? [pair.user, pair.password] : [unreadable(value)];
    });
  }

  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed {
    // Bytes, as latin1: the half that is kept need not be UTF-8.
    const value = Buffer.from(secret.reveal(), 'utf8').toString('latin1');
    const userPass = Buffer.from(this.#userPass(out, stub, value), 'latin1');
    const wire = secret.as(userPass.toString('base64'));
    setField(out, 'Authorization', wire.as(`Basic ${wire.reveal()}`));
    return { at: this.slot, wire };
  }

  /** Whatever stands before it: the characters that hold nothing else, at each place in a group of three bytes. */
  wires(secret: Secret): readonly Secret[] {
    const bytes = Buffer.from(secret.reveal(), 'utf8');
    return [0, 1, 2].map(shift => {
      const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
      return secret.as(text.slice(Math.ceil((8 * shift) / 6), Math.floor((8 * (shift + bytes.length)) / 6)));
    });
  }

  #userPass(out: OutboundHead, stub: string | undefined, secret: string): string {
    if (this.#username !== undefined) return `${this.#username}:${secret}`;
    for (const value of fieldValues(out, 'authorization')) {
      const pair = parse(value);
      if (pair && pair.password === stub) return `${pair.user}:${secret}`;
      if (pair && pair.user === stub) return `${secret}:${pair.password}`;
    }
    // Nothing to keep: the user name may be empty, the password is where a secret belongs.
    return `:${secret}`;
  }
}

/** Both halves, or undefined for anything but the one canonical spelling. */
function parse(value: string): UserPass | undefined {
  const base64 = FORM.exec(value)?.[1];
  if (base64 === undefined) return undefined;
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.toString('base64') !== base64) return undefined;
  const text = bytes.toString('latin1');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

export const basic = define({
  type: 'basic',
  summary: 'Authorization: Basic; the stub is the user or the password, or `username` is set by the gate',
  schema: z.strictObject({
    username: z
      .string()
      .regex(/^[\x20-\x39\x3b-\x7e]{0,128}$/, 'must be printable ASCII without a colon (RFC 7617, section 2)')
      .optional(),
  }),
  build: ({ username }): Placement => new Basic(username),
});
