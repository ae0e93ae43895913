import type { TLSSocket } from 'node:tls';

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const CANCEL = 8;
export const ENHANCE_YOUR_CALM = 11;

const WAIT_MS = 10_000;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** One frame (RFC 9113, section 4.1). */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** A string literal without Huffman coding (RFC 7541, section 5.2). */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length: number[] = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

export type Pairs = readonly (readonly [string, string])[];

/** Fields as literals without indexing, new names (RFC 7541, section 6.2.2): whatever they hold. */
export const block = (fields: Pairs): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));

const MAX_FRAME = 16_384;

/** A request's HEADERS, with CONTINUATION if they are long, that end the stream or leave it open for DATA. */
export function headers(stream: number, fields: Pairs, isEnd = true): Buffer {
  const bytes = block(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += MAX_FRAME) {
    const isLast = at + MAX_FRAME >= bytes.length;
    const flags = (isLast ? END_HEADERS : 0) | (at === 0 && isEnd ? END_STREAM : 0);
    frames.push(frame(at === 0 ? HEADERS : CONTINUATION, flags, stream, bytes.subarray(at, at + MAX_FRAME)));
  }
  return Buffer.concat(frames);
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** What became of one stream, or of the connection. */
export interface Outcome {
  /** Payload of its DATA. */
  readonly data: string;
  /** Code of its RST_STREAM. */
  readonly rst: number | undefined;
  /** Code of a GOAWAY. */
  readonly goaway: number | undefined;
  readonly isEnded: boolean;
  /** The connection is closed. */
  readonly isClosed: boolean;
}

/** A client that sends what it is told to, and keeps every frame. */
export class FrameClient {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  #held = Buffer.alloc(0);
  #isClosed = false;
  #wake: (() => void) | undefined;

  constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#read(chunk);
      this.#wake?.();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake?.();
    });
    this.send(PREFACE, frame(SETTINGS, 0, 0));
  }

  send(...frames: readonly Buffer[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(frames));
  }

  /** Once the stream has ended, was reset, or the connection is over. */
  async outcome(stream: number): Promise<Outcome> {
    await this.until(() => {
      const now = this.#outcome(stream);
      return now.isEnded || now.rst !== undefined || now.isClosed;
    }, `the end of stream ${stream}`);
    return this.#outcome(stream);
  }

  /** Once the connection is closed. */
  async closed(): Promise<Outcome> {
    await this.until(() => this.#isClosed, 'the end of the connection');
    return this.#outcome(0);
  }

  async until(isDone: () => boolean, what: string): Promise<void> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#wake?.();
    }, WAIT_MS);
    while (!isDone()) {
      if (isLate) throw new Error(`waited for ${what}; received ${JSON.stringify(this.frames)}`);
      await new Promise<void>(resolve => (this.#wake = resolve));
    }
    clearTimeout(timer);
  }

  of(type: number, stream: number): Frame[] {
    return this.frames.filter(one => one.type === type && one.stream === stream);
  }

  #outcome(stream: number): Outcome {
    const data = Buffer.concat(this.of(DATA, stream).map(({ payload }) => payload)).toString('latin1');
    const ends = [...this.of(DATA, stream), ...this.of(HEADERS, stream)];
    return {
      data,
      rst: this.of(RST_STREAM, stream)[0]?.payload.readUInt32BE(0),
      goaway: this.of(GOAWAY, 0).at(-1)?.payload.readUInt32BE(4),
      isEnded: ends.some(({ flags }) => (flags & END_STREAM) !== 0),
      isClosed: this.#isClosed,
    };
  }

  #read(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= 9) {
      const length = this.#held.readUIntBE(0, 3);
      if (this.#held.length < 9 + length) return;
      const [type = 0, flags = 0] = [this.#held[3], this.#held[4]];
      const stream = this.#held.readUInt32BE(5);
      this.frames.push({ type, flags, stream, payload: Buffer.from(this.#held.subarray(9, 9 + length)) });
      this.#held = this.#held.subarray(9 + length);
      if (type === SETTINGS && (flags & ACK) === 0) this.send(frame(SETTINGS, ACK, 0));
    }
  }
}
