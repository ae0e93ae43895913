import { expect, test } from 'vitest';
import { header, maskedFrame } from '../../../src/wire/websocket/frames.ts';
import { BINARY, TEXT } from '../../../src/wire/websocket/protocol.ts';
import { readFrames } from './readings.ts';

test.each([
  [0, '8100'],
  [125, '817d'],
  [126, '817e007e'],
  [65_535, '817effff'],
  [65_536, '817f0000000000010000'],
])('the header of %d bytes is the shortest', (length, hex) => {
  expect(header(TEXT, true, length).toString('hex')).toBe(hex);
});

test('a fragment says that more follows', () => {
  expect(header(BINARY, false, 1).toString('hex')).toBe('0201');
});

test.each([0, 1, 3, 4, 5, 125, 126, 65_535, 65_536])('a masked frame of %d bytes is read again', length => {
  const payload = Buffer.alloc(length, 'abcdefghijk');
  const frame = maskedFrame(BINARY, true, payload);
  expect(readFrames('client', [frame]).events).toEqual([`binary ${payload.toString('latin1')}`]);
});

test('each frame is masked under a key of its own', () => {
  const keys = Array.from({ length: 3000 }, () =>
    maskedFrame(TEXT, true, Buffer.from('a')).toString('hex', 2, 6),
  );
  expect(new Set(keys).size).toBeGreaterThan(2990);
});

test('a payload is left as it is', () => {
  const payload = Buffer.from('keep');
  maskedFrame(TEXT, true, payload);
  expect(payload.toString()).toBe('keep');
});
