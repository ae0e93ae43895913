import { describe, expect, it } from 'vitest';
import { bytesOf } from '../../src/inject/body.ts';
import { placements } from '../../src/inject/index.ts';
import { Secret } from '../../src/secret.ts';
import { BodyFault } from '../../src/types.ts';
import { outbound, outboundBody, percent } from './make.ts';

const STUB = 'ghp_stub';
const SECRET = new Secret('oauth', 's3cret &=+%é', '7');
const WIRE = 's3cret%20%26%3D%2B%25%C3%A9';
const form = placements.build('form', { field: 'client_secret' });

/** The body that goes out. */
function sent(text: string, stub: string | undefined = STUB): string {
  const out = outboundBody('form', text);
  const placed = form.inject(out, stub, SECRET);
  expect(placed.at).toBe('form client_secret');
  expect(placed.wire.reveal()).toBe(WIRE);
  if (!out.body) throw new Error('the body is gone');
  return bytesOf(out.body).toString('latin1');
}

describe('a stub in a form', () => {
  it.each([
    ['client_secret=ghp_stub', `client_secret=${WIRE}`],
    ['a=%20b&client_secret=ghp_stub&c=d+e&&=f&\xe9', `a=%20b&client_secret=${WIRE}&c=d+e&&=f&\xe9`],
    [`client_secret=${percent(STUB)}`, `client_secret=${WIRE}`],
    ['client%5fsecret=ghp%5Fstub', `client%5fsecret=${WIRE}`],
    ['x=ghp_stub&client_secret=ghp_stub', `x=ghp_stub&client_secret=${WIRE}`],
    ['Client_Secret=x&client_secret=ghp_stub', `Client_Secret=x&client_secret=${WIRE}`],
  ])('is swapped in %j, and nothing else', (text, result) => {
    expect(form.find(outboundBody('form', text))).toEqual([STUB]);
    expect(sent(text)).toBe(result);
  });

  it('is swapped beside another', () => {
    const out = outboundBody('form', 'b=two&client_secret=ghp_stub');
    placements.build('form', { field: 'b' }).inject(out, 'two', new Secret('b', 'second-secret'));
    form.inject(out, STUB, SECRET);
    expect(out.body && bytesOf(out.body).toString()).toBe(`b=second-secret&client_secret=${WIRE}`);
  });
});

describe('what stands at the place', () => {
  it.each([
    ['', []],
    ['a=b', []],
    ['a=client_secret=x', []],
    ['client_secret', ['']],
    ['client_secret=', ['']],
    ['client_secret=a+b', ['a b']],
    ['client_secret=%', ['%']],
    [`client_secret=${percent(STUB, 2)}`, [percent(STUB)]],
    ['client_secret=a;b', ['a;b']],
  ])('of %j', (text, texts) => {
    expect(form.find(outboundBody('form', text))).toEqual(texts);
  });

  it.each([
    'client_secret=ghp_stub&client_secret=ghp_stub',
    'client_secret=ghp_stub&client_secret=foreign',
    'client_secret=ghp_stub&client_secret',
    'client%5Fsecret=ghp_stub&client_secret=x',
    'a=b;client_secret=foreign',
    'client_secret=ghp_stub;client_secret=foreign',
  ])('is refused if servers may disagree on it: %j', text => {
    expect(() => form.find(outboundBody('form', text))).toThrow(BodyFault);
  });

  it('is nothing in JSON, or without a body', () => {
    expect(form.find(outboundBody('json', 'client_secret=ghp_stub'))).toBeUndefined();
    expect(form.find(outbound('/', []))).toBeUndefined();
  });
});

describe('a field that is set without a stub', () => {
  it.each([
    ['', `client_secret=${WIRE}`],
    ['a=b', `a=b&client_secret=${WIRE}`],
    ['client_secret=x&a=b', `client_secret=${WIRE}&a=b`],
    ['client_secret', `client_secret=${WIRE}`],
  ])('in %j', (text, result) => {
    expect(sent(text, undefined)).toBe(result);
  });
});

it('refuses a credential that is not Unicode text', () => {
  expect(() => form.inject(outboundBody('form', ''), undefined, new Secret('x', 'sesame\ud800'))).toThrow(
    expect.objectContaining({ code: 'credential_unavailable' }),
  );
});

it.each(['', 'a b', 'é', 'x'.repeat(129)])('refuses the field %j', field => {
  expect(() => placements.build('form', { field })).toThrow('printable ASCII');
});
