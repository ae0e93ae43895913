import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canariesFor } from '../../src/proof/canary.ts';
import { QuickSearch } from '../../src/proof/quick.ts';
import { decoded, Needles, search } from '../../src/proof/search.ts';
import { SPELLINGS } from '../../src/proof/spellings.ts';

const SECRET = 'Zk3vQ9mTx7LpRw2NsB8a+/Hd5fGj1KcYq6UtVe0X';
const canaries = [
  { credential: 'github', value: SECRET },
  { credential: 'other', value: '0'.repeat(12) + 'aBcDeFgHiJkLmNoPqRsT' },
];
const needles = new Needles(canaries);
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const spellingsIn = (text: Buffer): string[] => search(text, needles).map(({ spelling }) => spelling);

const base64 = (text: string): string => bytes(text).toString('base64');
const hex = (text: string): string => bytes(text).toString('hex');

describe('search', () => {
  it.each([...SPELLINGS.keys()])('finds a secret that is spelled: %s', name => {
    const text = `{"it": ${SPELLINGS.get(name)?.(SECRET)}, "more": "x"}`;
    expect(search(bytes(text), needles)).toMatchObject([{ credential: 'github' }]);
  });

  it.each<[string, Buffer, string]>([
    ['as it is', bytes(`token=${SECRET}`), 'as it is'],
    ['base64', bytes(base64(`user:${SECRET}`)), 'base64'],
    ['base64url without padding', Buffer.from(bytes(`..${SECRET}`).toString('base64url')), 'base64'],
    [
      'base64 in lines',
      bytes(base64(SECRET.repeat(2)).replace(/.{9}/g, '$&\r\n ')),
      'base64 in lines joined',
    ],
    ['base64 in base64', bytes(base64(base64(SECRET))), 'base64 in base64'],
    ['base64 in hex', bytes(hex(base64(SECRET))), 'base64 in hex'],
    ['hex with colons', bytes(hex(SECRET).replace(/..(?=.)/g, '$&:')), 'hex'],
    ['percent in percent', bytes(encodeURIComponent(encodeURIComponent(hex(SECRET)))), 'hex'],
    ['UTF-16', Buffer.from(SECRET, 'utf16le'), 'UTF-16'],
    ['gzip', gzipSync(SECRET), 'gzip'],
    ['gzip behind other bytes', Buffer.concat([bytes('--b\r\n\r\n'), gzipSync(SECRET)]), 'gzip'],
    ['gzip that was cut', gzipSync(SECRET.repeat(50)).subarray(0, -9), 'gzip'],
    ['zlib', deflateSync(SECRET), 'zlib'],
    ['zstd', zstdCompressSync(hex(SECRET).repeat(9)), 'hex in zstd'],
    [
      'gzip in base64 in JSON',
      bytes(JSON.stringify({ a: gzipSync(SECRET).toString('base64') })),
      'gzip in base64',
    ],
    ['the first half', bytes(SECRET.slice(0, 20)), 'as it is'],
    ['the second half', bytes(SECRET.slice(20)), 'as it is'],
    ['a half in base64', bytes(base64(SECRET.slice(10, 30))), 'base64'],
  ])('names how it was spelled: %s', (_, text, spelling) => {
    expect(spellingsIn(text)).toEqual([spelling]);
  });

  it('reads what a client would decode, in the order of Content-Encoding', () => {
    expect(decoded(brotliCompressSync(gzipSync(SECRET)), ['gzip', 'br']).toString()).toBe(SECRET);
  });

  it('finds several secrets in one text', () => {
    const found = search(bytes(canaries.map(({ value }) => value).join(' ')), needles);
    expect(found.map(({ credential }) => credential).toSorted()).toEqual(['github', 'other']);
  });

  it('raises no false alarm on random bytes and random text', () => {
    const fresh = new Needles(canariesFor(['a', 'b', 'c'].map(name => ({ name, stub: { shape: 'x' } }))));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 2000 }).map(array => Buffer.from(array)),
          fc.uint8Array({ maxLength: 2000 }).map(array => bytes(Buffer.from(array).toString('base64'))),
          fc.string({ maxLength: 2000 }).map(text => Buffer.from(text)),
        ),
        text => search(text, fresh).length === 0,
      ),
      { numRuns: 300 },
    );
  });

  it('finds nothing of a secret of which nothing is there, and ends on hostile text', () => {
    expect(spellingsIn(bytes('x\x9c'.repeat(20_000)))).toEqual([]);
    expect(spellingsIn(bytes('QUFB'.repeat(50_000)))).toEqual([]);
  });
});

describe('QuickSearch', () => {
  const quick = new QuickSearch(canaries);

  it.each<[string, string, Buffer]>([
    ['as it is', 'as it is', bytes(SECRET)],
    ['base64', 'base64', bytes(base64(SECRET))],
    ['base64 behind one byte', 'base64', bytes(base64(`.${SECRET}.`))],
    ['base64 behind two bytes', 'base64', bytes(base64(`..${SECRET}..`))],
    ['base64url', 'base64', Buffer.from(bytes(SECRET).toString('base64url'))],
    ['hex', 'hex', bytes(hex(SECRET))],
    ['hex in capitals', 'hex', bytes(hex(SECRET).toUpperCase())],
    ['percent', 'percent', bytes(encodeURIComponent(SECRET))],
    ['slashes escaped', 'escapes', bytes(SECRET.replaceAll('/', '\\/'))],
    ['UTF-16', 'UTF-16', Buffer.from(SECRET, 'utf16le')],
  ])('finds it in the middle of much else, and tells where: %s', (_, spelling, spelled) => {
    const before = Buffer.alloc(100_001, 'x');
    const [found, ...more] = quick.in(Buffer.concat([before, spelled, before]));
    expect(more).toEqual([]);
    expect(found).toMatchObject({ credential: 'github', spelling });
    expect(found?.offset).toBeGreaterThanOrEqual(before.length);
    expect(found?.offset).toBeLessThan(before.length + 4);
  });

  it('leaves nothing between two pieces that overlap as it says', () => {
    const text = Buffer.concat([Buffer.alloc(1000), bytes(hex(SECRET)), Buffer.alloc(1000)]);
    for (let cut = 990; cut < 1100; cut++) {
      const pieces = [text.subarray(0, cut + quick.overlap), text.subarray(cut)];
      expect(pieces.flatMap(piece => quick.in(piece)).length).toBeGreaterThan(0);
    }
  });
});
