import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { environmentOf, innermost, isAlive, type Process } from '../../src/proof/processes.ts';

const process = (pid: number, parent: number): Process => ({ pid, parent, name: 'x' });

test('the innermost process is told by its ancestors, whatever their numbers', () => {
  const rising = [process(100, 1), process(101, 100), process(102, 101)];
  expect(innermost(rising)?.pid).toBe(102);
  // Numbers began anew in between.
  const wrapped = [process(5, 32_760), process(7, 5), process(32_759, 1), process(32_760, 32_759)];
  expect(innermost(wrapped)?.pid).toBe(7);
  expect(innermost([process(1, 2), process(2, 1)])?.pid).toBe(1);
  expect(innermost([])).toBeUndefined();
});

test('a process that has ended but for its exit code has no environment, and one that is not there cannot be read', async () => {
  // Nobody waits for the first one once the shell is another program.
  const parent = spawn('sh', ['-c', 'true & echo $!; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => void parent.kill());
  const [told] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(told.toString());
  await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false);
  expect(environmentOf(pid)).toEqual([]);
  expect(() => environmentOf(2 ** 22 + 1)).toThrow('ENOENT');
});
