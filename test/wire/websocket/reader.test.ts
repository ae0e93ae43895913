import { describe, expect, test } from 'vitest';
import { MAX_MESSAGE } from '../../../src/wire/websocket/protocol.ts';
import type { Sender } from '../../../src/wire/websocket/reader.ts';
import { BINARY, CLOSE, close, frame, type FrameChoice, PING, PONG, TEXT } from '../../support/websocket.ts';
import { readFrames, text } from './readings.ts';

const KEY = Buffer.from('37fa213d', 'hex');
const CONTINUATION = 0;
const MORE: FrameChoice = { fin: false };
/** é, €, 😀: two, three and four bytes. */
const WIDE = Buffer.from('é€😀');
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');

/** The same frames as each side sends them. */
type Frames = (masked: FrameChoice) => Buffer[];
const both = (frames: Frames): [Sender, Buffer][] => [
  ['server', Buffer.concat(frames({}))],
  ['client', Buffer.concat(frames({ mask: KEY }))],
];

const GOOD: [name: string, frames: Frames, events: string[]][] = [
  ['an empty text', m => [frame(TEXT, '', m)], ['text ']],
  ['a text', m => [frame(TEXT, 'hello', m)], ['text hello']],
  ['a binary message', m => [frame(BINARY, bytes('ff00fe'), m)], ['binary \xff\x00\xfe']],
  ['125 bytes', m => [frame(BINARY, 'a'.repeat(125), m)], [`binary ${'a'.repeat(125)}`]],
  ['126 bytes', m => [frame(BINARY, 'a'.repeat(126), m)], [`binary ${'a'.repeat(126)}`]],
  ['wide characters', m => [frame(TEXT, WIDE, m)], [text('é€😀')]],
  [
    'a text in three frames, one of them empty',
    m => [
      frame(TEXT, 'he', { ...m, ...MORE }),
      frame(CONTINUATION, '', { ...m, ...MORE }),
      frame(CONTINUATION, 'llo', m),
    ],
    ['text hello'],
  ],
  [
    'a character over four frames',
    m => [
      frame(TEXT, bytes('f0'), { ...m, ...MORE }),
      frame(CONTINUATION, bytes('9f'), { ...m, ...MORE }),
      frame(CONTINUATION, bytes('98'), { ...m, ...MORE }),
      frame(CONTINUATION, bytes('80'), m),
    ],
    [text('😀')],
  ],
  [
    'control frames amid a message',
    m => [
      frame(BINARY, 'a', { ...m, ...MORE }),
      frame(PING, 'p', m),
      frame(PONG, 'q'.repeat(125), m),
      frame(CONTINUATION, 'b', m),
    ],
    ['ping p', `pong ${'q'.repeat(125)}`, 'binary ab'],
  ],
  ['one message after another', m => [frame(TEXT, 'a', m), frame(BINARY, 'b', m)], ['text a', 'binary b']],
  ['a Close without a code', m => [frame(CLOSE, '', m)], ['close ']],
  ['a Close with a code', m => [frame(CLOSE, close(1000), m)], ['close \x03\xe8']],
  ['a Close with a reason', m => [frame(CLOSE, close(4999, 'bye'), m)], ['close \x13\x87bye']],
  ['what follows a Close is dropped', m => [frame(CLOSE, '', m), frame(3, 'x', m)], ['close ']],
];

describe.each(GOOD)('%s', (_, frames, events) => {
  test.each(both(frames))('is read from a %s, however it is cut', (sender, input) => {
    const whole = { events, open: undefined, code: undefined, fault: undefined };
    expect(readFrames(sender, [input])).toEqual(whole);
    expect(
      readFrames(
        sender,
        Array.from(input, byte => Buffer.from([byte])),
      ),
    ).toEqual(whole);
    for (let at = 1; at < input.length; at++) {
      expect(readFrames(sender, [input.subarray(0, at), input.subarray(at)]), `cut at ${at}`).toEqual(whole);
    }
  });
});

test.each([65_535, 65_536, 200_000])('a message of %d bytes is read in any large pieces', length => {
  const payload = Buffer.alloc(length, 'abcdefg');
  for (const [sender, input] of both(m => [frame(BINARY, payload, m)])) {
    for (const size of [1000, 65_536, length + 20]) {
      const pieces = Array.from({ length: Math.ceil(input.length / size) }, (_, i) =>
        input.subarray(i * size, (i + 1) * size),
      );
      expect(readFrames(sender, pieces).events[0] === `binary ${payload.toString('latin1')}`).toBe(true);
    }
  }
});

