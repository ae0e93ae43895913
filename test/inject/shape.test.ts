import { describe, expect, it } from 'vitest';
import { DEFAULT_SHAPE, parseShape, SHAPES } from '../../src/inject/shape.ts';
import { keyOf } from './make.ts';

describe('parseShape', () => {
  it.each(Object.keys(SHAPES))('has room for a tag in the named shape %s', name => {
    expect(parseShape(name).text).toBe(name);
  });

  it('has a default', () => {
    expect(keyOf('a').mint(parseShape(DEFAULT_SHAPE))).toMatch(/^sgs_[0-9A-Za-z]{40}$/);
  });

  it.each([
    ['sk-proj-{48}', ['sk-proj-', 48]],
    ['{20}', [20]],
    ['0:{20}', ['0:', 20]],
    ['a{1}b{30}c', ['a', 1, 'b', 30, 'c']],
    ['{20}{20}', [20, 20]],
  ])('reads the template %s', (text, parts) => {
    expect(parseShape(text).parts).toEqual(parts);
  });

  it.each([
    ['', 'unknown shape'],
    ['nonsense', 'write one of generic, github-pat'],
    ['constructor', 'unknown shape'],
    ['__proto__', 'unknown shape'],
    ['sk-{19}', 'write one part of {20} or more'],
    ['sk-{10}_{10}', 'write one part of {20} or more'],
    ['sk {40}', 'cannot read "sk "'],
    ['sk-{40}\r\n', 'cannot read'],
    ['sk-%{40}', 'cannot read "sk-%"'],
    ['sk-{040}', 'cannot read "{040}"'],
    ['sk-{0}', 'cannot read'],
    ['sk-{-1}', 'cannot read'],
    ['sk-{1e2}', 'cannot read'],
    ['sk-{40', 'cannot read'],
    ['sk-40}', 'cannot read'],
    ['sk-{{40}}', 'cannot read'],
    ['sk-{}', 'cannot read'],
    ['é{40}', 'cannot read'],
    ['sk-{510}', 'at most 512'],
    ['{300}{300}', 'at most 512'],
  ])('refuses %j and says what to write', (text, message) => {
    expect(() => parseShape(text)).toThrow(message);
  });
});
