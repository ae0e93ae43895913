import { Buffer } from 'node:buffer';
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
} from 'node:zlib';
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import type { Transform } from 'node:stream';
import type { RawHeaders, Sink } from '../types.ts';

/** A content coding (RFC 9110, section 8.4.1; RFC 7932; RFC 8878) that can be read. */
export type Coding = 'gzip' | 'deflate' | 'br' | 'zstd';

const CODINGS: ReadonlyMap<string, Coding> = new Map([
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['deflate', 'deflate'],
  ['br', 'br'],
  ['zstd', 'zstd'],
]);
const MAX_STACKED = 3;
/** Output that is decoded at a time, in bytes. */
const CHUNK = 32 * 1024;
const STRICT = { rejectGarbageAfterEnd: true, chunkSize: CHUNK };
/** RFC 9659, section 3: no window above 8 MB. */
const ZSTD = { ...STRICT, params: { [constants.ZSTD_d_windowLogMax]: 23 } };
/** Members may follow one another (RFC 1952, section 2.2); zlib itself refuses anything else behind them. */
const GZIP = { chunkSize: CHUNK };

/**
 * The codings of a body in the order in which they were applied; [] for none. Undefined for one that is not known, too
 * many, or a malformed field: such a body cannot be searched.
 */
export function codings(headers: RawHeaders): readonly Coding[] | undefined {
  const applied: Coding[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length !== 16 || name.toLowerCase() !== 'content-encoding') continue;
    for (const token of (headers[i + 1] as string).toLowerCase().split(',')) {
      const word = token.trim();
      if (word === 'identity') continue;
      const coding = CODINGS.get(word);
      if (!coding || applied.length === MAX_STACKED) return undefined;
      applied.push(coding);
    }
  }
  return applied;
}

/** A whole body, decoded; undefined if it is corrupt, cut short, or decodes to more than `maxBytes`. */
export function decodeWhole(applied: readonly Coding[], body: Buffer, maxBytes: number): Buffer | undefined {
  let decoded = body;
  try {
    for (const coding of applied.toReversed()) {
      if (decoded.length > 0) decoded = decodeSync(coding, decoded, maxBytes);
    }
  } catch {
    return undefined;
  }
  return decoded.length > maxBytes ? undefined : decoded;
}

function decodeSync(coding: Coding, body: Buffer, maxOutputLength: number): Buffer {
  switch (coding) {
    case 'gzip':
      return gunzipSync(body, { maxOutputLength });
    case 'deflate':
      return (isZlib(body) ? inflateSync : inflateRawSync)(body, {
        rejectGarbageAfterEnd: true,
        maxOutputLength,
      });
    case 'br':
      return brotliDecompressSync(body, { rejectGarbageAfterEnd: true, maxOutputLength });
    case 'zstd':
      return zstdDecompressSync(body, { ...ZSTD, maxOutputLength });
  }
}

/** The stages that decode a body on its way to `next`. A body that is corrupt or cut short ends with `next.abort`. */
export function decodeBody(applied: readonly Coding[], next: Sink): Sink {
  return applied.reduce<Sink>((sink, coding) => new DecodeStage(coding, sink), next);
}

/** `deflate` means zlib's format, but some send the bare one (RFC 9110, section 8.4.1.2); zlib's starts like this. */
function isZlib(start: Buffer): boolean {
  const [method = 0, flags = 0] = start;
  return (method & 15) === 8 && ((method << 8) | flags) % 31 === 0;
}

/** More than any real text yields, from a size on that a bomb needs to hurt: a body is a bomb past both. */
const BOMB_RATIO = 250;
const BOMB_BYTES = 32 * 1024 * 1024;

class DecodeStage implements Sink {
  onDrain: (() => void) | null = null;
  #bytesIn = 0;
  #bytesOut = 0;
  readonly #coding: Coding;
  readonly #next: Sink;
  #decoder: Transform | undefined;
  /** The first bytes of a deflate body, until they tell its format. */
  #start = Buffer.alloc(0);
  #trailers: RawHeaders = [];
  #over = false;

  constructor(coding: Coding, next: Sink) {
    this.#coding = coding;
    this.#next = next;
  }

  write(chunk: Buffer): boolean {
    if (this.#over || chunk.length === 0) return true;
    this.#bytesIn += chunk.length;
    if (this.#decoder) return this.#decoder.write(chunk);
    const start = this.#start.length === 0 ? chunk : Buffer.concat([this.#start, chunk]);
    if (start.length < 2) {
      this.#start = Buffer.from(start);
      return true;
    }
    this.#decoder = this.#open(start);
    return this.#decoder.write(start);
  }

  end(trailers: RawHeaders): void {
    if (this.#over) return;
    this.#trailers = trailers;
    if (this.#decoder) this.#decoder.end();
    else if (this.#start.length === 0) this.#finish();
    else this.abort(new Error(`the ${this.#coding} body is cut short`));
  }

  abort(cause: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#decoder?.destroy();
    this.#next.abort(cause);
  }

  #open(start: Buffer): Transform {
    const decoder = create(this.#coding, start);
    const next = this.#next;
    decoder.on('data', (chunk: Buffer) => {
      if (this.#over) return;
      this.#bytesOut += chunk.length;
      if (this.#bytesOut > BOMB_BYTES && this.#bytesOut > BOMB_RATIO * this.#bytesIn) {
        this.abort(new Error(`the ${this.#coding} body is a decompression bomb`));
      } else if (!next.write(chunk)) {
        decoder.pause();
      }
    });
    decoder.on('drain', () => this.onDrain?.());
    decoder.on('end', () => this.#finish());
    decoder.on('error', cause => this.abort(cause));
    const drained = (): void => void decoder.resume();
    next.onDrain = drained;
    return decoder;
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#next.end(this.#trailers);
  }
}

function create(coding: Coding, start: Buffer): Transform {
  switch (coding) {
    case 'gzip':
      return createGunzip(GZIP);
    case 'deflate':
      return isZlib(start) ? createInflate(STRICT) : createInflateRaw(STRICT);
    case 'br':
      return createBrotliDecompress(STRICT);
    case 'zstd':
      return createZstdDecompress(ZSTD);
  }
}
