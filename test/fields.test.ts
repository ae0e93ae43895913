import { describe, expect, test } from 'vitest';
import { fieldLines, get, has, HOP_BY_HOP, isNamed } from '../src/fields.ts';

const headers = ['Host', 'a', 'X-Y', '1', 'x-y', '2', 'X-Empty', ''];

test('finds the first value of a field in any case', () => {
  expect(get(headers, 'host')).toBe('a');
  expect(get(headers, 'x-y')).toBe('1');
  expect(get(headers, 'x-empty')).toBe('');
  expect(get(headers, 'x-z')).toBeUndefined();
  expect(has(headers, 'x-empty')).toBe(true);
  expect(has(headers, 'a')).toBe(false);
});

test.each([
  ['te', 'te'],
  ['TE', 'te'],
  ['Proxy-Authorization', 'proxy-authorization'],
  ['proxy-authorization', 'proxy-authorization'],
  ['PROXY-AUTHORIZATION', 'proxy-authorization'],
  ['Proxy-authorizatioN', 'proxy-authorization'],
  ['Proxy-Authorisation', undefined],
  ['t', undefined],
  ['tf', undefined],
  ['teE', undefined],
  ['', undefined],
])('%s is known as %s', (name, found) => {
  expect(HOP_BY_HOP.find(name)).toBe(found);
});

test('only letters have two cases', () => {
  // A carriage return and a hyphen, an at sign and a grave accent differ in the bit that tells cases apart.
  expect(isNamed('x\ry', 'x-y')).toBe(false);
  expect(isNamed('x@', 'x`')).toBe(false);
  expect(isNamed('X-Y', 'x-y')).toBe(true);
});

test('writes one line per field', () => {
  expect(fieldLines(['Host', 'a', 'x', ''])).toBe('Host: a\r\nx: \r\n');
});

describe('lines cut from the head they came in', () => {
  const text = 'GET / HTTP/1.1\r\nHost: a\r\nX:1\r\nX: 1\r\nY:  2 \r\nZ: 3\r\nX: 1\r\n';
  const starts = [16, 25, 30, 36, 44, 50, 56];
  const source = { text, headers: ['Host', 'a', 'X', '1', 'X', '1', 'Y', '2', 'Z', '3', 'X', '1'], starts };

  test.each<[string, readonly string[]]>([
    ['all of them', source.headers],
    ['none', []],
    ['the first', ['Host', 'a']],
    ['some', ['X', '1', 'Z', '3']],
    ['a new one first', ['New', 'n', 'Host', 'a', 'Z', '3']],
    ['a new one last', ['Host', 'a', 'New', 'n']],
    ['a changed one between', ['Host', 'a', 'X', '9', 'Y', '2', 'Z', '3']],
    ['in another order', ['Z', '3', 'Host', 'a', 'X', '1']],
    ['a name in another case', ['HOST', 'a', 'z', '3']],
    ['one more of the same', ['X', '1', 'X', '1', 'X', '1', 'X', '1']],
  ])('%s', (_, headers) => {
    expect(fieldLines(headers, source)).toBe(fieldLines(headers));
    expect(fieldLines(headers, source, true)).toBe(`GET / HTTP/1.1\r\n${fieldLines(headers)}`);
  });
});
