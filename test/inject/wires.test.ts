import { expect, test } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { Secret } from '../../src/secret.ts';
import type { OutboundHead, RequestHead } from '../../src/types.ts';

/** Differs in a URL, in a path segment, in base64 and in JSON. */
const SECRET = new Secret('api', 'a+b/c=d&e"f@g:h,i;j k');
type Place = [type: string, options: object, target: string, kind: 'form' | undefined];
const PLACES: Place[] = [SECRET, ...(placement.wires?.(SECRET) ?? [])].map(one => one.reveal());
    expect(findable.filter(text => wire.reveal().includes(text))).not.toEqual([]);
  },
);

test('a secret that is the same on the wire has no wires of its own', () => {
  const plain = new Secret('api', 'abcDEF123');
  for (const [type, options] of PLACES.filter(([name]) => name !== 'basic'))
    expect(placements.build(type, options).wires?.(plain) ?? []).toEqual([]);
});
