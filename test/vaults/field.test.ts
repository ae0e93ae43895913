import { describe, expect, it } from 'vitest';
import { type SecretRef, VaultError } from '../../src/types.ts';
import { show, toSecret } from '../../src/vaults/field.ts';

const ref = (field?: string, version?: string): SecretRef => ({
  vault: 'aws',
  id: 'ci/github',
  ...(field === undefined ? {} : { field }),
  ...(version === undefined ? {} : { version }),
});

function failure(action: () => unknown): VaultError {
  try {
    action();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(VaultError);
    return thrown as VaultError;
  }
  return expect.unreachable();
}

describe('toSecret', () => {
  it.each([
    ['sesame', 'sesame'],
    ['sesame\n', 'sesame'],
    ['sesame\r\n\r\n', 'sesame'],
    [' sesame ', ' sesame '],
    ['-----BEGIN\n\tabc\r\n-----END\n', '-----BEGIN\n\tabc\r\n-----END'],
    ['pässword 😀', 'pässword 😀'],
  ])('takes %j without its line end', (text, value) => {
    expect(toSecret(ref(), text).reveal()).toBe(value);
  });

  it.each(['a\0b', 'a\x1bb', 'a\x7fb', 'a\vb', 'a\bb', 'a\ud800b'])(
    'refuses %j and does not show it',
    text => {
      const { kind, message } = failure(() => toSecret(ref(), `sesame${text}`));
      expect(kind).toBe('missing');
      expect(message).toContain('aws:ci/github');
      expect(message).not.toContain('sesame');
    },
  );

  it.each([
    ['token', '{"token":"sesame","b":1}', 'sesame'],
    ['a.b', '{"a":{"b":"sesame"}}', 'sesame'],
    ['0', '["sesame"]', 'sesame'],
    ['token', '{"token":"sesame\\n"}', 'sesame'],
  ])('takes the field %s of %s', (field, text, value) => {
    expect(toSecret(ref(field), text).reveal()).toBe(value);
  });

  it.each([
    ['token', '{"a":"sesame"}', 'has no field "token"'],
    ['token', 'sesame', 'is not JSON; leave out "#token"'],
    ['token', '{"token":"sesame"', 'is not JSON'],
    ['token', '"sesame"', 'has no field'],
    ['token', 'null', 'has no field'],
    ['length', '"sesame"', 'has no field'],
    ['constructor.name', '{"a":"sesame"}', 'has no field'],
    ['__proto__', '{"a":"sesame"}', 'has no field'],
    ['a.b', '{"a":"sesame"}', 'has no field'],
    ['a', '{"a":{"b":"sesame"}}', 'is not a JSON string'],
    ['a', '{"a":["sesame"]}', 'is not a JSON string'],
    ['a', '{"a":12345678}', 'is not a JSON string'],
    ['a', '{"a":null,"b":"sesame"}', 'is not a JSON string'],
  ])('denies the field %s of %s without showing it', (field, text, message) => {
    const error = failure(() => toSecret(ref(field), text));
    expect(error.kind).toBe('missing');
    expect(error.message).toContain(message);
    expect(error.stack + JSON.stringify(error) + String(error.cause)).not.toContain('sesame');
  });

  it('knows the version that the vault tells, else the one that was asked for', () => {
    expect(toSecret(ref(undefined, '3'), 'sesame', 'v7').version).toBe('v7');
    expect(toSecret(ref(undefined, '3'), 'sesame').version).toBe('3');
    expect(toSecret(ref(), 'sesame').version).toBeUndefined();
  });

  it('shows a ref as it is written', () => {
    expect(show(ref('token', '3'))).toBe('aws:ci/github?version=3#token');
  });
});
