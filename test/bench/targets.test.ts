import { describe, expect, test } from 'vitest';
import type { Row } from '../../bench/report.ts';
import { targetLines, targets } from '../../bench/targets.ts';

const row = (key: string, values: Row['values']): Row => ({ key, label: key, better: 'higher', values });
const judged = (rows: readonly Row[]) =>
  targets(rows)
    .filter(({ met }) => met !== undefined)
    .map(({ text, measured, met }) => [text, measured, met]);

describe('targets', () => {
  test.each([
    ['rps16', { stubgate: [260], squid: [100] }, 'requests/s at 16 tunnels ≥ 2.6 × squid', 2.6, true],
    ['rps16', { stubgate: [259], squid: [100] }, 'requests/s at 16 tunnels ≥ 2.6 × squid', 2.59, false],
    ['cpu16', { stubgate: [170], nginx: [100] }, 'CPU per request at 16 tunnels ≤ 1.7 × nginx', 1.7, true],
    ['cpu16', { stubgate: [171], nginx: [100] }, 'CPU per request at 16 tunnels ≤ 1.7 × nginx', 1.71, false],
    ['stalled', { stubgate: [10] }, 'growth while a client does not read 1 GB ≤ 10 MB', 10, true],
    ['stalled', { stubgate: [10.1] }, 'growth while a client does not read 1 GB ≤ 10 MB', 10.1, false],
    [
      'rpsH2',
      { stubgate: [90], 'node-http2': [100] },
      'HTTP/2 requests/s, HTTP/1.1 upstream ≥ 0.9 × node-http2',
      0.9,
      true,
    ],
    ['scrub100', { stubgate: [0.9] }, 'scrub with 100 secrets ≥ 1 GB/s', 0.9, false],
  ])('%s %j: %s', (key, values, ...expected) => {
    expect(judged([row(key, values)])).toEqual([expected]);
  });

  test('what was not measured is neither met nor missed', () => {
    expect(judged([])).toEqual([]);
    expect(judged([row('rps16', { stubgate: [260] })])).toEqual([]);
  });

  test('an invalid round is neither', () => {
    expect(judged([row('stalled', { stubgate: [Number.NaN] })])).toEqual([]);
  });
});

test('the lines say met, missed, or not measured', () => {
  const text = targetLines([
    { text: 'a', measured: 1, met: true },
    { text: 'b', measured: 2, met: false },
    { text: 'c', measured: undefined, met: undefined },
  ]);
  expect(text).toBe('a  1.00           met\nb  2.00        MISSED\nc     –  not measured');
});
