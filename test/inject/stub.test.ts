import { describe, expect, it } from 'vitest';
import { parseShape, SHAPES } from '../../src/inject/shape.ts';
import { deriveKey, StubCounter } from '../../src/inject/stub.ts';
import { base64, keyOf, percent } from './make.ts';

const key = keyOf('this gate');
const stub = key.mint(parseShape('github-pat'));
const names = Object.keys(SHAPES);

describe('a minted stub', () => {
  it.each(names)('has exactly the shape %s', name => {
    const shape = parseShape(name);
    const form = shape.parts.map(part => (typeof part === 'string' ? part : `[0-9A-Za-z]{${part}}`)).join('');
    for (let i = 0; i < 50; i++) expect(key.mint(shape)).toMatch(new RegExp(`^${form}$`));
  });

  it('is never the same twice', () => {
    const shape = parseShape('gitlab-pat');
    expect(new Set(Array.from({ length: 5_000 }, () => key.mint(shape))).size).toBe(5_000);
  });

  it('carries the tag in the longest part', () => {
    expect(key.mint(parseShape('a{5}b{25}c{7}')).slice(7)).toMatch(new RegExp(`^${key.marker}`));
  });

  it('uses every character about as often as any other', () => {
    const counts = new Map<string, number>();
    const shape = parseShape('{500}');
    for (let i = 0; i < 200; i++) {
      for (const char of key.mint(shape).slice(5)) counts.set(char, (counts.get(char) ?? 0) + 1);
    }
    const expected = (200 * 495) / 62;
    expect(counts.size).toBe(62);
    for (const count of counts.values()) expect(Math.abs(count - expected)).toBeLessThan(expected * 0.2);
  });
});

describe('the marker', () => {
  // A hexadecimal digit there would let `%` before a stub swallow its beginning in a decoder.
  it('begins with no hexadecimal digit in any spelling, whatever the key', () => {
    for (let i = 0; i < 2_000; i++) {
      for (const needle of keyOf(`gate ${i}`).needles)
        expect(needle.text).toMatch(/^[^0-9A-Fa-f][0-9A-Za-z]+$/);
    }
  });

  it('is the same after a restart and differs between gates', () => {
    const der = Buffer.from('a private key');
    expect(deriveKey(der)).toEqual(deriveKey(Buffer.from(der)));
    expect(deriveKey(der)).toHaveLength(32);
    expect(deriveKey(Buffer.from('another'))).not.toEqual(deriveKey(der));
    expect(keyOf('a').marker).not.toBe(keyOf('b').marker);
  });
});

/** Spellings in which a stub counts as one, as functions of the stub. */
const SPELLINGS: readonly (readonly [string, (text: string) => string])[] = [
  ['plain', text => text],
  ['Basic, as password', text => `Basic ${base64(`user:${text}`)}`],
  ['Basic, as user', text => `Basic ${base64(`${text}:`)}`],
  ['base64 at alignment 0', base64],
  ['base64 at alignment 1', text => base64(`x${text}`)],
  ['base64 at alignment 2', text => base64(`xy${text}z`)],
  [
    'base64url after bytes that need it',
    text => Buffer.from(`\xff\xfe\xfd${text}\xff\xff`, 'latin1').toString('base64url'),
  ],
  ['percent, every character', text => percent(text)],
  ['percent, one character', text => percent(text.slice(0, 1)) + text.slice(1)],
  ['percent, upper case', text => percent(text).toUpperCase()],
  [
    'percent, every second character',
    text =>
      text
        .split('')
        .map((c, i) => (i % 2 ? percent(c) : c))
        .join(''),
  ],
  ['percent, two rounds', text => percent(text, 2)],
  ['percent over base64', text => percent(base64(text))],
  ['two rounds of percent over base64', text => percent(base64(`:${text}`), 2)],
  ['after a lone %', text => `%${text}`],
  ['after a % and a digit', text => `%4${text}`],
  ['base64 after a lone %', text => `%${base64(text)}`],
  ['base64 at alignment 1 after a lone %', text => `%${base64(`x${text}`)}`],
  ['between base62 characters', text => `aZ9${text}aZ9`],
  ['behind a false marker', text => `${key.marker}${text}`],
  ['behind a false marker and two characters', text => `${key.marker}ab${text}`],
];

