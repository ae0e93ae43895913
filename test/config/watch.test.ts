import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problems.ts';
import { type ConfigWatch, needsRestart, watchConfig } from '../../src/config/watch.ts';

const withRule = (name: string) => `version: 1\nrules:\n  - { name: ${name}, hosts: [a.example] }\n`;

let folder: string;
let file: string;
let watch: ConfigWatch | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stubgate-watch-'));
  file = join(folder, 'stubgate.yaml');
  writeFileSync(file, withRule('first'));
});
afterEach(() => {
  watch?.close();
  rmSync(folder, { recursive: true });
});

/** Starts to watch; each call of the answer waits for the next thing that is told. */
function start(): () => Promise<string> {
  const told: string[] = [];
  const waiting: ((text: string) => void)[] = [];
  const tell = (text: string): void => {
    const next = waiting.shift();
    if (next) next(text);
    else told.push(text);
  };
  watch = watchConfig(
    file,
    compiled => tell(`good: ${compiled.config.rules.map(rule => rule.name).join()}`),
    error =>
      tell(`bad: ${error instanceof ConfigError ? (error.problems[0]?.message ?? '') : String(error)}`),
  );
  return () =>
    new Promise(resolve => {
      const first = told.shift();
      if (first === undefined) waiting.push(resolve);
      else resolve(first);
    });
}

describe('watchConfig', () => {
  it('tells of a changed file, then of a bad one, then of a good one again', async () => {
    const next = start();
    writeFileSync(file, withRule('second'));
    expect(await next()).toBe('good: second');
    writeFileSync(file, 'version: 1\nrulez: []\n');
    expect(await next()).toBe('bad: is no key of this mapping; did you mean "rules"?');
    writeFileSync(file, withRule('third'));
    expect(await next()).toBe('good: third');
  });

  it('tells of a file that another took the place of', async () => {
    const next = start();
    writeFileSync(join(folder, 'new'), withRule('second'));
    renameSync(join(folder, 'new'), file);
    expect(await next()).toBe('good: second');
  });

  it('tells of a file behind a link that now leads elsewhere, as Kubernetes does it', async () => {
    for (const name of ['one', 'two']) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'stubgate.yaml'), withRule(name));
    }
    symlinkSync('one', join(folder, 'data'));
    file = join(folder, 'data', 'stubgate.yaml');
    const next = start();
    symlinkSync('two', join(folder, 'data.new'));
    renameSync(join(folder, 'data.new'), join(folder, 'data'));
    expect(await next()).toBe('good: two');
  });

  it('takes an empty file and a missing file for bad ones', async () => {
    const next = start();
    writeFileSync(file, '');
    expect(await next()).toBe('bad: the file is empty; write at least `version: 1`');
    rmSync(file);
    expect(await next()).toMatch(/^bad: the file cannot be read \(ENOENT\)/);
  });

  it('says nothing of a file that is written anew with the same text', async () => {
    const told: unknown[] = [];
    const untouched = watchConfig(
      file,
      ({ config }) => told.push(config),
      error => told.push(error),
    );
    try {
      writeFileSync(join(folder, 'new'), withRule('first'));
      renameSync(join(folder, 'new'), file);
      // The other file's watch looks after the first one's: twice told, the first has looked as often.
      file = join(folder, 'other.yaml');
      writeFileSync(file, withRule('one'));
      const next = start();
      writeFileSync(file, withRule('two'));
      expect(await next()).toBe('good: two');
      writeFileSync(file, withRule('three'));
      expect(await next()).toBe('good: three');
      expect(told).toEqual([]);
    } finally {
      untouched.close();
    }
  });

  it('reloads at once when told to, changed or not', async () => {
    const next = start();
    watch?.reload();
    expect(await next()).toBe('good: first');
    writeFileSync(file, 'version: 2\n');
    watch?.reload();
    expect(await next()).toBe('bad: is not valid; write 1');
  });
});

describe('needsRestart', () => {
  const read = (text: string) => parseConfig(`version: 1\n${text}`, '/x.yaml');

  it.each([
    ['rules: []', []],
    ['credentials: { a: { from: env:A } }', []],
    ['listen: { proxy: 127.0.0.1:9000 }', ['listen']],
    ['ca: { dir: other }\naudit: { file: other }\nlimits: { tunnels: 1 }', ['ca', 'audit', 'limits']],
  ])('of %j: %j', (text, sections) => {
    expect(needsRestart(read(''), read(text))).toEqual(sections);
  });
});
