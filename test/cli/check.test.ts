import { expect, it } from 'vitest';
import { CODES } from '../../src/config/lint/codes.ts';
import { policyFolder } from './policy.ts';
import { quickly } from './stubgate.ts';

const WIDE = 'version: 1\nrules:\n  - { name: a, hosts: ["*"] }\n';
const CLEAR = 'version: 1\nrules:\n  - { name: a, hosts: [a.example.com], schemes: [http] }\n';
const check = (text: string, ...args: string[]) =>
  quickly(policyFolder({ 'stubgate.yaml': text }), 'check', ...args);

it('tells people where, what, and what to write instead', async () => {
  const { code, stdout } = await check(WIDE);
  expect(stdout).toMatch(
    /^\/.*\/stubgate\.yaml:3:16: warning SG015: what rule a matches is allowed to every host there is; name the hosts\n$/,
  );
  expect(code).toBe(1);
});

it.each<[string, string, string[], number]>([
  ['a warning', WIDE, [], 1],
  ['a note', CLEAR, [], 0],
  ['a note, strictly', CLEAR, ['--strict'], 1],
  ['nothing', 'version: 1\nrules: [{ name: a, hosts: [a.example.com] }]\n', ['--strict'], 0],
  ['an error', 'version: 2\n', [], 2],
])('exits as it must for %s, in every format', async (_, text, args, expected) => {
  for (const format of ['text', 'json', 'sarif']) {
    const { code } = await check(text, ...args, '--format', format);
    expect(code).toBe(expected);
  }
});

it('tells that a configuration is valid, also below notes', async () => {
  const { stdout } = await check(CLEAR);
  expect(stdout).toMatch(/: note SG018: .*\n\/.*\/stubgate\.yaml: valid\n$/);
});

it('tells programs', async () => {
  const { stdout } = await check(CLEAR, '--json');
  expect(JSON.parse(stdout)).toMatchObject({
    valid: true,
    warnings: [],
    notes: [{ code: 'SG018', level: 'note', line: 3, fix: 'leave out http if the host speaks https' }],
  });
});

interface Log {
  version: string;
  runs: {
    tool: { driver: { rules: { id: string }[] } };
    results: { ruleId: string; ruleIndex: number; level: string; message: object; locations: object[] }[];
  }[];
}

/** What SARIF 2.1.0 (OASIS, 23 March 2020) requires of what is written here. */
function expectSarif(log: Log): void {
  expect(Object.keys(log)).toEqual(['$schema', 'version', 'runs']);
  expect(log.version).toBe('2.1.0');
  const rules = log.runs[0]?.tool.driver.rules ?? [];
  expect(rules.map(({ id }) => id)).toEqual(['SG000', ...Object.keys(CODES)]);
  for (const { ruleId, ruleIndex, level, message, locations } of log.runs[0]?.results ?? []) {
    expect(rules[ruleIndex]?.id).toBe(ruleId);
    expect(['none', 'note', 'warning', 'error']).toContain(level);
    expect(message).toEqual({ text: expect.any(String) as string });
    const region = { startLine: expect.any(Number) as number, startColumn: expect.any(Number) as number };
    const artifactLocation = { uri: 'stubgate.yaml' };
    expect(locations).toEqual([{ physicalLocation: { artifactLocation, region } }]);
  }
}

it.each([
  ['findings', WIDE, ['SG015']],
  ['errors', 'version: 2\nrule: x\n', ['SG000', 'SG000']],
])('writes SARIF for %s', async (_, text, codes) => {
  const { stdout } = await check(text, '--format', 'sarif');
  const log = JSON.parse(stdout) as Log;
  expectSarif(log);
  expect(log.runs[0]?.results.map(({ ruleId }) => ruleId)).toEqual(codes);
});
