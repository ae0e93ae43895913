import { Buffer } from 'node:buffer';
import type { Sink } from '../../types.ts';
import { mask } from './frames.ts';
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  type ControlOpcode,
  INVALID_DATA,
  isCloseCode,
  type Kind,
  MAX_CONTROL,
  MAX_MESSAGE,
  PONG,
  PROTOCOL_ERROR,
  TEXT,
  TOO_BIG,
  Violation,
} from './protocol.ts';
import { Utf8 } from './utf8.ts';

export interface FrameHandlers {
  /**
   * A message begins. Its payload goes into the returned sink as it comes, whatever its frames are. Whoever calls `read`
   * asks the sink's end itself whether it takes more: a message's last frame could not tell.
   */
  message(kind: Kind): Sink;
  /** A control frame, which may come amid a message. */
  control(opcode: ControlOpcode, payload: Buffer): void;
}

/** Who sends the frames: those of a client are masked, those of a server are not (RFC 6455, section 5.1). */
export type Sender = 'client' | 'server';

const NOTHING: Buffer = Buffer.alloc(0);
/** Bytes of the longest frame header. */
const LONGEST_HEADER = 14;

/**
 * Frames of one direction (RFC 6455, section 5), fed in any pieces; no extension is negotiated. Throws a Violation at
 * the first byte that no sender who keeps to the rules would send. Nothing is read behind a Close.
 */
export class FrameReader {
  readonly #sender: Sender;
  readonly #handlers: FrameHandlers;
  readonly #header = Buffer.alloc(LONGEST_HEADER);
  #headerLength = 0;
  /** Of the frame under way; -1: its header is not complete. */
  #left = -1;
  #opcode = CONTINUATION;
  #isFinal = false;
  #key = NOTHING;
  #phase = 0;
  #control = NOTHING;
  /** Of the message under way; null: none is. */
  #sink: Sink | null = null;
  #text: Utf8 | null = null;
  #size = 0;
  #isClosed = false;

  constructor(sender: Sender, handlers: FrameHandlers) {
    this.#sender = sender;
    this.#handlers = handlers;
  }

  /** Takes bytes from `at` on, up to the end of one frame, and returns the offset of the first one that is left. */
  read(bytes: Buffer, at: number): number {
    if (this.#isClosed) return bytes.length;
    let next = at;
    while (this.#left < 0) {
      if (next === bytes.length) return next;
      this.#header[this.#headerLength++] = bytes[next++] as number;
      this.#readHeader();
    }
    const end = Math.min(bytes.length, next + this.#left);
    this.#left -= end - next;
    this.#payload(this.#unmasked(bytes.subarray(next, end)));
    if (this.#left === 0) this.#endFrame();
    return end;
  }

  /** Judges each byte of a header as soon as it is here. */
  #readHeader(): void {
    const header = this.#header;
    const length = header[1] as number;
    if (this.#headerLength === 1) return this.#readFirst(header[0] as number);
    if (this.#headerLength === 2) this.#readSecond(length);
    const extended = (length & 0x7f) === 126 ? 2 : (length & 0x7f) === 127 ? 8 : 0;
    const masked = this.#sender === 'client' ? 4 : 0;
    if (this.#headerLength < 2 + extended + masked) return;
    this.#key = header.subarray(2 + extended, 2 + extended + masked);
    this.#phase = 0;
    this.#headerLength = 0;
    this.#begin(payloadLength(header, extended));
  }

  #readFirst(first: number): void {
    if ((first & 0x70) !== 0) throw broken('A reserved bit without an extension');
    this.#isFinal = first >= 0x80;
    this.#opcode = first & 0x0f;
    const isControl = this.#opcode >= CLOSE;
    if (this.#opcode > (isControl ? PONG : BINARY)) throw broken('An unknown opcode');
    if (isControl) {
      if (!this.#isFinal) throw broken('A fragmented control frame');
    } else if ((this.#opcode === CONTINUATION) !== (this.#sink !== null)) {
      throw broken(this.#sink ? 'A message within a message' : 'A continuation of no message');
    }
  }

  #readSecond(second: number): void {
    if (second >= 0x80 !== (this.#sender === 'client')) {
      throw broken(this.#sender === 'client' ? 'A frame without a mask' : 'A masked frame');
    }
    if (this.#opcode >= CLOSE && (second & 0x7f) > MAX_CONTROL) throw broken('A long control frame');
  }

  #begin(length: number): void {
    this.#left = length;
    if (this.#opcode >= CLOSE) {
      this.#control = NOTHING;
      return;
    }
    if (this.#opcode !== CONTINUATION) this.#size = 0;
    this.#size += length;
    if (this.#size > MAX_MESSAGE) throw new Violation(TOO_BIG, `A message of more than ${MAX_MESSAGE} bytes`);
    if (this.#opcode === CONTINUATION) return;
    this.#text = this.#opcode === TEXT ? new Utf8() : null;
    this.#sink = this.#handlers.message(this.#opcode as Kind);
  }

  #unmasked(piece: Buffer): Buffer {
    if (this.#sender === 'server' || piece.length === 0) return piece;
    const plain = Buffer.allocUnsafe(piece.length);
    this.#phase = mask(piece, this.#key, this.#phase, plain, 0);
    return plain;
  }

  #payload(piece: Buffer): void {
    if (piece.length === 0) return;
    if (this.#opcode >= CLOSE) {
      // A copy: the chunk's memory is its owner's.
      this.#control = Buffer.concat([this.#control, piece]);
      return;
    }
    if (this.#text?.push(piece) === false) throw new Violation(INVALID_DATA, 'A text that is not UTF-8');
    this.#sink?.write(piece);
  }

  #endFrame(): void {
    this.#left = -1;
    if (this.#opcode >= CLOSE) return this.#endControl(this.#opcode as ControlOpcode, this.#control);
    if (!this.#isFinal) return;
    if (this.#text?.complete === false) throw new Violation(INVALID_DATA, 'A text that is not UTF-8');
    const sink = this.#sink;
    this.#sink = null;
    sink?.end([]);
  }

  #endControl(opcode: ControlOpcode, payload: Buffer): void {
    this.#control = NOTHING;
    if (opcode === CLOSE) {
      checkClose(payload);
      this.#isClosed = true;
    }
    this.#handlers.control(opcode, payload);
  }
}

/** The one encoding of a length that is allowed: the shortest (RFC 6455, section 5.2). */
function payloadLength(header: Buffer, extended: number): number {
  if (extended === 0) return (header[1] as number) & 0x7f;
  if (extended === 2) {
    const length = header.readUInt16BE(2);
    if (length < 126) throw broken('A length that is not written in the shortest way');
    return length;
  }
  const high = header.readUInt32BE(2);
  if (high >= 0x8000_0000) throw broken('A length with its highest bit set');
  const length = high * 2 ** 32 + header.readUInt32BE(6);
  if (length < 65_536) throw broken('A length that is not written in the shortest way');
  return length;
}

/** RFC 6455, section 5.5.1 */
function checkClose(payload: Buffer): void {
  if (payload.length === 0) return;
  if (payload.length === 1) throw broken('A Close with half a code');
  if (!isCloseCode(payload.readUInt16BE(0))) throw broken('A Close with a code that may not be sent');
  const reason = new Utf8();
  if (!reason.push(payload.subarray(2)) || !reason.complete) {
    throw new Violation(INVALID_DATA, 'The reason of a Close is not UTF-8');
  }
}

function broken(message: string): Violation {
  return new Violation(PROTOCOL_ERROR, message);
}
