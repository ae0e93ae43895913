import { describe, expect, it } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { Secret } from '../../src/secret.ts';
import { outbound, percent } from './make.ts';

const STUB = 'ghp_stub';
const SECRET = new Secret('web', "s3cret!#$%&'()*+-./:<=>?@[]^_`{|}~", '7');
const WIRE = SECRET.reveal();
const cookie = placements.build('cookie', { name: 'sid' });

/** The Cookie fields that go out. */
function sent(fields: readonly string[], stub: string | undefined = STUB): string[] {
  const out = outbound(
    '/',
    fields.flatMap(field => ['cookie', field]),
  );
  const placed = cookie.inject(out, stub, SECRET);
  expect(placed).toEqual({ at: 'cookie sid', wire: SECRET });
  return out
    .render()
    .split('\r\n')
    .slice(1, -1)
    .map(line => line.replace(/^cookie: /i, ''));
}

const found = (fields: readonly string[]) =>
  cookie.find(
    outbound(
      '/',
      fields.flatMap(field => ['Cookie', field]),
    ),
  );

describe('a stub in its cookie', () => {
  it.each([
    [['sid=ghp_stub'], [`sid=${WIRE}`]],
    [['a=b; sid=ghp_stub; c=d'], [`a=b; sid=${WIRE}; c=d`]],
    [['a=b;sid=ghp_stub;c=d'], [`a=b;sid=${WIRE};c=d`]],
    [['a=b ;  sid = ghp_stub  ;c=d; '], [`a=b ;  sid = ${WIRE}  ;c=d; `]],
    [['sid="ghp_stub"'], [`sid="${WIRE}"`]],
    [['a="b"; sid= "ghp_stub" ; c'], [`a="b"; sid= "${WIRE}" ; c`]],
    [
      ['a=b', 'c=d; sid=ghp_stub', 'SID=x; xsid=y; sid2=z'],
      ['a=b', `c=d; sid=${WIRE}`, 'SID=x; xsid=y; sid2=z'],
    ],
    [['=x; sid=ghp_stub; ;; e={"a":1},b'], [`=x; sid=${WIRE}; ;; e={"a":1},b`]],
  ])('is swapped in %j, and nothing else', (fields, result) => {
    expect(found(fields)).toEqual([STUB]);
    expect(sent(fields)).toEqual(result);
  });

  it('is swapped beside another credential in another cookie', () => {
    const out = outbound('/', ['Cookie', 'tok=other; sid=ghp_stub']);
    placements.build('cookie', { name: 'tok' }).inject(out, 'other', new Secret('tok', 'second-secret'));
    cookie.inject(out, STUB, SECRET);
    expect(out.render()).toBe(`GET / HTTP/1.1\r\nCookie: tok=second-secret; sid=${WIRE}\r\n`);
  });
});

describe('what stands at the place', () => {
  it.each([
    [[], []],
    [['a=b'], []],
    [['Sid=ghp_stub'], []],
    [['sid'], []],
    [['a=sid=ghp_stub'], []],
    [['sid='], ['']],
    [['sid=foreign'], ['foreign']],
    [['sid=a=b'], ['a=b']],
    [[`sid=${percent(STUB)}`], [percent(STUB)]],
    // Servers disagree on which one counts, or on where it ends.
    [['sid=ghp_stub; sid=ghp_stub'], [' ghp_stub', ' ghp_stub']],
    [['sid=ghp_stub; sid=foreign'], [' ghp_stub', ' foreign']],
    [
      ['sid=ghp_stub', 'sid="x"'],
      [' ghp_stub', ' x'],
    ],
    [['sid="ghp_stub'], [' "ghp_stub']],
    [['sid="'], [' "']],
    [['a="b; sid=ghp_stub; c="'], [' ghp_stub']],
    [['a="b\\"; sid=ghp_stub'], [' ghp_stub']],
    [['a="b"c"; sid=ghp_stub'], [' ghp_stub']],
    [['a="b; c=d'], []],
    [['sid=ghp_stub; a=\xe9'], [' ghp_stub']],
    [['sid=ghp_stub\t'], [' ghp_stub']],
  ])('of %j', (fields, texts) => {
    expect(found(fields)).toEqual(texts);
  });
});

describe('a cookie that is set without a stub', () => {
  it.each([
    [[], [`sid=${WIRE}`]],
    [[''], [`sid=${WIRE}`]],
    [['a=b'], [`a=b; sid=${WIRE}`]],
    [
      ['a=b', 'c=d'],
      ['a=b', `c=d; sid=${WIRE}`],
    ],
    [['sid=x; a=b; sid=y'], [`sid=${WIRE}; a=b`]],
    [
      ['sid=x', 'a=b; sid=y'],
      [`sid=${WIRE}`, 'a=b'],
    ],
    [['sid="x; a=b'], [`sid=${WIRE}; a=b`]],
  ])('in %j', (fields, result) => {
    expect(sent(fields, undefined)).toEqual(result);
  });
});

it.each([
  'a b c d e',
  'semi;colon',
  'com,ma-ma',
  'quo"te-te',
  'back\\slash',
  'tab\there',
  'é-accent',
  'line\nline',
])('refuses the credential %j, which no cookie can hold', value => {
  expect(() => cookie.inject(outbound('/', []), undefined, new Secret('web', value))).toThrow(
    expect.objectContaining({ code: 'credential_unavailable' }),
  );
});

it.each(['', 'a b', 'a=b', 'a;b', '"a"', 'é'])('refuses the name %j', name => {
  expect(() => placements.build('cookie', { name })).toThrow('name of a cookie');
});