describe('count', () => {
  it.each(SPELLINGS)('finds a stub of any shape: %s', (_, spell) => {
    for (const name of [...names, '{20}', '{21}', 'c2{40}', 'abcdef{64}']) {
      const text = spell(key.mint(parseShape(name)));
      expect(key.count(`GET /?q=${text} HTTP/1.1\r\n`), text).toBe(1);
      expect(key.count(text), text).toBe(1);
    }
  });

  it('finds each of two stubs in every pair of spellings', () => {
    const other = key.mint(parseShape('npm'));
    for (const [, one] of SPELLINGS) {
      for (const [, two] of SPELLINGS) expect(key.count(`${one(stub)} ${two(other)}`)).toBe(2);
    }
  });

  it('finds a stub at any offset in base64', () => {
    for (let before = 0; before < 12; before++) {
      for (let after = 0; after < 4; after++) {
        const text = base64('-'.repeat(before) + stub + '-'.repeat(after));
        expect(key.count(text)).toBe(1);
        expect(key.count(text.replace(/=+$/, ''))).toBe(1);
      }
    }
  });

  it.each([
    ['nothing', ''],
    ['a lone %', '%'],
    ['another gate’s stub', keyOf('another gate').mint(parseShape('github-pat'))],
    ['a marker only', key.marker],
    ['a marker in base62', `${key.marker}000000000000000`],
    ['lower case', stub.toLowerCase()],
    ['upper case', stub.toUpperCase()],
    ['reversed', stub.split('').toReversed().join('')],
    ['cut inside the tag', stub.slice(0, 23)],
    ['without its first tag character', `ghp_${stub.slice(5)}`],
  ])('does not count %s', (_, text) => {
    expect(key.count(text)).toBe(0);
    expect(key.count(base64(text))).toBe(0);
    expect(key.count(percent(text))).toBe(0);
  });

  it('does not count a stub with any one character of its tag changed', () => {
    for (let at = 4; at < 24; at++) {
      const char = stub[at] === 'a' ? 'b' : 'a';
      expect(key.count(stub.slice(0, at) + char + stub.slice(at + 1))).toBe(0);
    }
  });

  it('knows a stub that lost its end, or its literal', () => {
    expect(key.count(stub.slice(0, 24))).toBe(1);
    expect(key.count(stub.slice(4))).toBe(1);
  });

  it('knows a stub of before a restart', () => {
    expect(keyOf('this gate').count(stub)).toBe(1);
  });

  it('counts forged candidates without verifying them once there are too many for an honest text', () => {
    expect(key.count(`${key.marker}-`.repeat(64))).toBe(0);
    expect(key.count(`${key.marker}-`.repeat(65))).toBe(1);
  });

  it('still knows stubs after having seen more than it remembers', () => {
    const fresh = keyOf('this gate');
    const shape = parseShape('gitlab-pat');
    for (let i = 0; i < 5_000; i++) expect(fresh.count(key.mint(shape))).toBe(1);
    expect(fresh.count(stub)).toBe(1);
  });
});

describe('StubCounter', () => {
  const inBodies = SPELLINGS.filter(([name]) => !/^(two rounds|percent)/.test(name));

  it.each(inBodies)('finds a stub cut into two chunks at every byte: %s', (_, spell) => {
    const body = Buffer.from(`{"a":"${spell(stub)}","b":"${'x'.repeat(60)}"}`, 'latin1');
    for (let cut = 0; cut <= body.length; cut++) {
      const counter = new StubCounter(key);
      counter.feed(body.subarray(0, cut));
      counter.feed(body.subarray(cut));
      expect(counter.seen, `cut at ${cut}`).toBe(1);
    }
  });

  it.each([1, 2, 3, 7, 19, 20, 25, 26, 27, 64, 100_000])('counts alike in chunks of %i bytes', size => {
    const text = inBodies.map(([, spell]) => spell(stub)).join(' and ');
    const body = Buffer.from(text, 'latin1');
    const counter = new StubCounter(key);
    for (let at = 0; at < body.length; at += size) counter.feed(body.subarray(at, at + size));
    expect(counter.seen).toBe(inBodies.length);
  });

  it('counts a stub that ends the body once, however often it is asked', () => {
    const counter = new StubCounter(key);
    counter.feed(Buffer.from(`prefix ${stub}`));
    expect([counter.seen, counter.seen]).toEqual([1, 1]);
    counter.feed(Buffer.from(' and more, more than a stub is long'));
    expect(counter.seen).toBe(1);
  });

  it('keeps no memory of a chunk that is used again', () => {
    const counter = new StubCounter(key);
    const memory = Buffer.from(`${'-'.repeat(40)}${stub.slice(0, 12)}`);
    counter.feed(memory);
    memory.fill(0);
    counter.feed(Buffer.from(stub.slice(12)));
    expect(counter.seen).toBe(1);
  });

  it('sees nothing in nothing', () => {
    const counter = new StubCounter(key);
    counter.feed(Buffer.alloc(0));
    expect(counter.seen).toBe(0);
  });
});
