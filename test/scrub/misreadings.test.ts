import { describe, expect, test } from 'vitest';
import { patternsOf, STUB, streamed, whole } from './stages.ts';
import { base64, html, json, percentAll, unicodeAll, WRITERS } from './writers.ts';

/** What a decoder takes for the start of an escape, or decodes to it, that goes on in what follows. */
const STRAYS = [
  String.raw`% %2 %u %u00 \ \x \x4 \u \u00 \ud83d \ud83d\u \u{ & &# &#0 &#x &#x0 %25 %252 %5C %u005C \\ \u005c`,
  String.raw`\u005c\ \u005cu00 %26# &#37; &#92; &#92;u &amp; &amp;# \u0026# \x5cx &bsol;`,
].flatMap(line => line.split(' '));
/** What may be the rest of an escape that starts in what stands before it. */
const RESTS = ['', '4', '41', 'n', ';', '0;', 'u0041', '\\', '\\n', '%41', '&lt;', '}', 'ude00'];

const SECRETS: Readonly<Record<string, string>> = {
  'that starts like the rest of an escape': '41bcde;f0-x_Yz9',
  'that starts like a short escape': 'nUx0K_9-3f2a',
  'that starts like a number of Unicode': 'u005c1_9-3f2a',
  'that looks like escapes': 'p%41&lt;\\u0042\\/q"r%',
  'that starts like an escape, and ends like the start of one': '\\\\a_1c€9-3f\\u00',
};

const inPieces = (body: Buffer, length: number): Buffer[] =>
  Array.from({ length: Math.ceil(body.length / length) }, (_, n) =>
    body.subarray(n * length, (n + 1) * length),
  );

describe.each(Object.entries(SECRETS))('a secret %s', (_, secret) => {
  const patterns = patternsOf(secret);

  test.each(Object.entries(WRITERS))('is found in %s, whatever stands beside it', (_, write) => {
    const written = write(secret);
    STRAYS.forEach((before, n) => {
      const after = RESTS[n % RESTS.length] as string;
      const body = Buffer.concat([Buffer.from(` ${before}`), written, Buffer.from(`${after} `)]);
      const expected = whole(patterns, body);
      expect(expected.hits, `${before} ${after}`).toBe(1);
      expect(patterns.find(Buffer.from(expected.text, 'latin1')), `${before} ${after}`).toBeUndefined();
      expect(streamed(patterns, inPieces(body, 3)), `${before} ${after}`).toEqual(expected);
    });
  });
});

const TOKEN = '5Cc6a2Ee1005';
const twice = (text: string): string => json(unicodeAll(text));

test.each([
  ['a code unit before an escaped escape', '7Cc6a2Ee1005', '%u005C\\\\u0037Cc6&#097;2Ee1005', '%u005C', ''],
  ['a code unit that ends with its start', TOKEN, '%u005C\\\\u00636&#097;2Ee100\\u0035%2\n', '%u00', '%2\n'],
  ['the start of a code unit, twice escaped', 'abcd-efgh', `%u00${twice('abcd-efgh')}`, '%u00', ''],
  ['an escaped backslash, twice escaped', 'abcd-efgh', `\\u005c${twice('abcd-efgh')}`, '\\u005c', ''],
  ['a backslash that makes an escape an escaped one', 'abcd-efgh', `\\${unicodeAll('abcd-efgh')}`, '', ''],
  ['the start of a byte, in base64', 'abcd??>>', `%2${percentAll(base64('abcd??>>x'))}%2`, '%2', '%2'],
  ['the start of two escapes, one in the other', '2541abcd', '%2541%61bcd', '%', ''],
  ['the rest of an escape in an escape', 'abc/<%4%', `${json(json('abc/<%4%'))}41`, '', '41'],
  ['escapes of which one is decoded', '<\\//4#\\\\=', html(html('<\\//4#\\\\=')), '', ''],
  ['many escapes', '\\n'.repeat(8), json(json('\\n'.repeat(8))), '', ''],
])('%s: what is left is what stands beside the secret', (_, secret, body, before, after) => {
  const patterns = patternsOf(secret);
  const { text } = whole(patterns, Buffer.from(body));
  expect(text.startsWith(before)).toBe(true);
  expect(text.endsWith(after)).toBe(true);
  const stub = text.slice(before.length, text.length - after.length);
  expect(stub === STUB || Buffer.from(stub, 'base64').toString('latin1').startsWith(STUB.slice(0, 12))).toBe(
    true,
  );
  for (let cut = 0; cut <= body.length; cut++) {
    const pieces = [Buffer.from(body.slice(0, cut)), Buffer.from(body.slice(cut))];
    expect(streamed(patterns, pieces).text, `cut at ${cut}`).toBe(text);
  }
});

test('what only looks like a secret when a part of it is decoded is none', () => {
  const patterns = patternsOf('ab%41cdefgh');
  for (const body of ['abAcdefgh', 'abA\\u0063defgh', 'ab%25%34%31cdefg'])
    expect(patterns.find(Buffer.from(body)), body).toBeUndefined();
});

/** Each ends with what may be the base64 character that a secret shares with the byte before it. */
describe.each(['\\r', '\\n', '\\f', '\\u000b', '\\u000D', '%0f', '\\x0b'])('base64 behind %s', before => {
  const secret = 'é<0=;€##1b+"a#""é<€/😀u\\=#=bbé';
  const shared = base64(`uu${secret}`).slice(3).replace(/=+$/, '');

  test.each([
    ['as it is', shared],
    ['with an escaped slash', shared.replace('/', '\\/')],
    ['with each slash in percent', shared.replaceAll('/', '%2F')],
    ['with a character escaped at its end', `${shared.slice(0, -1)}${unicodeAll(shared.slice(-1))}`],
  ])('%s reads in the same way however the body is cut (fuzz: FUZZ_SEED=1414753851)', (_, written) => {
    const patterns = patternsOf(secret);
    const body = Buffer.from(`{"a":"${before}${written}"}`);
    const expected = whole(patterns, body);
    expect(expected.hits).toBe(1);
    expect(streamed(patterns, inPieces(body, 1))).toEqual(expected);
    for (let cut = 0; cut <= body.length; cut++) {
      const pieces = [body.subarray(0, cut), body.subarray(cut)];
      expect(streamed(patterns, pieces), `cut at ${cut}`).toEqual(expected);
    }
  });
});
