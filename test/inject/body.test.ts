import { describe, expect, it } from 'vitest';
import { reading, refuseUnreadable, requireUtf8, settleFields } from '../../src/inject/body.ts';
import { placements } from '../../src/inject/index.ts';
import { Outbound } from '../../src/inject/outbound.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { plan } from '../../src/inject/swap.ts';
import { BodyFault, type Injection } from '../../src/types.ts';
import {
  base64,
  headOf,
  injection,
  keyOf,
  outbound,
  outboundBody,
  percent,
  ruleOf,
  sessionOf,
} from './make.ts';

const key = keyOf('this gate');
const shape = parseShape('github-pat');
const mine = key.mint(shape);
const second = key.mint(shape);
const strange = key.mint(shape);
const session = sessionOf({ github: mine, gitlab: second });

const json = placements.build('json', { pointer: '/s' });
const large = placements.build('json', { pointer: '/t', max_body: '2MiB' });
const form = placements.build('form', { field: 's' });
const bearer = placements.build('bearer', {});

describe('how a body is read', () => {
  const both = ruleOf([injection(json), injection(form), injection(large), injection(bearer)]);
  const typed = (type: string) => reading(outbound('/', ['Content-Type', type]), both);

  it.each([
    ['application/json', 'json'],
    ['Application/JSON', 'json'],
    ['application/json;charset=utf-8', 'json'],
    ['application/json; CHARSET="UTF-8" ; x=y', 'json'],
    ['application/vnd.api+json', 'json'],
    ['application/problem+json; charset=utf8', 'json'],
    ['application/x-www-form-urlencoded', 'form'],
    ['application/x-www-form-urlencoded; charset=UTF-8', 'form'],
  ])('%s as %s', (type, kind) => {
    expect(typed(type)).toEqual({ kind, limit: kind === 'json' ? 2 * 1024 * 1024 : 1024 * 1024 });
  });

  it.each([
    '',
    'text/plain',
    'text/json',
    'application/jsonp',
    'application/json5',
    'application/json, text/plain',
    'application/json charset=utf-16',
    'application/json; charset=utf-16',
    'application/json; charset=utf-8; charset=utf-16',
    'application/json; charset=',
    'application/x-www-form-urlencoded; charset=latin1',
    'multipart/form-data; boundary=x',
    'application/+json',
    'a/b/c+json',
  ])('%j not at all', type => {
    expect(() => typed(type)).toThrow(BodyFault);
  });

  it.each(['gzip', 'br', 'identity, gzip', 'x'])('not in the coding %s', coding => {
    const headers = ['Content-Type', 'application/json', 'Content-Encoding', coding];
    expect(() => reading(outbound('/', headers), both)).toThrow('is compressed');
  });

  it('as the rule’s placements can read it', () => {
    const out = outbound('/', ['Content-Type', 'application/json', 'Content-Encoding', 'Identity']);
    expect(reading(out, ruleOf([injection(json)]))).toEqual({ kind: 'json', limit: 1024 * 1024 });
    expect(() => reading(out, ruleOf([injection(form)]))).toThrow(
      expect.objectContaining({ hint: 'Send application/x-www-form-urlencoded, in UTF-8' }),
    );
  });

  it.each([
    ['a byte order mark', Buffer.from('\ufeff{}')],
    ['latin1', Buffer.from('{"s":"é"}', 'latin1')],
    ['an overlong sequence', Buffer.from([0x22, 0xc1, 0xb3, 0x22])],
    ['a surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])],
    ['UTF-16', Buffer.from('\ufeff{}', 'utf16le')],
  ])('only without %s', (_, bytes) => {
    expect(() => requireUtf8(bytes)).toThrow(BodyFault);
  });
});

describe('a body that cannot be read', () => {
  const fault = new BodyFault('is not JSON', 'Send JSON');
  const refused = (options: Partial<Injection>, stubs = 0): string | undefined => {
    try {
      refuseUnreadable(ruleOf([injection(bearer), injection(json, options)]), fault, stubs);
      return undefined;
    } catch (thrown) {
      expect(thrown).toMatchObject({ message: 'The body is not JSON', hint: 'Send JSON' });
      return (thrown as { code: string }).code;
    }
  };

  it.each([
    [{}, 'malformed_request'],
    [{ when: 'always', foreign: 'pass' }, 'malformed_request'],
    [{ required: true, foreign: 'pass' }, 'stub_missing'],
    [{ foreign: 'pass' }, undefined],
  ] satisfies [Partial<Injection>, string | undefined][])('under %j: %s', (options, code) => {
    expect(refused(options)).toBe(code);
    expect(refused(options, 1)).toBe('stub_misplaced');
  });
});

describe('the plan of a body', () => {
  /** Slot, credential and stub of each step. */
  const planned = (injections: readonly Injection[], kind: 'json' | 'form', body: string) => {
    try {
      const { steps } = plan(outboundBody(kind, body), ruleOf(injections), session, key, 'body');
      return steps.map(step => [step.injection.credential, step.stub]);
    } catch (thrown) {
      return (thrown as { code: string }).code;
    }
  };
  const one = (options: Partial<Injection> = {}) => [injection(json, options)];

  it.each([
    [one(), `{"s":"${mine}"}`, [['github', mine]]],
    [one(), `{"s":"${mine}","x":"${mine} ${second}"}`, [['github', mine]]],
    [one(), `{"x":"${mine}"}`, []],
    [one(), `{"s":"foreign"}`, 'foreign_credential'],
    [one(), `{"s":null}`, 'foreign_credential'],
    [one(), `{"s":["${mine}"]}`, 'stub_misplaced'],
    [one(), `{"s":"Bearer ${mine}"}`, 'stub_misplaced'],
    [one(), `{"s":"${second}"}`, 'stub_misplaced'],
    [one(), `{"s":"${strange}"}`, 'stub_misplaced'],
    [one(), `{"s":"${base64(mine)}"}`, 'stub_misplaced'],
    [one(), `{"s":"${percent(mine)}"}`, 'stub_misplaced'],
    [one({ foreign: 'pass' }), `{"s":"foreign"}`, []],
    [one({ foreign: 'pass' }), `{"s":"${strange}"}`, 'stub_misplaced'],
    [one({ required: true }), `{"s":"${mine}"}`, [['github', mine]]],
    [one({ required: true }), `{"x":"${mine}"}`, 'stub_missing'],
    [one({ required: true }), `["${mine}"]`, 'stub_missing'],
    [one({ when: 'always' }), `{"s":"foreign"}`, [['github', undefined]]],
    [one({ when: 'always' }), `{}`, [['github', undefined]]],
    [one({ when: 'always' }), `{"s":"${mine}"}`, [['github', mine]]],
    [one({ when: 'always' }), `{"s":"${strange}"}`, 'stub_misplaced'],
    [one({ when: 'always' }), `[]`, 'stub_missing'],
    [[injection(json), injection(json, { credential: 'gitlab' })], `{"s":"${second}"}`, [['gitlab', second]]],
    [
      [injection(json), injection(large, { credential: 'gitlab' })],
      `{"t":"${second}","s":"${mine}"}`,
      [
        ['github', mine],
        ['gitlab', second],
      ],
    ],
    [
      [injection(json), injection(large, { credential: 'gitlab' })],
      `{"t":"${mine}","s":"${second}"}`,
      'stub_misplaced',
    ],
  ])('of %j in %s', (injections, body, result) => {
    expect(planned(injections, 'json', body)).toEqual(result);
  });

  it('looks only at the places of its own kind', () => {
    const rule = [injection(json), injection(form)];
    expect(planned(rule, 'form', `s=${mine}`)).toEqual([['github', mine]]);
    expect(planned(rule, 'json', `{"s":"${mine}"}`)).toEqual([['github', mine]]);
  });

  it('is none of the head’s', () => {
    const rule = ruleOf([injection(json, { required: true }), injection(bearer)]);
    const head = headOf('/', ['Authorization', `Bearer ${mine}`]);
    expect(plan(Outbound.from(head, '/', rule), rule, session, key)).toMatchObject({ swapped: 1 });
    expect(() => plan(Outbound.from(head, '/', rule), rule, session, key, 'body')).toThrow(
      expect.objectContaining({ code: 'stub_missing' }),
    );
  });
});

it('takes out the fields that are not true of the body that goes out', () => {
  const headers = [
    'Expect',
    '100-continue',
    'Content-MD5',
    'x',
    'DIGEST',
    'x',
    'Content-Digest',
    'x',
    'Repr-Digest',
    'x',
    'X',
    'y',
  ];
  const [same, changed] = [outbound('/', headers), outbound('/', headers)];
  settleFields(same, false);
  settleFields(changed, true);
  expect(same.headers).toEqual(headers.slice(2));
  expect(changed.headers).toEqual(['X', 'y']);
});
