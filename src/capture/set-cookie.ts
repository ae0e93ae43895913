import { z } from 'zod';
import { isNamed } from '../fields.ts';
import { COOKIE_OCTETS, cookieName } from '../inject/cookie.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer, type Spot } from '../types.ts';

/** Bytes of name and value; no browser keeps a larger one (RFC 6265bis, section 5.6). */
const MAX_LENGTH = 4096;
/** What ends a cookie comes with a value such as `deleted`, or none. */
const MIN_SECRET = 8;

/** A Set-Cookie field (RFC 6265, section 5.2). */
interface Cookie {
  readonly name: string;
  /** Without the quotes around it. */
  readonly value: string;
  /** Where that value starts. */
  readonly at: number;
  /** ms; negative or 0: it ends at once. Undefined: with the client. */
  readonly lifeMs: number | undefined;
}

/** The value of a cookie that the answer sets; its name and attributes stay. */
class SetCookie implements CapturePlace {
  readonly type = 'set-cookie';
  // Most answers set none.
  readonly isQuiet = true;
  readonly slot: string;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.slot = `set-cookie ${name}`;
  }

  find({ headers }: ReadAnswer): Handout | undefined {
    const spots: Spot[] = [];
    let lifeMs: number | undefined = 0;
    for (let i = 0; i < headers.length; i += 2) {
      if (!isNamed(headers[i] as string, 'set-cookie')) continue;
      const field = headers[i + 1] as string;
      this.#requireApart(field);
      const cookie = parse(field);
      const { value, at } = cookie;
      if (cookie.name !== this.#name || !this.#isHandedOut(cookie)) continue;
      lifeMs =
        lifeMs === undefined || cookie.lifeMs === undefined ? undefined : Math.max(lifeMs, cookie.lifeMs);
      const write = (stub: string): string => field.slice(0, at) + stub + field.slice(at + value.length);
      spots.push({ in: 'headers', start: i + 1, end: i + 2, text: value, write });
    }
    const [first] = spots;
    if (!first) return undefined;
    if (spots.some(({ text }) => text !== first.text))
      throw new BodyFault(`sets the cookie ${this.#name} to more than one value`, '');
    return { value: first.text, spots, ...(lifeMs !== undefined && { lifeMs }) };
  }

  /** Some join fields by commas, which cannot be undone (RFC 6265, section 3): no second one may be ours. */
  #requireApart(field: string): void {
    const [, ...rest] = field.split(',');
    if (rest.some(part => parse(part).name === this.#name))
      throw new BodyFault(`sets the cookie ${this.#name} behind another one, in one field`, '');
  }

  #isHandedOut({ name, value, lifeMs }: Cookie): boolean {
    if (value === '' || (lifeMs !== undefined && lifeMs <= 0 && value.length < MIN_SECRET)) return false;
    if (name.length + value.length > MAX_LENGTH)
      throw new BodyFault(`sets a cookie of more than ${MAX_LENGTH} bytes, which no client keeps`, '');
    if (!COOKIE_OCTETS.test(value))
      throw new BodyFault(`sets the cookie ${this.#name} to what cannot stand in one (RFC 6265)`, '');
    return true;
  }
}

function parse(field: string): Cookie {
  const [pair = '', ...attributes] = field.split(';');
  const equals = pair.indexOf('=');
  const name = trimmed(pair.slice(0, Math.max(equals, 0)));
  const text = trimmed(pair.slice(equals + 1));
  const quoted = /^"(.*)"$/s.exec(text)?.[1];
  const value = quoted ?? text;
  const at = pair.indexOf(text, equals + 1) + (quoted === undefined ? 0 : 1);
  return { name, value, at, lifeMs: lifeIn(attributes) };
}

/** Max-Age goes before Expires, and the last one of each counts (RFC 6265, section 5.3). */
function lifeIn(attributes: readonly string[]): number | undefined {
  let [age, until]: (number | undefined)[] = [];
  for (const attribute of attributes) {
    const equals = attribute.indexOf('=');
    const value = equals < 0 ? '' : trimmed(attribute.slice(equals + 1));
    const name = trimmed(equals < 0 ? attribute : attribute.slice(0, equals)).toLowerCase();
    if (name === 'max-age' && /^-?\d{1,15}$/.test(value)) age = Number(value) * 1000;
    if (name === 'expires' && Number.isFinite(Date.parse(value))) until = Date.parse(value) - Date.now();
  }
  return age ?? until;
}

/** Without spaces and tabs around it. */
function trimmed(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '');
}

export const setCookie = define({
  type: 'set-cookie',
  summary: 'The value of a cookie that the answer sets, for as: cookie; attributes stay',
  schema: z.strictObject({
    name: cookieName,
  }),
  build: ({ name }): CapturePlace => new SetCookie(name),
});
