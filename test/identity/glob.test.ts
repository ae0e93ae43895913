import { describe, expect, it } from 'vitest';
import { compileClaimGlob } from '../../src/identity/glob.ts';

const TABLE: readonly (readonly [glob: string, yes: readonly string[], no: readonly string[]])[] = [
  ['acme/web', ['acme/web'], ['acme/webs', 'Acme/web', 'acme', '', 'acme/web\n']],
  ['acme/*', ['acme/web', 'acme/a.b-c'], ['acme/', 'acme/web/x', 'acme/web:x', 'acme/a,b', 'evil/acme/web']],
  ['*', ['x', 'x.y'], ['', 'a/b', 'a:b']],
  ['**', ['x', 'a/b:c,d'], ['']],
  [
    'repo:acme/*:ref:refs/heads/main',
    ['repo:acme/web:ref:refs/heads/main'],
    [
      'repo:acme/web:ref:refs/heads/main2',
      'repo:acme/web:environment:x:ref:refs/heads/main',
      'repo:acme/:ref:refs/heads/main',
    ],
  ],
  ['repo:acme/**', ['repo:acme/web:ref:refs/heads/main'], ['repo:acme/', 'repo:other/web']],
  [
    'spiffe://td/ns/*/sa/*',
    ['spiffe://td/ns/ci/sa/a'],
    ['spiffe://td/ns/ci/sa/a/b', 'spiffe://td/ns//sa/a', 'spiffe://tdx/ns/ci/sa/a'],
  ],
  ['*.corp.example', ['a.corp.example', 'a.b.corp.example'], ['corp.example', 'a.corp.example.evil']],
  ['O=Corp,CN=*', ['O=Corp,CN=ci'], ['O=Corp,CN=ci,OU=x', 'O=Corp,CN=']],
  ['a.c', ['a.c'], ['abc']],
  ['[a]+(b)?$', ['[a]+(b)?$'], ['a', 'aab']],
  ['*a*b', ['xaxb', 'aaab'], ['ab', 'xab/', 'axb']],
];

describe.each(TABLE)('%s', (glob, yes, no) => {
  const fits = compileClaimGlob(glob);
  it.each(yes)('takes %j', text => expect(fits(text)).toBe(true));
  it.each(no)('does not take %j', text => expect(fits(text)).toBe(false));
});

it('takes no longer for a glob of many stars', () => {
  const started = performance.now();
  expect(compileClaimGlob(`${'**a'.repeat(300)}b`)('a'.repeat(1024))).toBe(false);
  expect(compileClaimGlob('**')('a'.repeat(1025))).toBe(false);
  expect(performance.now() - started).toBeLessThan(2000);
});
