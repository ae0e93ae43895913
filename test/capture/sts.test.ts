import { expect, test } from 'vitest';
import { handouts } from '../../src/capture/read.ts';
import { sts } from '../../src/capture/sts.ts';
import { leavesOf } from '../../src/capture/xml.ts';

const place = sts.build({});
const headers = ['Content-Type', 'text/xml'];
const KEYS =
  '<AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId><SecretAccessKey>wJalrXUtnFEMI/K7MDENG+bPx</SecretAccessKey><SessionToken>AQoDYXdzEPT//==</SessionToken>';
const answer = (credentials: string, more = ''): string =>
  `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n <AssumeRoleResult>${more}${credentials}</AssumeRoleResult>\n <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\n</AssumeRoleResponse>\n`;
const read = (text: string, type = headers) =>
  handouts([{ credential: 'role', place }], { headers: type, body: Buffer.from(text) }, 200);

test.each([
  ['plain', answer(`<Credentials>${KEYS}<Expiration>2026-01-01T00:00:00Z</Expiration></Credentials>`)],
  [
    'with a declaration',
    `<?xml version="1.0" encoding="UTF-8"?>\n${answer(`<Credentials>\n${KEYS}</Credentials>`)}`,
  ],
  [
    'among others',
    answer(
      `<Credentials>${KEYS}</Credentials>`,
      '<AssumedRoleUser><Arn>a&amp;b</Arn></AssumedRoleUser><Empty/><Tag a="1" b=\'2\'></Tag>',
    ),
  ],
])('finds one set of keys, %s', (_, text) => {
  const [found] = read(text);
  expect(JSON.parse(found?.handout.value ?? '')).toEqual({
    AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
    SecretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPx',
    SessionToken: 'AQoDYXdzEPT//==',
  });
  for (const { start, end, text: part } of found?.handout.spots ?? [])
    expect(text.slice(start, end)).toBe(part);
});

test.each([
  [
    'no credentials at all',
    '<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>a</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>',
  ],
])('passes %s', (_, text) => expect(read(text)).toEqual([]));

test.each([
  ['two sets', answer(`<Credentials>${KEYS}</Credentials><Credentials>${KEYS}</Credentials>`)],
  ['a part twice', answer(`<Credentials>${KEYS}<SessionToken>AQoDYXdzEPT//==</SessionToken></Credentials>`)],
  ['a part that is missing', answer(`<Credentials>${KEYS.replace(/<SessionToken>.*/, '')}</Credentials>`)],
  ['a part that is empty', answer(`<Credentials>${KEYS.replace(/AQ[^<]*/, '')}</Credentials>`)],
  ['one more part', answer(`<Credentials>${KEYS}<Other>wJalrXUtnFEMI</Other></Credentials>`)],
  [
    'keys elsewhere',
    answer(
      `<Credentials>${KEYS}</Credentials>`,
      '<Copy><SecretAccessKey>wJalrXUtnFEMI</SecretAccessKey></Copy>',
    ),
  ],
  ['keys without Credentials', answer(KEYS)],
  ['another case', answer(`<credentials>${KEYS}</credentials>`)],
  ['entities', answer(`<Credentials>${KEYS.replace('K7', '&#x4b;7')}</Credentials>`)],
  ['CDATA', answer(`<Credentials>${KEYS.replace('wJalr', '<![CDATA[wJalr]]>')}</Credentials>`)],
  ['a comment', answer(`<Credentials>${KEYS.replace('wJalr', 'w<!-- -->Jalr')}</Credentials>`)],
  ['a comment around it', answer(`<!--<Credentials>${KEYS}</Credentials>-->`)],
  ['a DTD', `<!DOCTYPE a [<!ENTITY k "x">]>${answer(`<Credentials>${KEYS}</Credentials>`)}`],
  ['a prefix', answer(`<a:Credentials>${KEYS}</a:Credentials>`)],
  ['a processing instruction', answer(`<?x ${KEYS}?>`)],
  ['an attribute that holds it', answer('<X SecretAccessKey=wJalrXUtnFEMI/>')],
  ['text beside elements', answer(`wJalrXUtnFEMI<Credentials>${KEYS}</Credentials>`)],
  [
    'a text that goes on behind',
    `${answer(`<Credentials>${KEYS}</Credentials>`)}<SecretAccessKey>wJalrXUtnFEMI</SecretAccessKey>`,
  ],
  ['a second root', `${answer(`<Credentials>${KEYS}</Credentials>`)}<More>wJalrXUtnFEMI</More>`],
  ['nothing but text', 'wJalrXUtnFEMI'],
  ['tags that are not closed', answer(`<Credentials>${KEYS}`)],
  ['tags that are crossed', '<a><b></a></b>'],
  [
    'another encoding',
    `<?xml version="1.0" encoding="UTF-7"?>${answer(`<Credentials>${KEYS}</Credentials>`)}`,
  ],
  ['too many levels', `${'<a>'.repeat(99)}${'</a>'.repeat(99)}`],
])('refuses %s', (_, text) => expect(() => read(text)).toThrow());

test.each([['text/xml; charset=utf-16'], ['application/json'], ['text/plain'], ['image/svg+xml']])(
  'refuses the type %s',
  type => expect(() => read(answer(`<Credentials>${KEYS}</Credentials>`), ['content-type', type])).toThrow(),
);

test('reads a long text in time that grows with it', () => {
  const from = performance.now();
  expect(() => leavesOf(`<a ${'b="c" '.repeat(40_000)}`)).toThrow();
  expect(() => leavesOf(`<a>${' '.repeat(250_000)}<`)).toThrow();
  expect(() => leavesOf('<a b="">'.repeat(40_000))).toThrow();
  expect(() => leavesOf(`<a${' '.repeat(250_000)}b`)).toThrow();
  expect(performance.now() - from).toBeLessThan(5000);
});
