import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEADERS,
  PING,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from '../support/h2-frames.ts';
import { HAS_PRIORITY, PADDED, PRIORITY, PUSH_PROMISE } from './h2-reading.ts';
import { type Field, integer, STATIC, string, Table } from './hpack.ts';
import type { Random } from './random.ts';

/** A connection as it is being made: what its end keeps of HPACK, and which streams it has begun. */
export class Making {
  readonly table = new Table();
  readonly random: Random;
  /** Streams that are begun and not ended. */
  readonly open: number[] = [];
  /** Of the next request. */
  nextId = 1;

  constructor(random: Random) {
    this.random = random;
  }

  /** A block that says `fields`, each in a way of its own; now and then, one that is broken. */
  block(fields: readonly Field[]): Buffer {
    const { random } = this;
    const parts: Buffer[] = [];
    if (random.chance(12)) parts.push(this.#resize());
    for (const field of fields) parts.push(this.#field(field));
    if (random.chance(60)) parts.push(this.#broken());
    return Buffer.concat(parts);
  }

  #resize(): Buffer {
    const size = this.random.pick([0, 40, 100, 4096, 4096, this.random.chance(8) ? 4097 : 0]);
    if (size <= 4096) this.table.resize(size);
    return integer(size, 5, 0x20);
  }

  #field([name, value]: Field): Buffer {
    const { random, table } = this;
    const whole = table.find(name, value);
    if (whole > 0 && !random.chance(3)) return integer(whole, 7, 0x80);
    const known = random.chance(3) ? 0 : table.find(name);
    const [prefix, flags] = random.pick([
      [4, 0],
      [4, 0x10],
      [6, 0x40],
      [6, 0x40],
    ] as const);
    const head = integer(known, prefix, flags);
    const parts = known > 0 ? [head] : [head, string(name, random.chance(2))];
    if (flags === 0x40) table.add([name, value]);
    return Buffer.concat([...parts, string(value, random.chance(2))]);
  }

  /** RFC 7541: an index that is none, a string that is longer than its block, a padding, EOS, a late size update. */
  #broken(): Buffer {
    const { random, table } = this;
    return random.pick([
      integer(0, 7, 0x80),
      integer(table.length + 1, 7, 0x80),
      integer(table.length, 7, 0x80),
      integer(2 ** 32, 7, 0x80),
      Buffer.from([0x80 | 127, 255, 255, 255, 255, 255, 255]),
      Buffer.concat([integer(table.length + 5, 4, 0), string('x', false)]),
      Buffer.from([0, 0x7f, 0xff, 0x0f, 0x61]),
      Buffer.from([0, 1, 0x78, 0x81, 0x00]),
      Buffer.from([0, 1, 0x78, 0x84, 0xff, 0xff, 0xff, 0xff]),
      integer(100, 5, 0x20),
      Buffer.from([0]),
    ]);
  }

  /** HEADERS, with CONTINUATION if it cuts the block, padding and priority if it likes. */
  headers(id: number, fields: readonly Field[], isEnd: boolean): Buffer[] {
    const { random } = this;
    const pieces = random.chance(4) ? random.split(this.block(fields), 3) : [this.block(fields)];
    if (pieces.length === 0) pieces.push(Buffer.alloc(0));
    const frames = pieces.map((piece, n) => {
      const isLast = n === pieces.length - 1 && !random.chance(150);
      let flags = isLast ? END_HEADERS : 0;
      if (n > 0) return frame(CONTINUATION, flags, id, piece);
      let payload = piece;
      if (isEnd) flags |= END_STREAM;
      if (random.chance(8)) {
        flags |= HAS_PRIORITY;
        const on = random.chance(10) ? id : random.pick([0, 1, 3]);
        payload = Buffer.concat([u32(on), Buffer.of(random.below(256)), payload]);
      }
      if (random.chance(8)) {
        flags |= PADDED;
        payload = padded(payload, random);
      }
      return frame(HEADERS, flags, id, payload);
    });
    if (random.chance(100))
      frames.splice(1, 0, random.pick([frame(PING, 0, 0, Buffer.alloc(8)), frame(DATA, 0, id)]));
    if (!isEnd) this.open.push(id);
    return frames;
  }

  data(id: number, bytes: Buffer, isEnd: boolean): Buffer {
    const { random } = this;
    const flags = isEnd ? END_STREAM : 0;
    if (isEnd && this.open.includes(id)) this.open.splice(this.open.indexOf(id), 1);
    if (!random.chance(6)) return frame(DATA, flags, id, bytes);
    return frame(DATA, flags | PADDED, id, padded(bytes, random));
  }

