import { describe, expect, test } from 'vitest';
import { type Committed, ratiosOf, warnings } from '../../bench/compare.ts';
import type { Row } from '../../bench/report.ts';

const row = (better: Row['better'], values: Row['values']): Row => ({
  key: 'row',
  label: 'what',
  better,
  values,
});
const machine = { cores: 2, cpu: 'a CPU', memory_gb: 4, kernel: '6', node: 'v26.0.0', load: 0 };
const committed = (median: number, low: number, high: number): Committed => ({
  machine,
  versions: {},
  ratios: { row: { squid: { median, low, high } } },
});

describe('the ratios that are kept', () => {
  test('are of the gate to each peer: median, lowest and highest round', () => {
    const rows = [row('higher', { stubgate: [200, 330, 300], squid: [100, 110, 200], nginx: [400, 440] })];
    expect(ratiosOf(rows)).toEqual({
      row: { squid: { median: 2, low: 1.5, high: 3 }, nginx: { median: 0.625, low: 0.5, high: 0.75 } },
    });
  });

  test('leave out what has no peer, no gate, or an invalid round', () => {
    expect(
      ratiosOf([
        row('higher', { stubgate: [1] }),
        row('higher', { squid: [1], nginx: [1] }),
        row('higher', { stubgate: [1, Number.NaN], squid: [1, 1] }),
      ]),
    ).toEqual({});
  });
});

describe('a warning', () => {
  test.each([
    ['higher', 1.8, []],
    ['higher', 1.7, ['what: 1.70 × squid, was 2.00 to 2.10']],
    ['higher', 9, []],
    ['lower', 2.4, []],
    ['lower', 2.5, ['what: 2.50 × squid, was 2.00 to 2.10']],
    ['lower', 0.1, []],
  ] as const)('if %s is better and the ratio is now %d: %j', (better, now, expected) => {
    const rows = [row(better, { stubgate: [now * 100], squid: [100] })];
    expect(warnings(committed(2.05, 2, 2.1), rows)).toEqual(expected);
  });

  test('is not given within what the committed rounds lay apart', () => {
    const rows = [row('higher', { stubgate: [110], squid: [100] })];
    expect(warnings(committed(2, 1.5, 2.5), rows)).toEqual([]);
    expect(warnings(committed(2, 1.5, 1.6), rows)).toHaveLength(1);
  });

  test('is not given for a row or a peer that was not there', () => {
    expect(
      warnings({ machine, versions: {}, ratios: {} }, [row('higher', { stubgate: [1], squid: [9] })]),
    ).toEqual([]);
  });
});
