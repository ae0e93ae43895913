import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cleanEnv, runOk } from '../support/clients.ts';
import { tempFolder } from '../support/temp.ts';

const MODULE = join(import.meta.dirname, '../../src/cli/compile-cache.ts');

/** Whether a process of its own keeps what it compiles in `dir`: it can be said once in each. */
async function keeps(dir: string): Promise<boolean> {
  const code = `const { keepCompiled } = await import('${MODULE}');
    const is = keepCompiled(process.argv[1]);
    await import('${join(import.meta.dirname, '../../src/errors.ts')}');
    console.log(is);`;
  const { stdout } = await runOk(process.execPath, ['--input-type=module', '-e', code, dir], {
    env: cleanEnv(),
  });
  return JSON.parse(stdout) as boolean;
}

it('makes a folder that is its own, and keeps what was compiled in it', async () => {
  const dir = join(tempFolder('compiled'), 'kept');
  expect(await keeps(dir)).toBe(true);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  expect(readdirSync(dir, { recursive: true }).length).toBeGreaterThan(1);
  expect(await keeps(dir)).toBe(true);
});

it.each<[string, (dir: string) => void]>([
  ['others may write', dir => chmodInto(dir, 0o777)],
  ['its group may write', dir => chmodInto(dir, 0o770)],
  [
    'is a link to one',
    dir => {
      mkdirSync(`${dir}-there`, { mode: 0o700 });
      symlinkSync(`${dir}-there`, dir);
    },
  ],
  ['is a file', dir => writeFileSync(dir, '')],
  // As of one that is installed for all users, read by one of them.
  ['cannot be made', dir => writeFileSync(join(dir, '..', 'file'), '')],
])('keeps nothing in a folder that %s', async (fault, prepare) => {
  const dir = join(tempFolder('compiled'), 'kept');
  prepare(dir);
  const asked = fault === 'cannot be made' ? join(dir, '..', 'file', 'kept') : dir;
  expect(await keeps(asked)).toBe(false);
  if (existsSync(dir) && statSync(dir).isDirectory()) expect(readdirSync(dir)).toEqual([]);
});

// Nobody else can give a folder away.
it.runIf(process.geteuid?.() === 0)('keeps nothing in a folder of somebody else’s', async () => {
  const dir = join(tempFolder('compiled'), 'kept');
  chmodInto(dir, 0o700);
  chownSync(dir, 65_534, 65_534);
  expect(await keeps(dir)).toBe(false);
});

function chmodInto(dir: string, mode: number): void {
  mkdirSync(dir);
  chmodSync(dir, mode);
}
