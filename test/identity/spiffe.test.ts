import { describe, expect, it } from 'vitest';
import { parseAltNames, parseSpiffeId } from '../../src/identity/spiffe.ts';

describe('parseSpiffeId', () => {
  it.each([
    ['spiffe://corp.example/ns/ci/sa/robot', 'corp.example', ['ns', 'ci', 'sa', 'robot']],
    ['spiffe://td/a', 'td', ['a']],
    ['spiffe://a_b-1.c/X.Y_z-9', 'a_b-1.c', ['X.Y_z-9']],
  ] as const)('reads %s', (text, trustDomain, path) => {
    expect(parseSpiffeId(text)).toEqual({ trustDomain, path });
  });

  it.each([
    '',
    'spiffe://corp',
    'spiffe://corp/',
    'spiffe:///a',
    'spiffe://corp/a/',
    'spiffe://corp//a',
    'spiffe://corp/./a',
    'spiffe://corp/a/..',
    'spiffe://Corp/a',
    'SPIFFE://corp/a',
    'spiffe://corp:443/a',
    'spiffe://user@corp/a',
    'spiffe://corp/a?b=c',
    'spiffe://corp/a#b',
    'spiffe://corp/a%2Fb',
    'spiffe://corp/ä',
    'spiffe://corp/a b',
    'spiffe://corp/a\n',
    'spiffe://corp/a\nspiffe://corp/b',
    ' spiffe://corp/a',
    'https://corp/a',
    `spiffe://corp/${'a'.repeat(2048)}`,
    `spiffe://${'a'.repeat(256)}/a`,
  ])('refuses %j', text => {
    expect(parseSpiffeId(text)).toBeUndefined();
  });
});

describe('parseAltNames', () => {
  it.each([
    ['', []],
    ['DNS:a.example', [['DNS', 'a.example']]],
    [
      'DNS:a, URI:spiffe://td/a, IP Address:127.0.0.1',
      [
        ['DNS', 'a'],
        ['URI', 'spiffe://td/a'],
        ['IP Address', '127.0.0.1'],
      ],
    ],
    // What Node puts into quotes hides a name inside another one.
    ['DNS:"a, URI:spiffe://td/a"', [['DNS', '']]],
    [
      'URI:"spiffe://td/\\"a", DNS:b',
      [
        ['URI', ''],
        ['DNS', 'b'],
      ],
    ],
  ])('reads %j', (text, names) => {
    expect(parseAltNames(text)).toEqual(names);
  });

  it.each(['DNS', 'DNS:a,URI:b', 'DNS:a, ', ', DNS:a', 'DNS:"a', 'DNS:"a"b', 'DNS:a"b', '1:a'])(
    'refuses %j',
    text => {
      expect(parseAltNames(text)).toBeUndefined();
    },
  );
});
