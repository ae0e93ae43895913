import { describe, expect, it } from 'vitest';
import { canonicalPath, lenientReadings, percentDecode, percentDecodings } from '../../src/policy/path.ts';

describe('canonicalPath', () => {
  it.each([
    ['/', '/', ''],
    ['/?', '/', '?'],
    ['/a/b?x=1', '/a/b', '?x=1'],
    ['/a?b?c', '/a', '?b?c'],
    ['/a?/../b', '/a', '?/../b'],
    ['/a?x=%zz', '/a', '?x=%zz'],
    ['/a//b', '/a//b', ''],
    ['/a/', '/a/', ''],
    ['/@scope%2Fname', '/@scope%2Fname', ''],
    ['/%7Euser', '/%7Euser', ''],
    ['/caf%C3%A9', '/caf%C3%A9', ''],
    ['/%E2%82%AC', '/%E2%82%AC', ''],
    ['/%F0%9F%98%80', '/%F0%9F%98%80', ''],
    ['/caf%e9', '/caf%e9', ''],
    ['/100%25', '/100%25', ''],
    ['/%25zz', '/%25zz', ''],
    ['/...', '/...', ''],
    ['/..a', '/..a', ''],
    ['/a..', '/a..', ''],
    ['/.git', '/.git', ''],
    ['/a;b=c', '/a;b=c', ''],
    ['/a*b', '/a*b', ''],
    ['/{a}|^', '/{a}|^', ''],
    ['/%20', '/%20', ''],
    ['/a%3Fb%23c', '/a%3Fb%23c', ''],
  ])('reads %s', (target, path, query) => {
    expect(canonicalPath(target)).toEqual({ path, query });
  });

  it.each([
    '',
    '*',
    'a',
    'http://a/',
    '//evil.example/',
    '/\\evil.example',
    '\\\\evil.example',
    '/a\\b',
    '/a%5cb',
    '/a%255Cb',
    '/.',
    '/..',
    '/./a',
    '/../a',
    '/a/..',
    '/a/../b',
    '/a/./b',
    '/a/..;/b',
    '/a/..;x=1/b',
    '/a/.;/b',
    '/a/..%3b/b',
    '/a/..%253Bx/b',
    '/a/%2e%2e/b',
    '/a/%2E./b',
    '/a/.%2e/b',
    '/a/%252e%252e/b',
    '/a/%25%32%65%25%32%65/b',
    '/a%2f..%2fb',
    '/a%2F%2e%2e',
    '/a%252f..%252fb',
    '/a/..%3fx',
    '/a/..%23x',
    '/%2fevil.example/',
    '/%252fevil.example/',
    '/a\0',
    '/a%00',
    '/a%2500',
    '/a\tb',
    '/a%0d%0aSet-Cookie:x',
    '/a%7f',
    '/a\x7f',
    '/a b',
    '/a?b c',
    '/a?b\n',
    '/a#b',
    '/a?b#c',
    '/%',
    '/%2',
    '/%zz',
    '/%%32e',
    '/%u002e',
    '/caf\xe9',
    '/a?caf\xe9',
    '/%c0%ae%c0%ae/a',
    '/%c0%afa',
    '/%e0%80%af',
    '/%f0%80%80%af',
  ])('refuses %j', target => {
    expect(canonicalPath(target)).toBeUndefined();
  });
});

describe('percentDecode', () => {
  it.each([
    ['/%61%2F', '/a/'],
    ['%25%36%31', '%61'],
    ['%', '%'],
    ['%2', '%2'],
    ['%zz%41', '%zzA'],
    ['%C3%A9', '\xc3\xa9'],
  ])('reads %s once', (text, decoded) => {
    expect(percentDecode(text)).toBe(decoded);
  });

  it('tells every round that changes something', () => {
    expect(percentDecodings('/a')).toEqual(['/a']);
    expect(percentDecodings('/%61')).toEqual(['/%61', '/a']);
    expect(percentDecodings('/%2561')).toEqual(['/%2561', '/%61', '/a']);
  });
});

describe('lenientReadings', () => {
  it.each([
    ['/a', ['/a']],
    ['/a/', ['/a/', '/a']],
    ['/', ['/']],
    ['/a//b', ['/a//b', '/a/b']],
    ['/a;v=1/b', ['/a;v=1/b', '/a/b']],
    ['/%61', ['/%61', '/%61', '/a', '/a']],
    ['/a%2fb', ['/a%2fb', '/a%2fb', '/a/b', '/a/b']],
  ])('reads %s', (path, readings) => {
    expect(lenientReadings(path)).toEqual(readings);
  });
});
