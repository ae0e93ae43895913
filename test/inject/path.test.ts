import { describe, expect, it } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { Secret } from '../../src/secret.ts';
import { keyOf, outbound, percent } from './make.ts';

const STUB = 'ghp_stub';
const SECRET = new Secret('telegram', '4711:AbC-d_e/é?#;%', '7');
const WIRE = '4711:AbC-d_e%2F%C3%A9%3F%23%3B%25';

const bot = placements.build('path', { template: '/bot{credential}/**' });
const build = (template: string) => placements.build('path', { template });

/** The target that goes out. */
function sent(template: string, target: string, stub: string | undefined = STUB): string {
  const out = outbound(target, []);
  const placed = build(template).inject(out, stub, SECRET);
  expect(placed.wire.reveal()).toBe(WIRE);
  const [line = ''] = out.render().split('\r\n');
  return line.slice(4, -9);
}

describe('a stub in the path', () => {
  it.each([
    ['/bot{credential}/**', '/botghp_stub/sendMessage', `/bot${WIRE}/sendMessage`],
    ['/bot{credential}/**', '/botghp_stub/a//b/', `/bot${WIRE}/a//b/`],
    ['/bot{credential}/**', '/botghp_stub', `/bot${WIRE}`],
    ['/bot{credential}/**', '/botghp_stub/', `/bot${WIRE}/`],
    ['/bot{credential}/**', '/botghp_stub/a?b=%20&botghp=/x', `/bot${WIRE}/a?b=%20&botghp=/x`],
    ['/bot{credential}/**', '/botghp_stub?x/y', `/bot${WIRE}?x/y`],
    ['/bot{credential}/**', `/bot${percent(STUB)}/x%20y`, `/bot${WIRE}/x%20y`],
    ['/bot{credential}/**', '/botghp%5Fstub/x', `/bot${WIRE}/x`],
    ['/{credential}', '/ghp_stub', `/${WIRE}`],
    ['/{credential}/', '/ghp_stub/', `/${WIRE}/`],
    ['/a/{credential}.json', '/a/ghp_stub.json', `/a/${WIRE}.json`],
    ['/*/hooks/{credential}/*/send', '/v1/hooks/ghp_stub/x/send', `/v1/hooks/${WIRE}/x/send`],
    ['/a%20b/{credential}', '/a%20b/ghp_stub', `/a%20b/${WIRE}`],
    ['/;v=1/(x)/{credential}', '/;v=1/(x)/ghp_stub', `/;v=1/(x)/${WIRE}`],
  ])('is swapped: %s in %s', (template, target, result) => {
    expect(build(template).find(outbound(target, []))).toEqual([STUB]);
    expect(sent(template, target)).toBe(result);
  });

  it('is swapped beside one in the query', () => {
    const out = outbound('/botghp_stub/x?key=other', []);
    placements.build('query', { name: 'key' }).inject(out, 'other', new Secret('key', 'second-secret'));
    bot.inject(out, STUB, SECRET);
    expect(out.render()).toBe(`GET /bot${WIRE}/x?key=second-secret HTTP/1.1\r\n`);
  });
});

describe('what stands at the place', () => {
  it.each([
    ['/bot{credential}/**', '/bot123:abc/x', ['123:abc']],
    ['/bot{credential}/**', '/bot%2e%2F/x', ['./']],
    ['/bot{credential}/**', `/bot${percent('x', 2)}/x`, [percent('x')]],
    ['/bot{credential}/**', '/bot/x', []],
    ['/{credential}.json', '/.json', []],
    ['/{credential}', '/', []],
    // The place is elsewhere, or there is none.
    ['/bot{credential}/**', '/bo', undefined],
    ['/bot{credential}/**', '/x/botghp_stub/y', undefined],
    ['/bot{credential}/**', '/Botghp_stub/y', undefined],
    ['/bot{credential}/**', '/?/botghp_stub/y', undefined],
    ['/bot{credential}', '/botghp_stub/y', undefined],
    ['/bot{credential}', '/botghp_stub/', undefined],
    ['/{credential}.json', '/ghp_stub', undefined],
    ['/ab{credential}ba', '/aba', undefined],
    ['/*/{credential}', '//ghp_stub', undefined],
    ['/{credential}/*/**', '/ghp_stub', undefined],
    ['/{credential}', '*', undefined],
    // What servers may take for the place, but the gate does not.
    ['/bot{credential}/**', '/%62otghp_stub/x', [' /%62otghp_stub/x']],
    ['/bot{credential}/**', '/bo%74foreign/x', [' /bo%74foreign/x']],
    ['/a/{credential}', '/a%2Fghp_stub', [' /a%2Fghp_stub']],
  ])('of %s in %s', (template, target, texts) => {
    expect(build(template).find(outbound(target, []))).toEqual(texts);
  });
});

it('shows the audit a path with the place blanked', () => {
  const key = keyOf('this gate');
  const stub = key.mint(parseShape('github-pat'));
  expect(bot.redact?.(`/bot${stub}/sendMessage`, key)).toBe('/bot[stub]/sendMessage');
  expect(bot.redact?.(`/bot${percent(stub)}/x`, key)).toBe('/bot[stub]/x');
  expect(bot.redact?.('/bot123:foreign/sendMessage', key)).toBe('/bot[withheld]/sendMessage');
  expect(bot.redact?.('/bot/sendMessage', key)).toBe('/bot/sendMessage');
  expect(bot.redact?.('/other', key)).toBe('/other');
});

it('has one slot for one place, whatever follows it', () => {
  expect(bot.slot).toBe('path /bot{credential}');
  expect(build('/bot{credential}/getMe').slot).toBe(bot.slot);
  expect(build('/file/bot{credential}/**').slot).not.toBe(bot.slot);
});

it('cannot be set where the path has no such place', () => {
  expect(() => bot.inject(outbound('/other', []), undefined, SECRET)).toThrow(
    expect.objectContaining({ code: 'stub_missing' }),
  );
});

it('refuses a credential that is not Unicode text', () => {
  expect(() => bot.inject(outbound('/botx', []), undefined, new Secret('x', 'sesame\ud800'))).toThrow(
    expect.objectContaining({ code: 'credential_unavailable' }),
  );
});

it.each([
  '/bot/**',
  'bot{credential}',
  '{credential}',
  '/{credential}{credential}',
  '/{credential}/{credential}',
  '/**/{credential}',
  '/{credential}/**/x',
  '/*{credential}',
  '/{credential}*',
  '/a*/{credential}',
  '/{credential}?x',
  '/{credential}#x',
  '//{credential}',
  '/a\\{credential}',
  '/a {credential}',
  '/é/{credential}',
  '/./{credential}',
  '/{credential}/..',
  '/%zz/{credential}',
  '/{stub}',
  '/{credential}\r\n',
  `/${'a'.repeat(600)}{credential}`,
])('refuses the template %j', template => {
  expect(() => build(template)).toThrow();
});
