import { expect, test } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { Secret } from '../../src/secret.ts';
import type { OutboundHead, RequestHead } from '../../src/types.ts';

/** Differs in a URL, in a path segment, in base64 and in JSON. */
const SECRET = new Secret('api', 'a+b/c=d&e"f@g:h,i;j k');
const PLACES: readonly (readonly [type: string, options: object, target: string, body?: 'json' | 'form'])[] =
  [
    ['bearer', {}, '/', undefined],
    ['basic', {}, '/', undefined],
    ['basic', { username: 'u' }, '/', undefined],
    ['basic', { username: 'us' }, '/', undefined],
    ['header', { name: 'x-api-key' }, '/', undefined],
    ['query', { name: 'key' }, '/?a=b', undefined],
    ['path', { template: '/bot{credential}/**' }, '/botX/send', undefined],
    ['form', { field: 'client_secret' }, '/', 'form'],
  ];

test.each(PLACES)(
  'what goes out as %s %j can be found in it: the secret, or one of its wires',
  (type, options, target, kind) => {
    const placement = placements.build(type, options);
    const out: OutboundHead = {
      method: 'POST',
      target,
      headers: [],
      body: kind && { kind, content: Buffer.from('') },
      originForm: target,
      source: { headers: [] as readonly string[], length: 0 } as RequestHead,
      capturesKeys: false,
    };
    const { wire } = placement.inject(out, undefined, SECRET);
    const findable = [SECRET, ...(placement.wires?.(SECRET) ?? [])].map(one => one.reveal());
    expect(findable.filter(text => wire.reveal().includes(text))).not.toEqual([]);
  },
);

test('a secret that is the same on the wire has no wires of its own', () => {
  const plain = new Secret('api', 'abcDEF123');
  for (const [type, options] of PLACES.filter(([name]) => name !== 'basic'))
    expect(placements.build(type, options).wires?.(plain) ?? []).toEqual([]);
});
