import { expect, test } from 'vitest';
import { innermost, type Process } from '../../src/proof/processes.ts';

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
