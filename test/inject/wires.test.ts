import { expect, test } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { Secret } from '../../src/secret.ts';
import type { OutboundHead, RequestHead } from '../../src/types.ts';

type Place = [type: string, options: object, target: string, kind?: 'form'];

/** Differs in a URL, in a path segment, in base64 and in JSON. */
const SECRET = new Secret('api', 'a+b/c=d&e"f@g:h,i;j k');
const PLACES: Place[] = [
  ['bearer', {}, '/'],
  ['basic', {}, '/'],
  ['basic', { username: 'u' }, '/'],
  ['basic', { username: 'us' }, '/'],
  ['header', { name: 'x-api-key' }, '/'],
  ['query', { name: 'key' }, '/?a=b'],
  ['path', { template: '/bot{credential}/**' }, '/botX/send'],
  ['form', { field: 'client_secret' }, '/', 'form'],
];

test.each(PLACES)('what goes out as %s %j holds the secret, or one of its wires', (...place: Place) => {
  const [type, options, target, kind] = place;
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
});

test('a secret that is the same on the wire has no wires of its own', () => {
  const plain = new Secret('api', 'abcDEF123');
  for (const [type, options] of PLACES.filter(([name]) => name !== 'basic'))
    expect(placements.build(type, options).wires?.(plain) ?? []).toEqual([]);
});