const PROTOCOL = 1002;
const DATA = 1007;
const BIG = 1009;
const BAD: [name: string, frames: Frames, code: number, fault: string][] = [
  ...[1, 2, 4, 7].map((rsv): [string, Frames, number, string] => [
    `reserved bits ${rsv}`,
    m => [frame(TEXT, 'a', { ...m, rsv })],
    PROTOCOL,
    'A reserved bit without an extension',
  ]),
  [
    'compressed as nobody negotiated',
    m => [frame(TEXT, bytes('4a0400'), { ...m, rsv: 4 })],
    PROTOCOL,
    'A reserved bit without an extension',
  ],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, Frames, number, string] => [
    `opcode ${opcode}`,
    m => [frame(opcode, '', m)],
    PROTOCOL,
    'An unknown opcode',
  ]),
  ...[CLOSE, PING, PONG].map((opcode): [string, Frames, number, string] => [
    `a fragmented control frame ${opcode}`,
    m => [frame(opcode, '', { ...m, ...MORE })],
    PROTOCOL,
    'A fragmented control frame',
  ]),
  ['a ping of 126 bytes', m => [frame(PING, 'a'.repeat(126), m)], PROTOCOL, 'A long control frame'],
  [
    'a ping with a long length',
    m => [frame(PING, 'a', { ...m, lengthBytes: 3 })],
    PROTOCOL,
    'A long control frame',
  ],
  ['a continuation of nothing', m => [frame(CONTINUATION, 'a', m)], PROTOCOL, 'A continuation of no message'],
  [
    'a continuation behind a message',
    m => [frame(TEXT, 'a', m), frame(CONTINUATION, 'b', m)],
    PROTOCOL,
    'A continuation of no message',
  ],
  [
    'a message within a message',
    m => [frame(TEXT, 'a', { ...m, ...MORE }), frame(BINARY, 'b', m)],
    PROTOCOL,
    'A message within a message',
  ],
  [
    '5 bytes told in 16 bits',
    m => [frame(TEXT, 'hello', { ...m, lengthBytes: 3 })],
    PROTOCOL,
    'A length that is not written in the shortest way',
  ],
  [
    '125 bytes told in 16 bits',
    m => [frame(TEXT, 'a'.repeat(125), { ...m, lengthBytes: 3 })],
    PROTOCOL,
    'A length that is not written in the shortest way',
  ],
  [
    '5 bytes told in 64 bits',
    m => [frame(TEXT, 'hello', { ...m, lengthBytes: 9 })],
    PROTOCOL,
    'A length that is not written in the shortest way',
  ],
  [
    '65,535 bytes told in 64 bits',
    m => [frame(BINARY, '', { ...m, lengthBytes: 9, length: 65_535 })],
    PROTOCOL,
    'A length that is not written in the shortest way',
  ],
  [
    'a negative length',
    m => [frame(BINARY, '', { ...m, length: 2n ** 63n })],
    PROTOCOL,
    'A length with its highest bit set',
  ],
  [
    'a length beyond the bound',
    m => [frame(BINARY, '', { ...m, length: MAX_MESSAGE + 1 })],
    BIG,
    `A message of more than ${MAX_MESSAGE} bytes`,
  ],
  [
    'a length that no number holds',
    m => [frame(BINARY, '', { ...m, length: 2n ** 63n - 1n })],
    BIG,
    `A message of more than ${MAX_MESSAGE} bytes`,
  ],
  [
    'a message beyond the bound, frame by frame',
    m => [frame(BINARY, 'a', { ...m, ...MORE }), frame(CONTINUATION, '', { ...m, length: MAX_MESSAGE })],
    BIG,
    `A message of more than ${MAX_MESSAGE} bytes`,
  ],
  ['a Close with half a code', m => [frame(CLOSE, 'a', m)], PROTOCOL, 'A Close with half a code'],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map(
    (code): [string, Frames, number, string] => [
      `a Close with code ${code}`,
      m => [frame(CLOSE, close(code), m)],
      PROTOCOL,
      'A Close with a code that may not be sent',
    ],
  ),
  [
    'a Close with a reason that is not UTF-8',
    m => [frame(CLOSE, Buffer.concat([close(1000), bytes('c3')]), m)],
    DATA,
    'The reason of a Close is not UTF-8',
  ],
  ...[
    '80',
    'c080',
    'c1bf',
    'e08080',
    'eda080',
    'f0808080',
    'f4908080',
    'f5808080',
    'ff',
    'c328',
    'c3',
    'e282',
    'f09f98',
  ].map((hex): [string, Frames, number, string] => [
    `text ${hex}`,
    m => [frame(TEXT, bytes(`61${hex}`), m)],
    DATA,
    'A text that is not UTF-8',
  ]),
  [
    'a text whose last frame ends amid a character',
    m => [frame(TEXT, bytes('e2'), { ...m, ...MORE }), frame(CONTINUATION, bytes('82'), m)],
    DATA,
    'A text that is not UTF-8',
  ],
];

describe.each(BAD)('%s', (_, frames, code, fault) => {
  test.each(both(frames))('from a %s is refused, however it is cut', (sender, input) => {
    const before = readFrames(sender, [input]);
    expect(before).toMatchObject({ code, fault });
    for (let at = 1; at < input.length; at++) {
      const cut = readFrames(sender, [input.subarray(0, at), input.subarray(at)]);
      expect(cut, `cut at ${at}`).toMatchObject({ events: before.events, code, fault });
    }
  });
});

test('a client must mask, a server must not', () => {
  expect(readFrames('client', [frame(TEXT, 'a')])).toMatchObject({
    events: [],
    fault: 'A frame without a mask',
  });
  expect(readFrames('server', [frame(TEXT, 'a', { mask: KEY })])).toMatchObject({
    events: [],
    fault: 'A masked frame',
  });
});

test.each([
  ['a bad first byte', bytes('83'), 'An unknown opcode'],
  ['a bad second byte', bytes('8181'), 'A masked frame'],
])('%s is refused before anything follows it', (_, input, fault) => {
  expect(readFrames('server', [input])).toMatchObject({ fault });
});

test('a text is refused at the first byte that cannot be right, though its frame is not complete', () => {
  const start = frame(TEXT, bytes('61e28061'), { length: 100 });
  expect(readFrames('server', [start.subarray(0, -1)])).toMatchObject({ code: undefined });
  expect(readFrames('server', [start])).toMatchObject({ code: DATA });
  for (const hex of ['e080', 'eda0', 'f080', 'f490', 'c0', 'f8']) {
    expect(readFrames('server', [frame(TEXT, bytes(hex), { length: 100 })]), hex).toMatchObject({
      code: DATA,
    });
  }
});

test('a payload is delivered as it comes', () => {
  const input = frame(BINARY, 'abcdef');
  expect(readFrames('server', [input.subarray(0, 5)]).open?.toString()).toBe('abc');
});
