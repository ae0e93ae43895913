import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement, StubCount } from '../types.ts';
import { unreadable } from './fields.ts';
import { percentDecode, percentEncoded, percentWires } from './percent.ts';

const PLACE = '{credential}';
/**
 * Segments of visible ASCII as the client sends them; `*` is one whole segment, a last `**` any number of them. The
 * place is the only brace; what stands around it in its segment is literal.
 */
const TEMPLATE =
  /^(?:\/(?:\*|[!"$-)+-.0->@-[\]-z|~]+))*\/[!"$-)+-.0->@-[\]-z|~]*\{credential\}[!"$-)+-.0->@-[\]-z|~]*(?:\/(?:\*|[!"$-)+-.0->@-[\]-z|~]+))*(?:\/\*\*|\/)?$/;
/** What no path that reaches a rule has. */
const UNREACHABLE = /\/\.\.?(?:\/|$)|%(?![0-9a-fA-F]{2})/;

/** What a segment may hold unencoded besides letters and digits, but for `;`, behind which some servers read parameters (RFC 3986, section 3.3). */
const PLAIN = /%(?:24|26|2B|2C|3A|3D|40)/g;

/** Where the value stands in a path. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** A part of one path segment, such as the token in Telegram's `/bot<token>/sendMessage`. */
class Path implements Placement {
  readonly type = 'path';
  readonly slot: string;
  readonly #segments: readonly string[];
  /** Index of the segment that holds the place, and what stands around the place in it. */
  readonly #index: number;
  readonly #before: string;
  readonly #after: string;
  readonly #isOpen: boolean;

  constructor(template: string) {
    this.#isOpen = template.endsWith('/**');
    this.#segments = (this.#isOpen ? template.slice(0, -3) : template).split('/');
    this.#index = this.#segments.findIndex(segment => segment.includes(PLACE));
    const [before = '', after = ''] = (this.#segments[this.#index] ?? '').split(PLACE);
    this.#before = before;
    this.#after = after;
    // What follows the place does not make it another one.
    this.slot = `path ${this.#segments.slice(0, this.#index + 1).join('/')}`;
  }

  find(out: OutboundHead): readonly string[] | undefined {
    if (typeof out.target !== 'string') return undefined;
    const path = pathOf(out.target);
    const place = this.#locate(path);
    if (place) {
      const text = path.slice(place.start, place.end);
      return text === '' ? [] : [percentDecode(text)];
    }
    // Spelled in another way, it is the same place to the server.
    return this.#locate(percentDecode(path)) ? [unreadable(path)] : undefined;
  }

  wires(secret: Secret): readonly Secret[] {
    return percentWires(secret).map(segmentOf);
  }

  inject(out: OutboundHead, _stub: string | undefined, secret: Secret): Placed {
    const target = typeof out.target === 'string' ? out.target : out.target.reveal();
    const place = this.#locate(pathOf(target));
    if (!place) throw new Refusal('stub_missing', { hint: `Send a path with the place: ${this.slot}` });
    const wire = segmentOf(secret.as(percentEncoded(secret)));
    out.target = secret.as(target.slice(0, place.start) + wire.reveal() + target.slice(place.end));
    return { at: this.slot, wire };
  }

  redact(path: string, stubs: StubCount): string {
    const place = this.#locate(path);
    if (!place || place.start === place.end) return path;
    const isStub = stubs.count(path.slice(place.start, place.end)) > 0;
    return path.slice(0, place.start) + (isStub ? '[stub]' : '[withheld]') + path.slice(place.end);
  }

  #locate(path: string): Range | undefined {
    const segments = path.split('/');
    const wanted = this.#segments;
    if (segments.length < wanted.length || (segments.length > wanted.length && !this.#isOpen))
      return undefined;
    const matches = wanted.every((segment, i) => {
      const text = segments[i] as string;
      if (i !== this.#index) return segment === '*' ? text !== '' : text === segment;
      const rest = text.length - this.#before.length - this.#after.length;
      return rest >= 0 && text.startsWith(this.#before) && text.endsWith(this.#after);
    });
    if (!matches) return undefined;
    const at = segments.slice(0, this.#index).reduce((sum, segment) => sum + segment.length + 1, 0);
    const end = at + (segments[this.#index] as string).length - this.#after.length;
    return { start: at + this.#before.length, end };
  }
}

/** As a segment has it: percent-encoded only where that must be. */
function segmentOf(encoded: Secret): Secret {
  return encoded.as(encoded.reveal().replace(PLAIN, percentDecode));
}

function pathOf(target: string): string {
  const mark = target.indexOf('?');
  return mark < 0 ? target : target.slice(0, mark);
}

export const path = define({
  type: 'path',
  summary: 'A part of a path segment, such as the token in /bot<credential>/sendMessage',
  schema: z.strictObject({
    template: z
      .string()
      .max(512)
      .regex(
        TEMPLATE,
        'must be a path with one {credential}, such as "/bot{credential}/**"; `*` is one whole segment, a last `**` any number of them',
      )
      .refine(template => !UNREACHABLE.test(template), {
        message:
          'can never match, because such a path is refused; write it without dot segments and single %',
      })
      .describe(
        'The path, with {credential} where the stub stands: "/bot{credential}/**". `*` is one whole segment, a last `**` any number of them, also none.',
      ),
  }),
  build: ({ template }): Placement => new Path(template),
});
