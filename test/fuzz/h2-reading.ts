import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../support/h2-frames.ts';
import { type Field, Table } from './hpack.ts';

export const PRIORITY = 2;
export const PUSH_PROMISE = 5;
export const PADDED = 8;
export const HAS_PRIORITY = 32;
const MAX_FRAME = 16_384;
/** Of a peer that was told to keep no more; what is read is what was allowed. */
const TABLE = 65_536;

/** One direction of one stream. */
export interface StreamReading {
  readonly id: number;
  /** Each block of fields, in order. */
  readonly blocks: (readonly Field[])[];
  body: Buffer;
  /** What comes behind its end is not kept. */
  isEnded: boolean;
}

/**
 * What one direction of a connection says, read frame by frame from the text of RFC 9113, sections 4 and 6, and of
 * nothing else: it says what stands there, not whether it may.
 */
export class H2Reading {
  readonly streams = new Map<number, StreamReading>();
  /** Last stream and code of each GOAWAY. */
  readonly goaways: (readonly [last: number, code: number])[] = [];
  /** Stream → code of its first RST_STREAM, whoever began it. */
  readonly resets = new Map<number, number>();
  /** Why nothing more can be read. */
  broken: string | undefined;
  /** Called with each SETTINGS, and each PING, that waits for its answer. */
  onAsk: ((type: number, payload: Buffer) => void) | undefined;
  /** The highest stream that HEADERS were for, whatever became of them. */
  highest = 0;
  readonly #table: Table;
  #held = Buffer.alloc(0);
  /** Fields that go on in CONTINUATION. */
  #open: { readonly id: number; readonly isEnd: boolean; block: Buffer } | undefined;

  constructor(table = TABLE) {
    this.#table = new Table(table);
  }

  /** It ends between two frames, and within no block. */
  get isAligned(): boolean {
    return this.broken === undefined && this.#held.length === 0 && this.#open === undefined;
  }

  /** The body of a stream with what is there of a DATA frame that is cut. */
  bodySoFar(id: number): Buffer {
    const held = this.#held;
    const body = this.streams.get(id)?.body ?? Buffer.alloc(0);
    if (held.length < 9 || held[3] !== DATA || (held.readUInt32BE(5) & 0x7fffffff) !== id) return body;
    const isPadded = ((held[4] as number) & PADDED) !== 0;
    const end = 9 + held.readUIntBE(0, 3) - (isPadded ? (held[9] ?? 0) : 0);
    return Buffer.concat([body, held.subarray(isPadded ? 10 : 9, Math.max(10, end))]);
  }

  push(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.broken === undefined && this.#held.length >= 9) {
      const length = this.#held.readUIntBE(0, 3);
      // A frame that nghttp2 takes however long it is.
      const isLong = length > MAX_FRAME && this.#held[3] !== CONTINUATION;
      if (!isLong && this.#held.length < 9 + length) return;
      try {
        if (isLong) throw new Error('a frame that is too long');
        this.#frame(this.#held.subarray(0, 9), this.#held.subarray(9, 9 + length));
      } catch (error) {
        this.broken = (error as Error).message;
      }
      this.#held = this.#held.subarray(9 + length);
    }
  }

  #frame(head: Buffer, payload: Buffer): void {
    const [type = 0, flags = 0] = [head[3], head[4]];
    const id = head.readUInt32BE(5) & 0x7fffffff;
    if (this.#open && (type !== CONTINUATION || id !== this.#open.id))
      throw new Error('a frame within a block');
    switch (type) {
      case DATA:
        return this.#data(id, flags, unpadded(payload, flags));
      case HEADERS:
        return this.#headers(id, flags, unpadded(payload, flags));
      case CONTINUATION:
        return this.#continuation(flags, payload);
      case RST_STREAM:
        requireLength(payload, 4);
        if (!this.resets.has(id)) this.resets.set(id, payload.readUInt32BE(0));
        return;
      case SETTINGS:
        if (id !== 0 || payload.length % 6 !== 0) throw new Error('SETTINGS that are none');
        if ((flags & ACK) === 0) this.onAsk?.(SETTINGS, payload);
        return;
      case PING:
        requireLength(payload, 8);
        if ((flags & ACK) === 0) this.onAsk?.(PING, payload);
        return;
      case GOAWAY:
        if (id !== 0 || payload.length < 8) throw new Error('a GOAWAY that is none');
        this.goaways.push([payload.readUInt32BE(0) & 0x7fffffff, payload.readUInt32BE(4)]);
        return;
      case WINDOW_UPDATE:
        return requireLength(payload, 4);
      case PUSH_PROMISE:
        throw new Error('a promise');
      default:
    }
  }