  /** A frame that belongs to no message; most are right, and harmless. */
  other(ids: readonly number[]): Buffer {
    const { random } = this;
    const id = random.chance(3) ? 0 : random.pick(ids);
    const isWrong = random.chance(12);
    const stray = (): number => random.pick([0, 2, id, this.nextId, this.nextId + 4]);
    switch (random.below(9)) {
      case 0:
        return frame(PING, random.below(2), isWrong ? id : 0, Buffer.alloc(isWrong ? random.below(9) : 8));
      case 1:
        return frame(SETTINGS, isWrong ? ACK : 0, isWrong ? id : 0, settings(random, isWrong));
      case 2:
        return frame(
          WINDOW_UPDATE,
          0,
          isWrong ? stray() : id,
          u32(random.pick([1, 1000, 65_535, isWrong ? 0 : 7])),
        );
      case 3:
        return frame(
          PRIORITY,
          0,
          isWrong ? stray() : random.pick(ids),
          Buffer.alloc(isWrong ? random.below(7) : 5),
        );
      case 4:
        return frame(RST_STREAM, 0, isWrong ? stray() : random.pick(ids), u32(random.pick([0, 1, 5, 8, 99])));
      case 5:
        return random.chance(8)
          ? frame(
              GOAWAY,
              0,
              isWrong ? id : 0,
              Buffer.concat([u32(random.pick([0, 1])), u32(random.below(14))]),
            )
          : Buffer.alloc(0);
      case 6:
        return frame(10 + random.below(240), random.below(256), id, Buffer.from('whatever'));
      case 7:
        return isWrong ? frame(DATA, random.below(2), stray(), Buffer.from('x')) : Buffer.alloc(0);
      default:
        return isWrong
          ? frame(random.pick([CONTINUATION, PUSH_PROMISE]), END_HEADERS, stray(), Buffer.from([0x82]))
          : Buffer.alloc(0);
    }
  }
}

function padded(payload: Buffer, random: Random): Buffer {
  const length = random.below(9);
  const said = random.chance(20) ? payload.length + length + random.below(3) : length;
  return Buffer.concat([Buffer.of(said & 255), payload, Buffer.alloc(length)]);
}

function settings(random: Random, isWrong: boolean): Buffer {
  const one = (id: number, value: number): Buffer => Buffer.concat([Buffer.from([0, id]), u32(value)]);
  const right = [
    one(1, 0),
    one(1, 4096),
    one(3, 100),
    one(4, 65_535),
    one(4, 1_000_000),
    one(5, 20_000),
    one(6, 70_000),
    one(99, 1),
  ];
  const wrong = [one(2, 2), one(4, 2 ** 31), one(5, 1), one(8, 2), Buffer.from([0])];
  return Buffer.concat(
    Array.from({ length: random.below(4) }, () => random.pick(isWrong ? [...right, ...wrong] : right)),
  );
}

/** Leaves most of it whole. */
export function damaged(bytes: Buffer, random: Random): Buffer {
  if (!random.chance(5) || bytes.length === 0) return bytes;
  const copy = Buffer.from(bytes);
  for (let n = 1 + random.below(2); n > 0; n--) {
    const at = random.below(copy.length);
    copy[at] = random.chance(2) ? (copy[at] as number) ^ (1 << random.below(8)) : random.below(256);
  }
  return random.chance(6) ? copy.subarray(0, random.below(copy.length + 1)) : copy;
}

const STRANGE_NAMES = ['X-Upper', 'x y', 'x:y', '', 'x\r\ny', 'x\0', ':x', ':status', 'é', 'x\x7f'];
const STRANGE_VALUES = [
  'a\r\nx-b: c',
  'a\nb',
  'a\rb',
  'a\0b',
  ' a',
  'a\t',
  '\x01',
  '\x7f',
  'é',
  'a\r\n\r\nGET /smuggled HTTP/1.1\r\n',
];
const ORDINARY: readonly Field[] = [
  ['accept', '*/*'],
  ['user-agent', 'fuzz/1'],
  ['x-a', ''],
  ['x-b', 'v, w'],
  ['x-a', 'again'],
  ['1', 'a number'],
  ['__proto__', 'x'],
  ['constructor', 'y'],
  ['cookie', 'a=1'],
  ['cookie', 'b=2; c=3'],
  ['content-type', 'text/plain'],
  ['te', 'trailers'],
  ['range', 'bytes=0-1'],
  ['x-long', 'l'.repeat(300)],
  ['priority', 'u=1'],
];
const DOUBTFUL: readonly Field[] = [
  ['connection', 'close'],
  ['connection', 'x-a'],
  ['keep-alive', 'timeout=5'],
  ['proxy-connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'websocket'],
  ['http2-settings', 'AAMAAABk'],
  ['te', 'gzip'],
  ['te', 'trailers, deflate'],
  ['expect', '100-continue'],
  ['expect', 'x'],
  ['trailer', 'x-t'],
  ['content-length', '-1'],
  ['content-length', '1, 1'],
  ['content-length', '00'],
  ['host', 'other.test'],
  ['x-huge', 'h'.repeat(40_000)],
  ['proxy-authorization', 'Basic x'],
  ['authorization', 'Bearer foreign'],
];

/** The fields of a message behind its pseudo-header fields. */
export function fieldsOf(random: Random, more: readonly Field[]): Field[] {
  const fields: Field[] = Array.from({ length: random.below(6) }, () => random.pick([...ORDINARY, ...more]));
  if (random.chance(6)) fields.push(random.pick(DOUBTFUL));
  if (random.chance(10)) fields.push([random.pick(STRANGE_NAMES), 'v']);
  if (random.chance(10)) fields.push(['x-strange', random.pick(STRANGE_VALUES)]);
  if (random.chance(40)) fields.push(random.pick(STATIC));
  return fields;
}

/** Pseudo-header fields as they should be, and now and then as they should not. */
export function pseudoOf(random: Random, right: readonly Field[], doubtful: readonly Field[]): Field[] {
  const fields = [...right];
  if (random.chance(12)) fields.splice(random.below(fields.length + 1), 1);
  if (random.chance(12))
    fields.splice(random.below(fields.length + 1), 0, random.pick([...right, ...doubtful]));
  if (random.chance(8)) {
    const other = random.pick(doubtful);
    const at = fields.findIndex(([name]) => name === other[0]);
    if (at >= 0) fields[at] = other;
  }
  return fields;
}
