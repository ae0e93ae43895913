import { describe, expect, test } from 'vitest';
import { figure, layOut, median, ratio, type Row, ratioTable } from '../../bench/report.ts';

const row = (key: string, values: Row['values']): Row => ({ key, label: key, better: 'higher', values });

describe('median', () => {
  test.each([
    [[3], 3],
    [[9, 1, 5], 5],
    [[4, 1, 3, 2], 2.5],
    [[], Number.NaN],
  ])('of %j is %d', (series, expected) => {
    expect(median(series)).toBe(expected);
  });

  test('is no number when a round was invalid, so that the gap is seen', () => {
    expect(median([Number.NaN, 1, 3])).toBeNaN();
  });
});

describe('ratio', () => {
  test('pairs the rounds: a slow minute that hits both peers leaves it as it is', () => {
    expect(
      ratio(row('rps16', { stubgate: [200, 20, 300], squid: [100, 10, 150] }), 'stubgate', 'squid'),
    ).toBe(2);
  });

  test('is no number without the other peer', () => {
    expect(ratio(row('rps16', { stubgate: [200] }), 'stubgate', 'squid')).toBeNaN();
  });
});

test('shows a figure with the digits that mean something, and a dash for none', () => {
  expect([12_345.6, 123.4, 12.34, 1.234, Number.NaN].map(figure)).toEqual([
    '12,346',
    '123',
    '12.3',
    '1.23',
    '–',
  ]);
});

test('lays out columns, the first to the left', () => {
  expect(
    layOut([
      ['a', '1'],
      ['long', '22'],
    ]),
  ).toBe('a      1\nlong  22');
});

test('the table has a column for each peer, and the ratio of the gate to each other one', () => {
  const table = ratioTable(
    [row('requests/s', { stubgate: [300], squid: [100] })],
    ['stubgate', 'squid'],
    'stubgate',
  );
  expect(table.split('\n').map(line => line.trim().split(/\s{2,}/))).toEqual([
    ['median of the rounds', 'stubgate', 'squid', '÷ squid'],
    ['requests/s', '↑', '300', '100', '3.00'],
  ]);
});
