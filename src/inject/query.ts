import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import type { OutboundHead, Placed, Placement } from '../types.ts';
import { isNamed, keyOf, pairsOf, valueOf } from './pairs.ts';
import { percentEncoded, percentWires } from './percent.ts';

class Query implements Placement {
  readonly type = 'query';
  readonly slot: string;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.slot = `query ${name}`;
  }

  find(out: OutboundHead): readonly string[] {
    if (typeof out.target !== 'string') return [];
    const mark = out.target.indexOf('?');
    if (mark < 0) return [];
    return pairsOf(out.target.slice(mark + 1))
      .filter(pair => isNamed(pair, this.#name))
      .map(valueOf);
  }

  wires(secret: Secret): readonly Secret[] {
    return percentWires(secret);
  }

  /** Rewrites one pair; further ones of the same name go, everything else stays byte for byte. */
  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed {
    const target = typeof out.target === 'string' ? out.target : out.target.reveal();
    const wire = secret.as(percentEncoded(secret));
    const mark = target.indexOf('?');
    const pairs = mark < 0 ? [] : pairsOf(target.slice(mark + 1));
    const chosen = this.#choose(pairs, stub);
    const key = pairs[chosen] === undefined ? encodeURIComponent(this.#name) : keyOf(pairs[chosen]);
    const written = `${key}=${wire.reveal()}`;
    const kept = pairs.flatMap((pair, at) =>
      at === chosen ? written : isNamed(pair, this.#name) ? [] : pair,
    );
    if (chosen < 0) kept.push(written);
    const path = mark < 0 ? target : target.slice(0, mark);
    out.target = secret.as(`${path}?${kept.join('&')}`);
    return { at: this.slot, wire };
  }

  /** Index of the pair to rewrite: the one with the stub, else the first of the name, else -1. */
  #choose(pairs: readonly string[], stub: string | undefined): number {
    const withStub = pairs.findIndex(pair => isNamed(pair, this.#name) && valueOf(pair) === stub);
    return withStub >= 0 ? withStub : pairs.findIndex(pair => isNamed(pair, this.#name));
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
