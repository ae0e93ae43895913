import { expect, test } from 'vitest';
import { Patterns } from '../../src/scrub/patterns.ts';
import { Scrubber } from '../../src/scrub/scrubber.ts';
import { Seeker } from '../../src/scrub/seeker.ts';
import { Secret } from '../../src/secret.ts';
import type { Sink } from '../../src/types.ts';

const SECRET = 'ghp_Zk3vQ9xT7mB2nL5pR8sW1yD4';
const patterns = new Patterns([new Secret('s', SECRET), new Secret('t', 'sk-0f9e8d7c6b5a49382716')]);

function scrubbed(text: string, cut: number): string {
  const out: Buffer[] = [];
  const sink: Sink = {
    write: chunk => (out.push(chunk), true),
    end: () => undefined,
    abort: () => undefined,
    onDrain: null,
  };
  const stage = new Scrubber(patterns, () => 'STUB').body(sink);
  const bytes = Buffer.from(text, 'latin1');
  stage.write(bytes.subarray(0, cut));
  stage.write(bytes.subarray(cut));
  stage.end([]);
  return Buffer.concat(out).toString('latin1');
}

const unicode = SECRET.replaceAll(/./g, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
const percent = SECRET.replaceAll(/./g, c => `%${c.charCodeAt(0).toString(16)}`);

/** What nothing is found in, in which the search for a run is soon over, or given up, or neither. */
const FILLS = [
  '\x80',
  'word ',
  'a"',
  '\\"',
  '\\\\"',
  '\\n"',
  '%20 ',
  '%zz"',
  '&quot;',
  '&amp;"',
  'Aa0~'.repeat(9) + '"',
];

test.each<[string, string]>([
  ['plain', SECRET],
  ['in \\u', unicode],
  ['in percent', percent],
  ['in percent, of \\u', unicode.replaceAll('\\', '%5c')],
  ['in \\u of percent', percent.replaceAll('%', '\\u0025')],
  ['in hex', Buffer.from(SECRET).toString('hex')],
])('a secret %s is found behind any text, however far the search for a run got', (_, spelled) => {
  const missed: string[] = [];
  for (const fill of FILLS) {
    for (const count of [0, 1, 120, 700]) {
      for (let pad = 0; pad < 36; pad++) {
        const before = fill.repeat(count) + ' '.repeat(pad % 6) + '"'.repeat(Math.floor(pad / 6));
        const text = `${before}${spelled}" and more`;
        const cut = before.length + ((pad * 7) % spelled.length);
        const clean = scrubbed(text, cut);
        if (clean.includes(spelled) || !clean.startsWith(before) || !clean.endsWith('" and more'))
          missed.push(`${count} × ${fill}, ${pad}`);
      }
    }
  }
  expect(missed).toEqual([]);
});

test('a secret is found in the very window in which the search for a run is given up', () => {
  const missed: string[] = [];
  for (let width = 5; width < 15; width++) {
    for (let count = 0; count < 250; count++) {
      const before = `"${'a'.repeat(width)}`.repeat(count);
      if (scrubbed(`${before}"${SECRET}"`, 0) !== `${before}"STUB"`) missed.push(`${count} × ${width}`);
    }
  }
  expect(missed).toEqual([]);
});

test('what stands in memory behind the end of a view is not searched', () => {
  const searched: number[] = [];
  const text = Buffer.from('%41bc'.padEnd(1024, 'd'));
  text.indexOf = (_value, from) => (searched.push(Number(from)), -1);
  const seeker = new Seeker(new Uint8Array(256).fill(1), 3).over(text, 0, 5, true, false);
  expect([seeker.next(0), seeker.next(5), searched]).toEqual([0, 5, []]);
});
