import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../src/config/problems.ts';

const folder = new URL('./fixtures/bad/', import.meta.url);
const faults = readdirSync(folder)
  .filter(name => name.endsWith('.yaml'))
  .map(name => name.slice(0, -'.yaml'.length));

/** What is wrong with a configuration, one problem in a line, without the file's folder. */
function problems(text: string, file: string): string {
  try {
    parseConfig(text, `/${file}`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.message).toBe(error.problems.map(formatProblem).join('\n'));
    return `${error.problems.map(problem => formatProblem({ ...problem, file })).join('\n')}\n`;
  }
  return 'none\n';
}

describe('a bad configuration', () => {
  it.each(faults)('%s', async fault => {
    const told = problems(readFileSync(new URL(`${fault}.yaml`, folder), 'utf8'), `${fault}.yaml`);
    await expect(told).toMatchFileSnapshot(`fixtures/bad/${fault}.errors`);
    expect(told).not.toBe('none\n');
    expect(told).not.toMatch(/hunter2|0123456789|Zm9v|pass word/);
  });
});
