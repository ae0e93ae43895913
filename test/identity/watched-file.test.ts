import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { WatchedFile } from '../../src/identity/watched-file.ts';
import type { Log } from '../../src/types.ts';
import { tempFolder } from '../support/temp.ts';

/** A file that holds one word, and what is logged of it. */
function watched(file: string): { look: (now: number) => string; told: string[] } {
  const told: string[] = [];
  const at = (message: string): void => void told.push(message);
  const log: Log = { debug: at, info: at, warn: at, error: at };
  const word = (text: string): string => {
    if (!/^\w+$/.test(text)) throw new Error('holds no word');
    return text;
  };
  const one = new WatchedFile(file, 'a.file', word, log);
  return { look: now => one.value(now), told };
}

test.each<[string, (file: string) => void]>([
  ['gone', () => {}],
  ['no word', file => writeFileSync(file, '!')],
  ['a link to nothing', file => symlinkSync(`${file}.none`, file)],
  // As a folder that may not be entered any more: it cannot even be looked at.
  ['a link to itself', file => symlinkSync(file, file)],
])('what it held stays, and is said once, while it is %s', (_, spoil) => {
  const file = join(tempFolder('watched'), 'file');
  writeFileSync(file, 'one');
  const { look, told } = watched(file);
  expect(look(0)).toBe('one');
  rmSync(file);
  spoil(file);
  for (const now of [2000, 4000]) expect(look(now)).toBe('one');
  expect(told).toEqual(['a file cannot be used: what it held before stays']);
  rmSync(file, { force: true });
  writeFileSync(file, 'two');
  expect(look(6000)).toBe('two');
});

test('one that cannot be looked at from the start is named as the configuration has it', () => {
  const file = join(tempFolder('watched'), 'file');
  symlinkSync(file, file);
  expect(() => watched(file)).toThrow(`a.file ${file} cannot be used (ELOOP)`);
});
