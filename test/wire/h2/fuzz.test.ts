import { expect, test } from 'vitest';
import { run } from '../../fuzz/h2.ts';

test('whatever frames come, what goes on is what an independent reader reads, and each request is audited', async () => {
  const { executions, findings } = await run(performance.now() + 2000, 1);
  expect(findings).toEqual([]);
  expect(executions).toBeGreaterThan(10);
});
