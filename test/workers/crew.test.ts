import { spawn } from 'node:child_process';
import { expect, onTestFinished, test } from 'vitest';
import type { Log } from '../../src/types.ts';
import type { PrimaryCalls, Start } from '../../src/workers/calls.ts';
import { Crew } from '../../src/workers/crew.ts';
import { until } from '../support/redis.ts';

/** Answers whatever it is asked, which is what a worker does that serves. */
const SERVES = `process.on('message', ([type, id]) => type === 'call' && id > 0 && process.send(['answer', id, undefined]));
  process.on('disconnect', () => process.exit());`;
/** Answers nothing but its start. */
const HANGS = `process.once('message', ([, id]) => process.send(['answer', id, undefined]));
  process.on('message', () => {});`;
const ENDS = 'process.exit(3)';

/** `scripts`: of the processes, in the order in which they are started; the last one of all further ones. */
function crewOf(count: number, ...scripts: readonly string[]) {
  const lines: string[] = [];
  const failed: Error[] = [];
  const numbers: number[] = [];
  const at = (message: string): void => void lines.push(message);
  const log: Log = { debug: at, info: at, warn: at, error: at };
  const crew = new Crew({
    count,
    log,
    spawn: (_, number) => {
      const script = scripts[Math.min(numbers.length, scripts.length - 1)] ?? '';
      numbers.push(number);
      return spawn(process.execPath, ['-e', script], {
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        serialization: 'advanced',
      });
    },
    callsOf: () => ({}) as PrimaryCalls,
    introduce: () => {},
    startOf: () => ({}) as Start,
    drainMs: () => 100,
    onGone: () => {},
    onFailed: error => failed.push(error),
  });
  onTestFinished(() => {
    for (const member of crew.living) member.kill();
  });
  return { crew, lines, failed, numbers };
}

const one = <T>(all: Iterable<T>): T => [...all][0] as T;

test('one that does not start at first is no worker: the launch fails, and says why', async () => {
  const { crew, failed } = crewOf(2, SERVES, ENDS);
  await expect(crew.launch()).rejects.toThrow('worker 2 ended: exit code 3');
  await crew.stop();
  expect(crew.living.size).toBe(0);
  expect(failed).toEqual([]);
});

test('one that ends is replaced, under the same number', async () => {
  const { crew, lines, numbers } = crewOf(2, SERVES);
  await crew.launch();
  expect(crew.isComplete).toBe(true);
  one(crew.living).kill();
  await until('it is replaced', () => numbers.length === 3 && crew.isComplete);
  expect(numbers).toEqual([1, 2, 1]);
  expect(lines).toEqual(['a worker ended, and is replaced']);
  await crew.stop();
  expect(crew.living.size).toBe(0);
});

test('after five starts that fail, one after the other, nobody tries again', async () => {
  const { crew, lines, failed, numbers } = crewOf(1, SERVES, ENDS);
  await crew.launch();
  one(crew.living).kill();
  await until('it is given up', () => failed.length > 0, 20_000);
  expect(failed.map(({ message }) => message)).toEqual(['worker 1 ended: exit code 3']);
  expect(numbers).toHaveLength(6);
  expect(lines.filter(line => line === 'a worker does not start')).toHaveLength(5);
});

test('one that asks to leave is replaced first, and by one with another number', async () => {
  const { crew, numbers } = crewOf(2, SERVES);
  await crew.launch();
  const leaving = one(crew.living);
  crew.leave(leaving);
  crew.leave(leaving);
  await leaving.gone;
  expect(numbers).toEqual([1, 2, 3]);
  expect(crew.isComplete).toBe(true);
  await crew.roll();
  // The numbers of those that are gone are free again.
  expect(numbers).toEqual([1, 2, 3, 1, 3]);
  await crew.stop();
});

test('one that ends while it is being replaced is replaced once', async () => {
  const { crew, numbers } = crewOf(1, SERVES);
  await crew.launch();
  const rolled = crew.roll();
  one(crew.living).kill();
  await rolled;
  await crew.roll();
  expect(numbers).toHaveLength(3);
  await crew.stop();
});

test('an end during a replacement of all starts nobody any more, and leaves nobody', async () => {
  const { crew, numbers } = crewOf(3, SERVES);
  await crew.launch();
  const rolled = crew.roll();
  await until('the first one is being replaced', () => numbers.length === 4);
  await Promise.all([crew.stop(), rolled]);
  expect(numbers).toHaveLength(4);
  expect(crew.living.size).toBe(0);
});

test('a replacement that does not start leaves the one that serves in its place', async () => {
  const { crew } = crewOf(1, SERVES, ENDS);
  await crew.launch();
  await expect(crew.roll()).rejects.toThrow('exit code 3');
  expect(crew.isComplete).toBe(true);
  await crew.stop();
});

test.each<[string, (crew: Crew) => Promise<unknown>]>([
  ['told something', crew => crew.sync()],
  ['measured', crew => one(crew.living).measure()],
])(
  'one that hangs when it is %s is ended: nobody waits for it, nor is served by what it knows',
  async (_, ask) => {
    const { crew, numbers } = crewOf(1, HANGS, SERVES);
    await crew.launch();
    await ask(crew);
    await until('it is replaced', () => numbers.length === 2 && crew.isComplete);
    await crew.stop();
  },
  30_000,
);
