import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LARGE } from '../../src/config/aside.ts';
import { loadPolicy } from '../../src/config/load.ts';
import type { Log } from '../../src/types.ts';
import { Configuration } from '../../src/workers/configuration.ts';
import type { Crew } from '../../src/workers/crew.ts';
import { until } from '../support/redis.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stubgate-workers-'));
  file = join(folder, 'stubgate.yaml');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** `rest`: further lines. */
const textOf = (headers: number, rest = ''): string =>
  `version: 1\nlimits: { headers: ${headers} }\nrules: [{ name: a, hosts: [a.test] }]\n${rest}`;

/** A configuration of two workers; `refuses`: what the second one does not take. */
function open(refuses: (text: string) => boolean = () => false) {
  writeFileSync(file, textOf(10));
  const told: [string[], string[]] = [[], []];
  const lines: string[] = [];
  let rolls = 0;
  const member = (i: 0 | 1) => ({
    reload: (text: string) => {
      told[i].push(text);
      return Promise.resolve(i === 0 || !refuses(text));
    },
  });
  const crew = {
    living: new Set([member(0), member(1)]),
    roll: () => Promise.resolve(void rolls++),
  };
  const at = (message: string): void => void lines.push(message);
  const log: Log = { debug: at, info: at, warn: at, error: at };
  const configuration = new Configuration(loadPolicy(file), log, crew as unknown as Crew);
  const reload = async (text: string, last: string): Promise<void> => {
    lines.length = 0;
    writeFileSync(file, text);
    configuration.reload();
    await until('it is judged', () => lines.some(line => line.startsWith(last)));
  };
  return { configuration, told, reload, rolls: () => rolls };
}

test('what one worker cannot use none of them serves by, nor one that starts later', async () => {
  const next = textOf(10, 'upstream: { proxy: http://proxy.test:3128 }\n');
  const { configuration, told, reload } = open(text => text === next);
  await reload(next, 'configuration not reloaded');
  expect(told).toEqual([
    [next, textOf(10)],
    [next, textOf(10)],
  ]);
  expect(configuration.text).toBe(textOf(10));
  expect(configuration.compiled.config.upstream.proxy).toBeUndefined();
  configuration.close();
});

test.each([
  ['small', ''],
  ['large', `#${'x'.repeat(LARGE)}\n`],
])('a %s file replaces the workers if a signal asked for it, and once', async (_, rest) => {
  const { configuration, reload, rolls } = open();
  await reload(textOf(11, rest), 'workers are replaced one');
  expect(rolls()).toBe(1);
  expect(configuration.fixed.limits.headers).toBe(11);
  // A bad one has had its turn: the next one, which nobody asks for, waits for a signal.
  await reload('version: 7', 'configuration not reloaded');
  writeFileSync(file, textOf(12, rest));
  await until('it is taken', () => configuration.text === textOf(12, rest));
  expect(rolls()).toBe(1);
  expect(configuration.fixed.limits.headers).toBe(11);
  configuration.close();
});
