import { Buffer } from 'node:buffer';
import { Names } from '../fields.ts';
import type { RawHeaders } from '../types.ts';
import { CR, HEX, LF } from './chars.ts';
import { fault, type Side, TrailerFault } from './fault.ts';
import { parseFields } from './fields.ts';

/** Hexadecimal digits of a chunk size: chunks below 4 GiB. */
const MAX_SIZE_DIGITS = 8;

/** Fields that a trailer may not hold: framing, routing, authentication, content format (RFC 9110, section 6.5.1). */
const NOT_IN_TRAILERS = new Names(
  'authorization',
  'cache-control',
  'connection',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'range',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
);

type State = 'size' | 'size-lf' | 'data' | 'data-cr' | 'data-lf' | 'trailers' | 'done';

export interface DataSink {
  data(chunk: Buffer): void;
}

/** Reader of one chunked body (RFC 9112, section 7.1), fed in any pieces. Chunk extensions are refused. */
export class ChunkedReader {
  trailers: RawHeaders = [];
  readonly #side: Side;
  readonly #limits: { readonly head: number; readonly headers: number };
  #state: State = 'size';
  #digits = 0;
  #left = 0;
  /** Of the CRLF CRLF that ends the trailer section, how many bytes stand at the end of what was read. */
  #endMatched = 0;
  #trailerText = '';

  constructor(side: Side, limits: { readonly head: number; readonly headers: number }) {
    this.#side = side;
    this.#limits = limits;
  }

  get done(): boolean {
    return this.#state === 'done';
  }

  /** Reads from `at`, gives chunk data to `out`, and returns the offset of the first byte that is not of this body. */
  read(bytes: Buffer, at: number, out: DataSink): number {
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') at = this.#data(bytes, at, out);
      else if (this.#state === 'trailers') at = this.#trailerSection(bytes, at);
      else this.#frame(bytes[at++] as number);
    }
    return at;
  }

  #data(bytes: Buffer, at: number, out: DataSink): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    if (this.#left === 0) this.#state = 'data-cr';
    out.data(bytes.subarray(at, end));
    return end;
  }

  /** One byte of a chunk's size line, or of the line end after its data. */
  #frame(byte: number): void {
    if (this.#state === 'size') return this.#size(byte);
    const expected = this.#state === 'data-cr' ? CR : LF;
    if (byte !== expected) throw fault(this.#side, 'A chunk that does not end with CRLF');
    if (this.#state === 'data-cr') this.#state = 'data-lf';
    else if (this.#state === 'data-lf') this.#state = 'size';
    else this.#startChunk();
  }

  #size(byte: number): void {
    const digit = HEX[byte] as number;
    if (digit < 16 && this.#digits < MAX_SIZE_DIGITS) {
      this.#left = this.#left * 16 + digit;
      this.#digits++;
    } else if (byte === CR && this.#digits > 0) {
      this.#state = 'size-lf';
    } else {
      throw fault(this.#side, 'A chunk size that is not 1 to 8 hexadecimal digits and CRLF');
    }
  }

  #startChunk(): void {
    this.#digits = 0;
    this.#state = this.#left > 0 ? 'data' : 'trailers';
    // The line end just read is the first half of the mark: no trailers leave only the empty line.
    this.#endMatched = 2;
  }

  #trailerSection(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length && this.#endMatched < 4) {
      const byte = bytes[at++];
      const isAfterCr = this.#endMatched % 2 === 1;
      if (isAfterCr !== (byte === LF)) throw fault(this.#side, 'A trailer line that does not end with CRLF');
      if (byte === CR || byte === LF) this.#endMatched++;
      else this.#endMatched = 0;
    }
    this.#trailerText += bytes.toString('latin1', from, at);
    if (this.#trailerText.length > this.#limits.head) throw fault(this.#side, 'The trailers are too large');
    if (this.#endMatched === 4) this.#finish();
    return at;
  }

  #finish(): void {
    this.#state = 'done';
    if (this.#trailerText.length === 2) return;
    const lines = this.#trailerText.slice(0, -2);
    ({ fields: this.trailers } = parseFields(
      Buffer.from(this.#trailerText, 'latin1'),
      lines,
      0,
      this.#limits.headers,
      this.#side,
    ));
    checkTrailers(this.trailers, this.#side);
  }
}

/** Throws TrailerFault for one that may only stand in the head. */
export function checkTrailers(trailers: RawHeaders, side: Side): void {
  for (let i = 0; i < trailers.length; i += 2) {
    if (NOT_IN_TRAILERS.has(trailers[i] as string))
      throw new TrailerFault(side, 'A trailer that may only stand in the head', trailers);
  }
}
