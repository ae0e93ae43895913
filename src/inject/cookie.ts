import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { define } from '../registry.ts';
import { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { fieldValues, unreadable } from './fields.ts';

/** RFC 6265, section 4.1.1: visible ASCII without quote, comma, semicolon and backslash. */
export const COOKIE_OCTETS = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/;

/** What a field may hold to which a credential is written. */
const PRINTABLE = /^[\x20-\x7e]*$/;

/** What stands between two semicolons of a Cookie field (RFC 6265, section 4.2.1). */
interface Pair {
  readonly name: string;
  /** Without quotes. */
  readonly value: string;
  /** Where the value starts. */
  readonly at: number;
  /** Every server finds the same end of the value. */
  readonly isClear: boolean;
}

/** In the configuration (RFC 6265, section 4.1.1). */
export const cookieName = z
  .string()
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be the name of a cookie, such as session')
  .describe('Name of the cookie; case counts.');

class Cookie implements Placement {
  readonly type = 'cookie';
  readonly slot: string;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.slot = `cookie ${name}`;
  }

  find(out: OutboundHead): readonly string[] {
    const fields = fieldValues(out, 'cookie');
    const pairs = fields.flatMap(field => field.split(';').map(parse));
    const mine = pairs.filter(({ name }) => name === this.#name).map(({ value }) => value);
    // Which of two counts depends on the server, and so does where an open quote ends.
    const isClear =
      mine.length === 1 && pairs.every(pair => pair.isClear) && fields.every(field => PRINTABLE.test(field));
    return isClear ? mine : mine.map(unreadable);
  }

  /** Rewrites the cookie's value, or adds the cookie; further ones of its name go, all others stay byte for byte. */
  inject(out: OutboundHead, _stub: string | undefined, secret: Secret): Placed {
    const value = secret.reveal();
    if (!COOKIE_OCTETS.test(value)) throw unfit(secret);
    const { headers } = out;
    let last = -1;
    let isSet = false;
    for (let i = 0; i < headers.length; i += 2) {
      if ((headers[i] as string).toLowerCase() !== 'cookie') continue;
      last = i + 1;
      const kept: string[] = [];
      for (const part of plain(headers[last]).split(';')) {
        if (parse(part).name !== this.#name) kept.push(part);
        else if (!isSet) {
          kept.push(rewritten(part, value));
          isSet = true;
        }
      }
      headers[last] = secret.as(kept.join(';'));
    }
    const pair = `${this.#name}=${value}`;
    const before = last < 0 ? '' : plain(headers[last]);
    if (last < 0) headers.push('Cookie', secret.as(pair));
    else if (!isSet) headers[last] = secret.as(before === '' ? pair : `${before}; ${pair}`);
    return { at: this.slot, wire: secret };
  }
}

function parse(part: string): Pair {
  const equals = part.indexOf('=');
  if (equals < 0) return { name: '', value: part.trim(), at: 0, isClear: true };
  const name = part.slice(0, equals).trim();
  const value = part.slice(equals + 1).trim();
  const at = part.indexOf(value, equals + 1);
  if (!value.startsWith('"')) return { name, value, at, isClear: true };
  const quoted = value.slice(1, -1);
  const isClear = value.length > 1 && value.endsWith('"') && !/["\\]/.test(quoted);
  return isClear ? { name, value: quoted, at: at + 1, isClear } : { name, value, at, isClear };
}

function rewritten(part: string, value: string): string {
  const pair = parse(part);
  return part.slice(0, pair.at) + value + part.slice(pair.at + pair.value.length);
}

function plain(field: string | Secret | undefined): string {
  return field instanceof Secret ? field.reveal() : (field ?? '');
}

function unfit(secret: Secret): Refusal {
  return new Refusal('credential_unavailable', {
    cause: new Error(
      `credential "${secret.name}" holds a character that cannot stand in a cookie (RFC 6265, section 4.1.1): store it again`,
    ),
  });
}

export const cookie = define({
  type: 'cookie',
  summary: 'The value of a cookie, such as session=<credential>',
  schema: z.strictObject({
    name: cookieName,
  }),
  build: ({ name }): Placement => new Cookie(name),
});
