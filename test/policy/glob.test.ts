import { performance } from 'node:perf_hooks';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGlob, globFault } from '../../src/policy/glob.ts';

describe('compileGlob', () => {
  it.each([
    ['/', ['/'], ['/a', '//']],
    ['/a', ['/a'], ['/', '/a/', '/ab', '/A', '/%61', '/a/b', '/a;b']],
    ['/a/', ['/a/'], ['/a', '/a/b']],
    ['/**', ['/', '/a', '/a/', '/a/b/c', '/a//b'], []],
    ['/a/**', ['/a', '/a/', '/a/b', '/a/b/c'], ['/ab', '/', '/b/a']],
    ['/*', ['/a', '/a%2Fb'], ['/', '/a/', '/a/b']],
    ['/a/*', ['/a/b'], ['/a', '/a/', '/a/b/', '/a/b/c']],
    ['/a/*/c', ['/a/b/c'], ['/a/c', '/a//c', '/a/b/b/c']],
    ['/a/**/c', ['/a/c', '/a/b/c', '/a/b/b/c', '/a//c', '/a/c/c'], ['/a/cc', '/a', '/a/c/b', '/a/bc']],
    ['/**/c', ['/c', '/a/c', '/a/b/c'], ['/', '/c/d', '/ac']],
    [
      '/acme/*.git/**',
      ['/acme/x.git/info/refs', '/acme/.git', '/acme/x.git'],
      ['/acme/x', '/acme/a/x.git/y', '/acme/xgit/y'],
    ],
    ['/v*/a*b*c', ['/v1/abc', '/v/aXbYc', '/v2/abcbc'], ['/v1/ab', '/v1/acb', '/v1/abcd', '/v1/aXb/Yc']],
    ['/a*b*bc', ['/abbc', '/aXbXbc'], ['/abc', '/abcbX']],
    ['/*a', ['/a', '/ba', '/aa'], ['/ab', '/b/a']],
    ['/aXa*aXa', ['/aXaaXa', '/aXa-aXa'], ['/aXa', '/aXaXa']],
    ['/a%2Fb', ['/a%2Fb'], ['/a/b', '/a%2fb']],
    ['/**/a/**/b/**', ['/a/b', '/x/a/y/b/z', '/a/a/b/b'], ['/b/a', '/a', '/a/x']],
    ['/a(b).+$', ['/a(b).+$'], ['/ab', '/a(b)xx$']],
  ])('%s', (glob, inside, outside) => {
    const matches = compileGlob(glob);
    expect(inside.filter(path => !matches(path))).toEqual([]);
    expect(outside.filter(path => matches(path))).toEqual([]);
  });

  it('agrees with a plain backtracking matcher', () => {
    const glob = fc.array(fc.constantFrom('**', '*', 'a', 'b', '*a', 'a*', 'a*b', '*a*'), { maxLength: 6 });
    const path = fc.array(fc.constantFrom('a', 'b', 'ab', 'ba', 'aab', ''), { maxLength: 6 });
    fc.assert(
      fc.property(glob, path, (globParts, pathParts) => {
        const [pattern, text] = [`/${globParts.join('/')}`, `/${pathParts.join('/')}`];
        expect(compileGlob(pattern)(text)).toBe(reference(pattern.split('/'), text.split('/')));
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ['/**/a/**/a/**/a/**/a/**/a/**/b', `/${'a/'.repeat(8000)}`],
    ['/*a*a*a*a*a*a*a*a*b', `/${'a'.repeat(16_000)}`],
    ['/**/*a*a*a*b/**/c', `/${'aaaaaaaa/'.repeat(2000)}`],
  ])('decides %s on a long path without delay', (glob, path) => {
    const matches = compileGlob(glob);
    const started = performance.now();
    expect(matches(path)).toBe(false);
    expect(performance.now() - started).toBeLessThan(250);
  });
});

describe('globFault', () => {
  it.each([
    ['/', undefined],
    ['/a/*.git/**', undefined],
    ['/a%20b', undefined],
    ['a', /must start with/],
    ['**', /must start with/],
    ['', /must start with/],
    ['/a?b', /without query/],
    ['/a#b', /without query/],
    ['/{a,b}', /one glob for each/],
    ['/[ab]', /one glob for each/],
    ['/a**', /inside a segment/],
    ['/***', /inside a segment/],
    ['/a/../b', /can never match/],
    ['/a\\b', /can never match/],
    ['//a', /can never match/],
    ['/%zz', /can never match/],
    ['/é', /can never match/],
    ['/a b', /can never match/],
  ])('%s', (glob, fault) => {
    if (fault) expect(globFault(glob)).toMatch(fault);
    else expect(globFault(glob)).toBeUndefined();
  });
});

/** The definition, without care for time. */
function reference(glob: readonly string[], path: readonly string[]): boolean {
  const [head, ...rest] = glob;
  if (head === undefined) return path.length === 0;
  if (head === '**') return path.some((_, i) => reference(rest, path.slice(i))) || reference(rest, []);
  const [first, ...below] = path;
  return first !== undefined && segment(head, first) && reference(rest, below);
}

function segment(glob: string, text: string): boolean {
  return glob === '*' ? text !== '' : new RegExp(`^${glob.replaceAll('*', '.*')}$`).test(text);
}
