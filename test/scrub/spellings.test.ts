import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Patterns } from '../../src/scrub/index.ts';
import { Secret } from '../../src/secret.ts';
import { bytewise, patternsOf, STUB, streamed, whole } from './stages.ts';
import { base64, html, json, percentAll, unicodeAll, WRITERS } from './writers.ts';

const SECRETS: Readonly<Record<string, string>> = {
  'a token': 'ghp_16C7e42F292c6912E7710c838347Ae178B4a',
  'a token that starts like the rest of an escape': 'npm_0afD9b2Kq7/x+Yz==',
  'a password with every kind of special character': `p%41&q"\\u0042<'/+= ;z%`,
  'a password in UTF-8': 'pässwört-€-😀-geheim',
  'eight bytes': 'k3y!7Qz_',
};

describe.each(Object.entries(SECRETS))('%s', (_, secret) => {
  const patterns = patternsOf(secret);

  test.each(Object.entries(WRITERS))('is removed from %s, cut at every offset', (_, write) => {
    const body = Buffer.concat([Buffer.from('{"a": "<'), write(secret), Buffer.from('>"}\n')]);
    const expected = whole(patterns, body);
    expect(expected.hits).toBe(1);
    expect(patterns.find(Buffer.from(expected.text, 'latin1'))).toBeUndefined();
    expect(streamed(patterns, bytewise(body))).toEqual(expected);
    for (let cut = 0; cut <= body.length; cut++) {
      expect(streamed(patterns, [body.subarray(0, cut), body.subarray(cut)]), `cut at ${cut}`).toEqual(
        expected,
      );
    }
  });
});

const TOKEN = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a';

test.each([
  ['raw', TOKEN, STUB],
  ['JSON', unicodeAll(TOKEN), STUB],
  ['percent', percentAll(TOKEN), STUB],
  ['hex', Buffer.from(TOKEN).toString('hex'), Buffer.from(STUB).toString('hex')],
  [
    'hex, upper case',
    Buffer.from(TOKEN).toString('hex').toUpperCase(),
    Buffer.from(STUB).toString('hex').toUpperCase(),
  ],
  [
    'UTF-16LE',
    Buffer.from(TOKEN, 'utf16le').toString('latin1'),
    Buffer.from(STUB, 'utf16le').toString('latin1'),
  ],
  [
    'UTF-16BE',
    Buffer.from(TOKEN, 'utf16le').swap16().toString('latin1'),
    Buffer.from(STUB, 'utf16le').swap16().toString('latin1'),
  ],
])('puts the stub in its place, in %s', (_, written, stub) => {
  const { text } = whole(patternsOf(TOKEN), Buffer.from(`x=${written};`, 'latin1'));
  expect(text).toBe(`x=${stub};`);
});

test.each(['', 'u', 'us', 'use', 'user:'])(
  'keeps what stands around it in base64 readable, after %j',
  before => {
    for (const after of ['', '!', '!!', '!!!', ':x']) {
      const { text } = whole(patternsOf(TOKEN), Buffer.from(`"${base64(before + TOKEN + after)}"`));
      const decoded = Buffer.from(text.slice(1, -1), 'base64').toString();
      expect(decoded).toMatch(new RegExp(`^${before}${STUB}_{0,2}${after}$`));
    }
  },
);

test('keeps base64url base64url', () => {
  const secret = '~~~???>>>~~~???';
  const { text } = whole(patternsOf(secret), Buffer.from(Buffer.from(secret).toString('base64url')));
  expect(Buffer.from(text, 'base64url').toString()).toMatch(/^ghp_stub/);
  expect(text).not.toMatch(/[+/]/);
});

test('leaves no bit of a secret in the base64 characters that it shares with its neighbours', () => {
  const shared = ['AAAAAAAA', 'zzzzzzzz'].map(secret => {
    const body = Buffer.from(base64(`u${secret}w`));
    return whole(patternsOf(secret), body).text;
  });
  expect(shared[0]).toBe(shared[1]);
});

