import { expect, test } from 'vitest';
import { run } from '../fuzz/h1.ts';

test('llhttp reads in the same way whatever is accepted, and so does any way to cut it', async () => {
  const { executions, findings } = await run(performance.now() + 1500, 1);
  expect(findings).toEqual([]);
  expect(executions).toBeGreaterThan(50);
});
