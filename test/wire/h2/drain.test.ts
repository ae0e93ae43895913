import { EventEmitter } from 'node:events';
import type { Http2Stream } from 'node:http2';
import { expect, test } from 'vitest';
import { writeTo } from '../../../src/wire/h2/drain.ts';

test('whoever writes on while a stream is full is told once that it drained, each time it was full', () => {
  const stream = Object.assign(new EventEmitter(), { write: () => false });
  let told = 0;
  const writer = { onDrain: () => void told++ };
  for (let full = 1; full <= 3; full++) {
    for (let i = 0; i < 20; i++)
      expect(writeTo(stream as unknown as Http2Stream, Buffer.alloc(1), writer)).toBe(false);
    stream.emit('drain');
    stream.emit('drain');
    expect(told).toBe(full);
  }
});