  #known(id: number): StreamReading {
    const known = this.streams.get(id);
    if (!known || id === 0) throw new Error(`stream ${id}, which nobody began`);
    return known;
  }

  #data(id: number, flags: number, payload: Buffer): void {
    const stream = this.#known(id);
    if (stream.isEnded) return;
    stream.body = Buffer.concat([stream.body, payload]);
    if (flags & END_STREAM) stream.isEnded = true;
  }

  #headers(id: number, flags: number, payload: Buffer): void {
    if (id === 0) throw new Error('HEADERS of no stream');
    this.highest = Math.max(this.highest, id);
    const block = flags & HAS_PRIORITY ? payload.subarray(5) : payload;
    if (flags & HAS_PRIORITY && payload.length < 5) throw new Error('a priority that is cut');
    this.#open = { id, isEnd: (flags & END_STREAM) !== 0, block };
    if (flags & END_HEADERS) this.#close();
  }

  #continuation(flags: number, payload: Buffer): void {
    if (!this.#open) throw new Error('CONTINUATION of nothing');
    this.#open.block = Buffer.concat([this.#open.block, payload]);
    if (flags & END_HEADERS) this.#close();
  }

  #close(): void {
    const { id, isEnd, block } = this.#open as { id: number; isEnd: boolean; block: Buffer };
    this.#open = undefined;
    const fields = this.#table.read(block);
    const known = this.streams.get(id);
    const stream = known ?? {
      id,
      blocks: [],
      body: Buffer.alloc(0),
      isEnded: false,
    };
    if (stream.isEnded) return;
    stream.blocks.push(fields);
    stream.isEnded ||= isEnd;
    this.streams.set(id, stream);
  }
}

function requireLength(payload: Buffer, length: number): void {
  if (payload.length !== length) throw new Error(`a frame of ${payload.length} bytes instead of ${length}`);
}

function unpadded(payload: Buffer, flags: number): Buffer {
  if ((flags & PADDED) === 0) return payload;
  const padding = payload[0];
  if (padding === undefined || padding >= payload.length) throw new Error('more padding than payload');
  return payload.subarray(1, payload.length - padding);
}

export interface Message {
  readonly pseudo: ReadonlyMap<string, string>;
  /** Without pseudo-header fields. */
  readonly fields: readonly Field[];
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
/** RFC 9113, section 8.2.1, and what of latin1 RFC 9110, section 5.5 lets stand. */
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;
/** RFC 3986, section 3.2. */
const HOST = /^[0-9A-Za-z._~!$&'()*+,;=:@%[\]-]*$/;
const OF_CONNECTION = ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'];

/**
 * What a block of fields says (RFC 9113, sections 8.2 and 8.3); undefined: it is malformed. `known`: the pseudo-header
 * fields that must be there, once each. A field with characters that none may have is left out, as nghttp2 does.
 */
export function messageOf(block: readonly Field[], known: readonly string[]): Message | undefined {
  const pseudo = new Map<string, string>();
  const fields: Field[] = [];
  let isBehind = false;
  for (const [name, value] of block) {
    if (name.startsWith(':')) {
      if (!known.includes(name) || pseudo.has(name) || isBehind) return undefined;
      pseudo.set(name, value);
      continue;
    }
    isBehind = true;
    const isToken = TOKEN.test(name.toLowerCase());
    if ((isToken && /[A-Z]/.test(name)) || OF_CONNECTION.includes(name)) return undefined;
    if (name === 'te' && value.toLowerCase() !== 'trailers') return undefined;
    if (isToken && (name === 'host' ? HOST : VALUE).test(value)) fields.push([name, value]);
  }
  return known.every(name => pseudo.has(name)) ? { pseudo, fields } : undefined;
}
