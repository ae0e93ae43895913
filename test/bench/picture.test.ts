import { expect, test } from 'vitest';
import { picture } from '../../bench/picture.ts';
import type { Row } from '../../bench/report.ts';

const rows: readonly Row[] = [
  {
    key: 'rps16',
    label: 'requests/s',
    better: 'higher',
    values: { stubgate: [300], nginx: [600], squid: [150] },
  },
  { key: 'cpu16', label: 'CPU', better: 'lower', values: { stubgate: [10], squid: [70] } },
  { key: 'names', label: 'names', better: 'higher', values: { stubgate: [10] } },
];
const svg = picture(rows, ['nginx'], 'a <machine> & "more"');

test('the picture has a bar for each peer, as long as its value is to that of the gate', () => {
  const bars = [...svg.matchAll(/<rect class="(\w+)"[^>]* width="([\d.]+)"/g)].map(([, kind, width]) => [
    kind,
    Number(width),
  ]);
  expect(bars).toEqual([
    ['gate', 95],
    ['limit', 190],
    ['intercepts', 47.5],
    ['gate', 95],
    ['intercepts', 190],
  ]);
  expect([...svg.matchAll(/>([\d.]+ ×[^<]*)</g)].map(([, text]) => text)).toEqual([
    '1.00 ×  (300)',
    '2.00 ×  (600)',
    '0.50 ×  (150)',
    '1.00 ×  (10.0)',
    '7.00 × »  (70.0)',
  ]);
});

test('a work in which only the gate was measured is left out', () => {
  expect(svg).not.toContain('New host names');
});

test('text is escaped, and nothing is loaded from elsewhere', () => {
  expect(svg).toContain('a &lt;machine&gt; &amp; &quot;more&quot;');
  expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/https?:|url\(|@import|<script/);
});

test('it has colours for a dark page', () => {
  expect(svg).toContain('@media (prefers-color-scheme: dark)');
});

test('without any row it is still a picture', () => {
  expect(picture([], [], '')).toMatch(/^<svg [^]*<\/svg>\n$/);
});
