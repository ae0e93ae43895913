import { describe, expect, test } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { plan } from '../../src/inject/swap.ts';
import { applyMessage, messageInjections, planMessage } from '../../src/inject/websocket.ts';
import { Secret } from '../../src/secret.ts';
import type { Injection } from '../../src/types.ts';
import { base64, injection, keyOf, outbound, percent, ruleOf, sessionOf } from './make.ts';

const key = keyOf('this gate');
const shape = parseShape('generic');
const mine = key.mint(shape);
const second = key.mint(shape);
const strange = key.mint(shape);
const session = sessionOf({ github: mine, gitlab: second });
const SECRET = 'the "github"\\secret';
const SECRETS: Record<string, Secret> = {
  github: new Secret('github', SECRET),
  gitlab: new Secret('gitlab', 'the-gitlab-secret'),
};

const token = placements.build('websocket', { pointer: '/auth/token' });
const first = placements.build('websocket', { pointer: '/0' });
const bearer = placements.build('bearer', {});
const escaped = mine
  .split('')
  .map(char => `\\u00${char.charCodeAt(0).toString(16)}`)
  .join('');

function send(text: string, injections: readonly Injection[] = [injection(token)]): string {
  const planned = planMessage(Buffer.from(text), messageInjections(ruleOf(injections)), session, key);
  return applyMessage(planned, name => SECRETS[name] as Secret).toString();
}

test('only injections into messages are such', () => {
  const rule = ruleOf([injection(bearer), injection(token)]);
  expect(messageInjections(rule).map(({ placement }) => placement.slot)).toEqual(['websocket /auth/token']);
});

test('the head of the handshake has no place for it', () => {
  const out = outbound('/', ['Authorization', `Bearer ${mine}`]);
  expect(plan(out, ruleOf([injection(token)]), session, key)).toEqual({ steps: [], swapped: 0 });
});

describe('the session’s stub at the pointer is swapped, the rest stays byte for byte', () => {
  const secret = JSON.stringify(SECRET);
  test.each([
    [`{"auth":{"token":"${mine}"}}`, `{"auth":{"token":${secret}}}`],
    [
      ` { "n" : 1.0e5, "auth":{"token":\t"${mine}" } , "é":"\\u00e9" }\n`,
      ` { "n" : 1.0e5, "auth":{"token":\t${secret} } , "é":"\\u00e9" }\n`,
    ],
    [
      `{"n":12345678901234567890,"auth":{"x":[],"token":"${mine}"}}`,
      `{"n":12345678901234567890,"auth":{"x":[],"token":${secret}}}`,
    ],
  ])('%s', (text, sent) => {
    expect(send(text)).toBe(sent);
  });

  test('each at its own pointer', () => {
    const both = [injection(token, { credential: 'gitlab' }), injection(first)];
    expect(send(`["${mine}"]`, both)).toBe(`[${secret}]`);
    expect(send(`{"auth":{"token":"${second}"}}`, both)).toBe('{"auth":{"token":"the-gitlab-secret"}}');
  });

  test('of whichever credential it is, where two share the pointer', () => {
    const shared = [injection(token), injection(token, { credential: 'gitlab' })];
    expect(send(`{"auth":{"token":"${second}"}}`, shared)).toBe('{"auth":{"token":"the-gitlab-secret"}}');
    expect(send(`{"auth":{"token":"${mine}"}}`, shared)).toBe(`{"auth":{"token":${secret}}}`);
  });
});

describe('a message without a stub passes as it is', () => {
  test.each([
    '',
    'hello',
    '{"auth":{}}',
    '{"auth":{"token":null}}',
    '[1,2]',
    '{"auth":',
    '\ufeff{}',
    '\u20ac',
  ])('%j', text => {
    expect(send(text)).toBe(text);
  });

  test('also with another value at the pointer, where that may pass', () => {
    const passing = [injection(token, { foreign: 'pass' })];
    expect(send('{"auth":{"token":"theirs"}}', passing)).toBe('{"auth":{"token":"theirs"}}');
  });
});

describe('a stub elsewhere is refused', () => {
  test.each([
    ['beside the pointer', `{"auth":{"other":"${mine}"}}`],
    ['as a name', `{"auth":{"${mine}":1}}`],
    ['in a longer string', `{"auth":{"token":"Bearer ${mine}"}}`],
    ['in text that is not JSON', `token ${mine}`],
    ['in JSON that is cut', `{"auth":{"token":"${mine}"}`],
    ['behind JSON', `{"auth":{"token":"${mine}"}} x`],
    ['a second time', `{"auth":{"token":"${mine}"},"again":"${mine}"}`],
    ['a second time, in base64', `{"auth":{"token":"${mine}"},"again":"${base64(mine)}"}`],
    ['another one beside ours', `{"auth":{"token":"${mine}"},"x":"${strange}"}`],
    ['another session’s at the pointer', `{"auth":{"token":"${strange}"}}`],
    ['another credential’s at the pointer', `{"auth":{"token":"${second}"}}`],
    ['in another spelling', `{"auth":{"token":"${percent(mine)}"}}`],
    ['in base64', `{"auth":{"token":"${base64(mine)}"}}`],
    ['in escapes', `{"auth":{"token":"${escaped}"}}`],
    ['in an object at the pointer', `{"auth":{"token":{"a":"${mine}"}}}`],
  ])('%s', (_, text) => {
    expect(() => send(text)).toThrow(expect.objectContaining({ code: 'stub_misplaced' }));
  });
});

describe('another value at the pointer is refused', () => {
  test.each(['"theirs"', '""', '1', 'true', '{}', '["x"]'])('%s', value => {
    expect(() => send(`{"auth":{"token":${value}}}`)).toThrow(
      expect.objectContaining({ code: 'foreign_credential' }),
    );
  });
});

test('a name on the way that stands twice is refused', () => {
  expect(() => send(`{"auth":{"token":"theirs","token":"${mine}"}}`)).toThrow(
    expect.objectContaining({ code: 'malformed_request' }),
  );
});
