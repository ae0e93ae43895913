import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { Seal } from '../../src/state/seal.ts';

const seal = new Seal(Buffer.from('a key of thirty-two characters..'));
const same = new Seal(Buffer.from('a key of thirty-two characters..'));
const another = new Seal(Buffer.from('a key of thirty-two characters!.'));

describe('what is sealed', () => {
  test.each(['', 'x', '{"a":"ü 😀"}', 'y'.repeat(100_000)])(
    'opens with the same key at the same place: %.10s',
    text => {
      expect(same.open('here', seal.seal('here', text))).toBe(text);
    },
  );

  test('opens nowhere else, with no other key, and not if one bit of it is another', () => {
    const sealed = seal.seal('here', 'secret');
    expect(seal.open('there', sealed)).toBeUndefined();
    expect(another.open('here', sealed)).toBeUndefined();
    const bytes = Buffer.from(sealed, 'base64');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(seal.open('here', changed.toString('base64'))).toBeUndefined();
    }
    for (let length = 0; length < bytes.length; length++)
      expect(seal.open('here', bytes.subarray(0, length).toString('base64'))).toBeUndefined();
    for (const odd of ['', '!', 'AQ==', sealed.slice(4)]) expect(seal.open('here', odd)).toBeUndefined();
  });

  test('is another text each time, and tells nothing but a length', () => {
    const texts = Array.from({ length: 100 }, () => seal.seal('here', 'secret'));
    expect(new Set(texts).size).toBe(100);
    expect(texts.join()).not.toContain(Buffer.from('secret').toString('base64').slice(0, 6));
  });

  test('names are hidden, the same for all who hold the key', () => {
    expect(seal.hidden('rotation x')).toMatch(/^[0-9a-f]{32}$/);
    expect(same.hidden('rotation x')).toBe(seal.hidden('rotation x'));
    expect(another.hidden('rotation x')).not.toBe(seal.hidden('rotation x'));
  });
});

describe('a token', () => {
  test('is proved by who has the key, and cannot be made by anybody else', () => {
    const token = seal.newToken();
    expect(token).toMatch(/^sgt_[0-9A-Za-z]{54}$/);
    expect(same.proves(token)).toBe(true);
    expect(another.proves(token)).toBe(false);
    for (let i = 4; i < token.length; i++) {
      const changed = `${token.slice(0, i)}${token[i] === 'a' ? 'b' : 'a'}${token.slice(i + 1)}`;
      expect(seal.proves(changed)).toBe(false);
    }
    for (const wrong of [
      '',
      'sgt_',
      token.slice(0, -1),
      `${token}a`,
      ` ${token}`,
      `${token}\n`,
      token.toLowerCase(),
    ])
      expect(seal.proves(wrong)).toBe(false);
  });

  test('always has the whole proof', () => {
    for (let i = 0; i < 2000; i++) expect(seal.proves(seal.newToken())).toBe(true);
  });
});
