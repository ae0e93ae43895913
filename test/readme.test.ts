import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REASONS } from '../src/errors.ts';

const root = join(import.meta.dirname, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

test('the README lists every refusal as it is in the code', () => {
  const rows = [...readme.matchAll(/^\| `([a-z_]+)` \| (\d{3}) \| (.+) \|$/gm)];
  const listed = rows.map(([, code, status, message]) => ({ code, status: Number(status), message }));
  const coded = Object.entries(REASONS).map(([code, { status, message }]) => ({ code, status, message }));
  expect(listed).toEqual(coded);
});

test('every file that the README links to is there', () => {
  const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, path]) => path ?? '');
  expect(links.length).toBeGreaterThan(0);
  for (const path of links) expect(() => readFileSync(join(root, path)), path).not.toThrow();
});

test('every dependency has its reason', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const reasons = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
  const missing = Object.keys({ ...dependencies, ...devDependencies }).filter(
    name => !reasons.includes(`\`${name}\``),
  );
  expect(missing).toEqual([]);
});
