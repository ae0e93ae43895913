import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { Ledger } from './ledger.ts';
import { Memory, slope } from './memory.ts';
import { Findings, Windows } from './windows.ts';
import { tempFolder } from '../support/temp.ts';

// What the soak would find must be found: a check that is blind passes for ever.

vi.spyOn(console, 'log').mockImplementation(() => {});
afterEach(() => vi.useRealTimers());

const asked = (id: string): string => `{"host":"one.soak.test","method":"GET","path":"/s/alpha/${id}"}\n`;

it.each<[string, (write: (line: string) => void, ids: readonly [string, string]) => void, RegExp]>([
  ['is missing', (write, [one]) => write(asked(one)), /^an answered request without audit line/],
  [
    'stands twice',
    (write, [one, two]) => [one, two, one].forEach(id => write(asked(id))),
    /^a second audit line/,
  ],
  [
    'tells of a request that nobody sent',
    (write, [one, two]) => [one, two, '77'].forEach(id => write(asked(id))),
    /was not sent/,
  ],
  [
    'tells of a CONNECT that was not refused',
    (write, [one, two]) => {
      write(asked(one) + asked(two));
      write('{"host":"one.soak.test","method":"CONNECT","path":null,"reason":"no_rule"}\n');
    },
    /^refused CONNECTs/,
  ],
])('finds a line of the audit that %s', async (_, act, wanted) => {
  const findings = new Findings();
  const dir = tempFolder('ledger');
  const file = join(dir, 'audit.jsonl');
  const ledger = new Ledger(dir, findings);
  const ids = [ledger.begin(), ledger.begin()] as const;
  for (const id of ids) ledger.answered(id);
  act(line => appendFileSync(file, line), ids);
  await ledger.end();
  // These lines are no chain, which is found as well.
  const others = findings.lines().filter(line => !line.startsWith('the audit does not verify'));
  expect(others).toEqual([expect.stringMatching(wanted)]);
});

it('excuses an error by a fault that explains it, in its time only', () => {
  vi.useFakeTimers({ now: 1000 });
  const windows = new Windows();
  const over = windows.begin('vault', 500);
  expect(windows.explains('credential_unavailable', 900)).toBe('vault');
  expect(windows.explains('internal_error', 900)).toBeUndefined();
  over();
  expect(windows.explains('credential_unavailable', 1500)).toBe('vault');
  expect(windows.explains('credential_unavailable', 1501)).toBeUndefined();
  vi.setSystemTime(1501);
  expect(windows.has('vault')).toBe(false);
});

it('finds an audit whose last line is cut, and one that is no chain', async () => {
  const findings = new Findings();
  const dir = tempFolder('ledger');
  const file = join(dir, 'audit.jsonl');
  const ledger = new Ledger(dir, findings);
  const id = ledger.begin();
  ledger.answered(id);
  appendFileSync(file, `${asked(id)}{"host":"one.so`);
  await ledger.end();
  expect(findings.lines()).toEqual([
    expect.stringMatching(/^the last audit line is cut/),
    expect.stringMatching(/^the audit does not verify/),
  ]);
});

it('finds a heap that grows by 2 MB a minute, resident memory that grows by 6, and none that goes up and down', () => {
  expect(slope([[0, 1], [1, 3], [2, 5]])).toBe(2); // biome-ignore format: points
  type Course = (minute: number) => number;
  const run = (heap: Course, rss: Course = () => 200): number => {
    const findings = new Findings();
    const memory = new Memory();
    for (let at = 0; at <= 20; at++) memory.add({ at, heap: heap(at) * 2 ** 20, rss: rss(at) * 2 ** 20 }, 1);
    memory.judge(findings, 100, 10);
    return findings.size;
  };
  expect(run(minute => 40 + 2 * minute)).toBe(1);
  expect(run(minute => 40 + 5 * (minute % 2))).toBe(0);
  const steady = (): number => 40;
  expect(run(steady, minute => 200 + 6 * minute)).toBe(1);
  expect(run(steady, minute => 200 + 40 * (minute % 2))).toBe(0);
});
