import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { percentDecode } from './percent.ts';

class Query implements Placement {
  readonly type = 'query';
  readonly slot: string;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.slot = `query ${name}`;
  }

  find(out: OutboundHead): readonly string[] {
    if (typeof out.target !== 'string' || !out.target.includes('?')) return [];
    return pairsOf(out.target)
      .filter(pair => this.#isMine(pair))
      .map(valueOf);
  }

  /** Rewrites one pair; further ones of the same name go, everything else stays byte for byte. */
  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed {
    const target = typeof out.target === 'string' ? out.target : out.target.reveal();
    const wire = secret.as(encode(secret));
    const mark = target.indexOf('?');
    const pairs = mark < 0 || mark === target.length - 1 ? [] : pairsOf(target);
    const chosen = this.#choose(pairs, stub);
    const key = pairs[chosen] === undefined ? encodeURIComponent(this.#name) : keyOf(pairs[chosen]);
    const written = `${key}=${wire.reveal()}`;
    const kept = pairs.flatMap((pair, at) => (at === chosen ? written : this.#isMine(pair) ? [] : pair));
    if (chosen < 0) kept.push(written);
    const path = mark < 0 ? target : target.slice(0, mark);
    out.target = secret.as(`${path}?${kept.join('&')}`);
    return { at: this.slot, wire };
  }

  /** Index of the pair to rewrite: the one with the stub, else the first of the name, else -1. */
  #choose(pairs: readonly string[], stub: string | undefined): number {
    const withStub = pairs.findIndex(pair => this.#isMine(pair) && valueOf(pair) === stub);
    return withStub >= 0 ? withStub : pairs.findIndex(pair => this.#isMine(pair));
  }

  #isMine(pair: string): boolean {
    return decode(keyOf(pair)) === this.#name;
  }
}

function pairsOf(target: string): string[] {
  return target.slice(target.indexOf('?') + 1).split('&');
}

function keyOf(pair: string): string {
  const equals = pair.indexOf('=');
  return equals < 0 ? pair : pair.slice(0, equals);
}

function valueOf(pair: string): string {
  const equals = pair.indexOf('=');
  return equals < 0 ? '' : decode(pair.slice(equals + 1));
}

/** One round, as a form decoder reads it (WHATWG URL, section 5.1); latin1. */
function decode(text: string): string {
  return percentDecode(text.replaceAll('+', ' '));
}

function encode(secret: Secret): string {
  try {
    return encodeURIComponent(secret.reveal());
  } catch {
    throw new Refusal('credential_unavailable', {
      cause: new Error(`credential "${secret.name}" is not well-formed Unicode: store it again`),
    });
  }
}

export const query = define({
  type: 'query',
  summary: 'A query parameter, such as ?key=<credential>',
  schema: z.strictObject({
    name: z.string().regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable ASCII characters'),
  }),
  build: ({ name }): Placement => new Query(name),
});
