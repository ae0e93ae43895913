import { isUtf8 } from 'node:buffer';
import { expect, test } from 'vitest';
import { Utf8 } from '../../../src/wire/websocket/utf8.ts';

/** Whether the pieces are taken, and to their end. */
function judge(pieces: readonly Buffer[]): boolean {
  const utf8 = new Utf8();
  return pieces.every(piece => utf8.push(piece)) && utf8.complete;
}

// Every first two bytes, and every edge of the third and fourth, against Node's own judgement of the whole.
test('every sequence is judged as a whole would be, byte by byte', () => {
  const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      for (const rest of [[], [0x80], [0xbf, 0x80], ...edges.map(edge => [0x80, edge]), [0x41, 0x41]]) {
        const text = Buffer.from([first, second, ...rest]);
        const bytewise = judge(Array.from(text, byte => Buffer.from([byte])));
        if (bytewise !== isUtf8(text)) expect.fail(`${text.toString('hex')}: ${bytewise}`);
      }
    }
  }
});

test('what cannot be completed is told at once', () => {
  for (const hex of ['c0', 'c1', 'f5', 'ff', '80', 'e09f', 'eda0', 'f08f', 'f490']) {
    expect(new Utf8().push(Buffer.from(hex, 'hex')), hex).toBe(false);
  }
});

test('what may be completed is not', () => {
  for (const hex of ['c2', 'df', 'e0', 'e0a0', 'ed9f', 'ef', 'f0', 'f090', 'f09080', 'f48f', 'f48fbf']) {
    const utf8 = new Utf8();
    expect([utf8.push(Buffer.from(hex, 'hex')), utf8.complete], hex).toEqual([true, false]);
  }
});
