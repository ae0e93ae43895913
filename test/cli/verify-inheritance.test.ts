import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { runProgram } from '../../src/cli/verify/command.ts';
import { compiledWith, BEARER } from '../proof/stage.ts';
import { tempFolder } from '../audit/event.ts';

vi.mock(import('../../src/admin/environment.ts'), async original => ({
  ...(await original()),
  // A gate that hands down all that it has.
  inheritableEnvironment: inherited => inherited as Record<string, string>,
}));

it('a gate that hands its own environment down is found out, by the canary in the variable that its vault reads', async () => {
  const folder = tempFolder();
  vi.stubEnv('TMPDIR', folder);
  writeFileSync(join(folder, 'script'), 'sleep 0.5');
  const { leaks } = await runProgram({
    compiled: compiledWith(BEARER),
    profile: 'default',
    command: 'sh',
    args: [join(folder, 'script')],
    inherited: { PATH: process.env['PATH'], HOME: folder },
    isolate: false,
    writable: [],
    watch: [],
    real: false,
  });
  expect(leaks).toContainEqual({
    credential: 'token',
    kind: 'environment',
    place: expect.stringMatching(/^process \d+ \(\w+\): variable STUBGATE_TEST_TOKEN$/) as string,
    spelling: 'as it is',
  });
});
