import { expect, test } from 'vitest';
import { form } from '../../src/capture/form.ts';
import { json } from '../../src/capture/json.ts';
import type { CapturePlace } from '../../src/types.ts';

const ofJson = json.build({ pointer: '/access_token', expires_in: '/expires_in' });
const ofForm = form.build({ field: 'access_token', expires_in: 'expires_in' });
const lifeMs = (place: CapturePlace, body: string): number | undefined =>
  place.find({ headers: [], body: Buffer.from(body) })?.lifeMs;

const inJson = (told: string): number | undefined =>
  lifeMs(ofJson, `{"access_token":"abcdefgh"${told === '' ? '' : `,"expires_in":${told}`}}`);

test.each<[string, number | undefined]>([
  ['3600', 3_600_000],
  ['"3600"', 3_600_000],
  ['0', 0],
  ['1.5', 1500],
  ['1e3', 1_000_000],
  ['null', undefined],
  ['""', undefined],
  ['', undefined],
])('JSON that says %s', (told, life) => expect(inJson(told)).toBe(life));

test.each([
  '-1',
  '"1h"',
  '"-1"',
  '" 1"',
  '1e11',
  'true',
  '[]',
  '{"expires_in":1}',
  '1,"expires_in":2',
  '1,"Expires_In":2',
])('JSON that says %s cannot be told', told => expect(() => inJson(told)).toThrow());

test.each<[string, number | undefined]>([
  ['&expires_in=28800', 28_800_000],
  ['&expires%5Fin=28800', 28_800_000],
  ['&expires_in=', undefined],
  ['', undefined],
])('a form that says %s', (told, life) => expect(lifeMs(ofForm, `access_token=abcdefgh${told}`)).toBe(life));

test.each(['&expires_in=soon', '&expires_in=1&expires_in=2', '&expires_in=1;expires_in=2', '&EXPIRES_IN=1'])(
  'a form that says %s cannot be told',
  told => expect(() => lifeMs(ofForm, `access_token=abcdefgh${told}`)).toThrow(),
);

test('without `expires_in` in the rule nothing of it is read', () => {
  expect(lifeMs(json.build({ pointer: '/a' }), '{"a":"abcdefgh","expires_in":"?"}')).toBeUndefined();
  expect(lifeMs(form.build({ field: 'a' }), 'a=abcdefgh&expires_in=?')).toBeUndefined();
});
