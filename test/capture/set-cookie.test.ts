import { expect, test } from 'vitest';
import { handouts, replaced } from '../../src/capture/read.ts';
import { setCookie } from '../../src/capture/set-cookie.ts';

const place = setCookie.build({ name: 'session' });
const ids = { accessKeyId: (stub: string) => stub, sessionToken: (stub: string) => stub };

/** What the sandbox gets of these Set-Cookie fields, and for how long the secret is good (s). */
function captured(...fields: readonly string[]): {
  value?: string;
  life?: number;
  fields: readonly string[];
} {
  const answer = { headers: fields.flatMap(field => ['set-COOKIE', field]), body: Buffer.from('any page') };
  const found = handouts([{ credential: 'web', place }], answer, 200);
  const stubs = found.map(({ handout }) => [handout, 'STUB'] as const);
  const written = replaced(answer, stubs, ids).headers.filter((_, i) => i % 2 === 1);
  const { value, lifeMs } = found[0]?.handout ?? {};
  return {
    ...(value !== undefined && { value }),
    ...(lifeMs !== undefined && { life: Math.round(lifeMs / 1000) }),
    fields: written,
  };
}

const inAnHour = new Date(Date.now() + 3_600_000).toUTCString();
const longAgo = 'Thu, 01 Jan 1970 00:00:00 GMT';

test.each<[what: string, field: string, value: string, written: string, life?: number]>([
  ['alone', 'session=abcdefgh', 'abcdefgh', 'session=STUB'],
  [
    'with attributes, which stay byte for byte',
    'session=abcdefgh; Path=/;HttpOnly;  SameSite=Lax ;Domain=.corp.test;Secure',
    'abcdefgh',
    'session=STUB; Path=/;HttpOnly;  SameSite=Lax ;Domain=.corp.test;Secure',
  ],
  ['in quotes', 'session="abcdefgh"; Path=/', 'abcdefgh', 'session="STUB"; Path=/'],
  ['with spaces around', ' session\t= abcdefgh\t; Path=/', 'abcdefgh', ' session\t= STUB\t; Path=/'],
  ['with equals signs', 'session=YWJjZGVmZw==', 'YWJjZGVmZw==', 'session=STUB'],
  ['percent-encoded', 'session=s%3Aabc.defg', 's%3Aabc.defg', 'session=STUB'],
  ['its name in its value', 'session=session=abcd', 'session=abcd', 'session=STUB'],
  ['that ends by age', 'session=abcdefgh; Max-Age=60', 'abcdefgh', 'session=STUB; Max-Age=60', 60],
  [
    'that ends by time',
    `session=abcdefgh; expires=${inAnHour}`,
    'abcdefgh',
    `session=STUB; expires=${inAnHour}`,
    3600,
  ],
  [
    'that ends by age, whatever the time says',
    `session=abcdefgh; Expires=${longAgo}; MAX-AGE=5`,
    'abcdefgh',
    `session=STUB; Expires=${longAgo}; MAX-AGE=5`,
    5,
  ],
  ['with an age that is none', 'session=abcdefgh; Max-Age=soon', 'abcdefgh', 'session=STUB; Max-Age=soon'],
  [
    'that is over, and still a secret',
    'session=abcdefgh; Max-Age=0',
    'abcdefgh',
    'session=STUB; Max-Age=0',
    0,
  ],
])('takes a cookie %s', (_, field, value, written, life) => {
  const got = captured(field);
  expect(got).toMatchObject({ value, fields: [written] });
  expect(Math.abs((got.life ?? -1) - (life ?? -1))).toBeLessThanOrEqual(1);
});

test.each([
  ['another cookie', 'Session=abcdefgh'],
  ['one whose name begins like it', 'session2=abcdefgh'],
  ['an attribute of that name', 'other=abcdefgh; session=abcdefgh'],
  ['an empty one', 'session=; Max-Age=0'],
  ['one that ends it', `session=deleted; expires=${longAgo}`],
  ['one that ends it by a negative age', 'session=x; Max-Age=-1'],
  ['no pair', 'session'],
  ['nothing', ''],
  ['commas in a time and in another value', `other=a,b,session; Expires=${longAgo}`],
])('passes %s as it is', (_, field) => expect(captured(field)).toEqual({ fields: [field] }));

test('takes it among others, and the same value twice; what ends an older one is no other value', () => {
  const fields = [
    'a=b',
    `session=deleted; Path=/old; expires=${longAgo}`,
    'session=abcdefgh; Path=/; Max-Age=60',
    'session=abcdefgh; Path=/app; Max-Age=90',
  ];
  expect(captured(...fields)).toEqual({
    value: 'abcdefgh',
    life: 90,
    fields: [
      ...fields.slice(0, 2),
      'session=STUB; Path=/; Max-Age=60',
      'session=STUB; Path=/app; Max-Age=90',
    ],
  });
  expect(captured(...fields.slice(2), 'session=abcdefgh').life).toBeUndefined();
});

test.each<[what: string, ...fields: string[]]>([
  ['two values', 'session=abcdefgh', 'session=abcdefgi; Path=/app'],
  ['a value too short to be found', 'session=abc'],
  ['a space', 'session=abcd efgh'],
  ['a comma', 'session=abcd,efgh'],
  ['a backslash', 'session=abcd\\efgh'],
  ['an open quote', 'session="abcdefgh'],
  ['quotes inside', 'session="ab"cdefgh"'],
  ['one joined to another field by a comma', 'other=b; Path=/, session=abcdefgh; Path=/'],
  ['a second one joined to it', 'session=abcdefgh; Path=/ ,\tsession = abcdefgi'],
  ['what is not ASCII', 'session=abcdefgh\xe9'],
  ['what no client keeps', `session=${'x'.repeat(4090)}`],
])('refuses %s', (_, ...fields) => expect(() => captured(...fields)).toThrow());

test('takes the largest that clients keep', () => {
  const value = 'x'.repeat(4096 - 'session'.length);
  expect(captured(`session=${value}`)).toEqual({ value, fields: ['session=STUB'] });
});

test.each([200, 204, 302, 304, 404])('lets an answer of %i set none', status => {
  const answer = { headers: ['location', '/'], body: Buffer.alloc(0) };
  expect(handouts([{ credential: 'web', place }], answer, status)).toEqual([]);
});
