import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface Entry {
  version?: string;
  resolved?: string;
  optionalDependencies?: Record<string, string>;
}

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  packages: Record<string, Entry>;
};

// npm leaves out what the registry at hand does not have, and then `npm ci` refuses the lock file everywhere.
test('the lock file names the optional packages of every platform', () => {
  const wanted = Object.values(packages).flatMap(entry => Object.keys(entry.optionalDependencies ?? {}));
  expect(wanted.filter(name => packages[`node_modules/${name}`]?.version === undefined)).toEqual([]);
});

test('the lock file names no registry', () => {
  expect(Object.values(packages).filter(entry => entry.resolved !== undefined)).toEqual([]);
});