test('takes the longest of secrets that start at the same place', () => {
  const patterns = patternsOf('secret-one', 'secret-one-and-more');
  expect(patterns.find(Buffer.from('..secret-one-and-more'))).toEqual({ name: 's1', at: 2, length: 19 });
  for (const pieces of [
    ['secret-one', '-and-more'],
    ['secret-one-an', 'd-m', 'ore'],
  ]) {
    const chunks = pieces.map(piece => Buffer.from(piece));
    expect(streamed(patterns, chunks)).toEqual({ text: STUB, hits: 1 });
  }
});

test('removes every byte of secrets that overlap', () => {
  const patterns = patternsOf('aaaaBBBB', 'BBBBcccc');
  const body = Buffer.from('<aaaaBBBBcccc>');
  expect(whole(patterns, body)).toEqual({ text: `<${STUB}>`, hits: 1 });
  expect(streamed(patterns, bytewise(body))).toEqual({ text: `<${STUB}>`, hits: 1 });
});

test('finds a secret after a stray that could be read as an escape together with its start', () => {
  const secret = 'n0af9b2Kq7/xYz_1';
  for (const stray of ['\\', '%', '%2', '\\x', '\\u00', '&', '&#']) {
    const body = Buffer.from(`${stray}${html(secret)}`);
    expect(whole(patternsOf(secret), body), stray).toEqual({ text: `${stray}${STUB}`, hits: 1 });
  }
});

test('counts each occurrence, and says so by the name of its secret', () => {
  const patterns = new Patterns([new Secret('one', 'secret-one'), new Secret('two', 'secret-two')]);
  expect(patterns.find(Buffer.from(`a=${base64('secret-two')}`))?.name).toBe('two');
  expect(whole(patterns, Buffer.from('secret-one secret-two secret-one')).hits).toBe(3);
});

describe('a secret of several lines', () => {
  const lines = Array.from({ length: 4 }, () => randomBytes(48).toString('base64'));
  const key = ['-----BEGIN PRIVATE KEY-----', ...lines, '-----END PRIVATE KEY-----', ''].join('\n');
  const patterns = patternsOf(key);

  test.each([
    ['as it is', key],
    ['with CR LF', key.replaceAll('\n', '\r\n')],
    ['in JSON', json(key)],
    ['without its last line break', key.trim()],
    ['in a form', new URLSearchParams({ key }).toString()],
  ])('is removed as one, %s', (_, body) => {
    expect(whole(patterns, Buffer.from(body)).hits).toBe(1);
    expect(streamed(patterns, bytewise(Buffer.from(body))).hits).toBe(1);
  });

  test('is removed line by line', () => {
    for (const line of lines) expect(whole(patterns, Buffer.from(`> ${line}\n`)).text).toBe(`> ${STUB}\n`);
  });

  test('does not make its frame a secret', () => {
    expect(
      patterns.find(Buffer.from('-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----')),
    ).toBeUndefined();
  });

  test('does not make the field names of a JSON key file secrets', () => {
    const file = JSON.stringify(
      { type: 'service_account', private_key: key, token_uri: 'https://oauth2.example.com/token' },
      null,
      2,
    );
    const found = patternsOf(file);
    expect(
      found.find(
        Buffer.from('  "type": "service_account",\n  "token_uri": "https://oauth2.example.com/token"'),
      ),
    ).toBeUndefined();
    expect(found.find(Buffer.from(`${lines[1]}`))?.name).toBe('s0');
  });
});

test('refuses a secret that is too short, without showing it', () => {
  expect(() => patternsOf('s3cr3t!')).toThrow(/^\[secret s0\] is shorter than 8 bytes/);
  expect(() => patternsOf('   s3cr3t \n')).toThrow(/shorter/);
});

test('finds nothing when there is nothing to find', () => {
  const patterns = patternsOf();
  expect(patterns.empty).toBe(true);
  expect(patterns.find(Buffer.from('anything'))).toBeUndefined();
});
