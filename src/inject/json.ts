import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { bytesOf, limitOf, maxBody } from './body.ts';
import { locate } from './json-text.ts';

/** Reference tokens behind slashes, in which `~` stands only as `~0` or `~1` (RFC 6901, section 3). */
export const POINTER = /^(?:\/(?:[^~/\x00-\x1f\x7f]|~[01])*)+$/;

/** A value of a JSON body (RFC 8259), at a pointer (RFC 6901). */
class Json implements Placement {
  readonly type = 'json';
  readonly slot: string;
  readonly body: { readonly kind: 'json'; readonly limit: number };
  readonly #tokens: readonly string[];

  constructor(pointer: string, limit: number) {
    this.#tokens = tokensOf(pointer);
    this.slot = `json ${pointer}`;
    this.body = { kind: 'json', limit };
  }

  find({ body }: OutboundHead): readonly string[] | undefined {
    if (body?.kind !== 'json') return undefined;
    const place = locate(bytesOf(body), this.#tokens);
    if (!place) return undefined;
    if (place.start === place.end) return [];
    const text = bytesOf(body).toString('utf8', place.start, place.end);
    // What is not a string is no stub, but it stands there.
    return [text.startsWith('"') ? (JSON.parse(text) as string) : ` ${text}`];
  }

  /** Writes a string in the place of the value, or a new member; everything else stays byte for byte. */
  inject({ body }: OutboundHead, _stub: string | undefined, secret: Secret): Placed {
    const bytes = body && bytesOf(body);
    const place = bytes && locate(bytes, this.#tokens);
    if (!place) throw new Error('a JSON value was planned for and is not there');
    const string = JSON.stringify(secret.reveal());
    const written = Buffer.from(place.before + string, 'utf8').toString('latin1');
    body.content = secret.as(
      bytes.toString('latin1', 0, place.start) + written + bytes.toString('latin1', place.end),
    );
    return { at: this.slot, wire: secret.as(string.slice(1, -1)) };
  }
}

/** The reference tokens of a pointer (RFC 6901, section 4). */
export function tokensOf(pointer: string): string[] {
  const tokens = pointer.slice(1).split('/');
  return tokens.map(token => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

export const json = define({
  type: 'json',
  summary: 'A string in a JSON request body, at a JSON Pointer such as /auth/client_secret',
  schema: z.strictObject({
    pointer: z
      .string()
      .max(256)
      .regex(POINTER, 'must be a JSON Pointer (RFC 6901), such as /auth/client_secret')
      .describe('Where the stub stands: a JSON Pointer (RFC 6901), such as /auth/client_secret.'),
    max_body: maxBody(),
  }),
  build: ({ pointer, max_body }): Placement => new Json(pointer, limitOf(max_body)),
});
