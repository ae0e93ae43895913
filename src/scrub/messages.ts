import { Buffer } from 'node:buffer';
import { get } from '../fields.ts';
import type { RawHeaders } from '../types.ts';

const NOTHING = Buffer.alloc(0);
/** A flag and a length stand before each message (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const PREFIX = 5;
const COMPRESSED = 0x01;
/** gRPC-Web: the message holds trailers. */
const TRAILERS = 0x80;
/** Bytes of a message. Four times what clients take; and the bytes of a secret never look like such a prefix. */
const MAX_MESSAGE = 1 << 24;
/** What may be the start of a secret and is shorter goes out with its message: somebody may wait for it. */
const RELEASED = 5;

/** Whether a body is a row of gRPC messages in binary. */
export function isGrpc(headers: RawHeaders): boolean {
  const type = get(headers, 'content-type');
  return type !== undefined && /^application\/grpc(?!-web-text)/i.test(type);
}

/** Whether a body may begin with a gRPC message: told from its first byte, before anything else is looked at. */
export function mayBeMessages(body: Buffer): boolean {
  return body.length > 0 && ((body[0] as number) & ~(COMPRESSED | TRAILERS)) === 0;
}

/** A text on its way through, in chunks. */
export interface Pass {
  /** What can go out after this chunk; `final`: the text ends with it. */
  push(chunk: Buffer, final: boolean): Buffer;
  /** Bytes that are held back. */
  readonly pending: number;
}

export interface MessagesOptions {
  /** A compressed message may pass, unread. */
  readonly compressed: boolean;
  /** What to throw for bytes that are not such messages. */
  readonly fault: () => Error;
}

/**
 * A row of gRPC messages, each searched as a text of its own, so that none waits for the next one. Replacements must
 * keep the length.
 */
export class Messages implements Pass {
  readonly #begin: () => Pass;
  readonly #options: MessagesOptions;
  readonly #prefix = Buffer.alloc(PREFIX);
  #prefixBytes = 0;
  /** Bytes of the message that are still to come. */
  #left = 0;
  #message: Pass | null = null;

  /** `begin`: the search of one message. */
  constructor(begin: () => Pass, options: MessagesOptions) {
    this.#begin = begin;
    this.#options = options;
  }

  get pending(): number {
    return this.#message?.pending ?? 0;
  }

  push(chunk: Buffer, final: boolean): Buffer {
    const pieces: Buffer[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#left === 0) {
        const end = Math.min(chunk.length, at + PREFIX - this.#prefixBytes);
        this.#prefixBytes += chunk.copy(this.#prefix, this.#prefixBytes, at, end);
        at = end;
        if (this.#prefixBytes === PREFIX) this.#start(pieces);
      } else {
        const end = Math.min(chunk.length, at + this.#left);
        this.#left -= end - at;
        this.#search(chunk.subarray(at, end), pieces);
        at = end;
      }
    }
    if (final) {
      if (this.#prefixBytes > 0) throw this.#options.fault();
      this.#release(pieces);
    }
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
  }

  #start(pieces: Buffer[]): void {
    const flag = this.#prefix[0] as number;
    const length = this.#prefix.readUInt32BE(1);
    const isKnown =
      flag === 0 || flag === TRAILERS || (this.#options.compressed && (flag & ~TRAILERS) === COMPRESSED);
    // Also keeps what is held back: a secret that goes on behind the end of a made-up message.
    if (!isKnown || length >= MAX_MESSAGE) throw this.#options.fault();
    this.#release(pieces);
    pieces.push(Buffer.from(this.#prefix));
    this.#prefixBytes = 0;
    this.#left = length;
    this.#message = length > 0 ? this.#begin() : null;
  }

  #search(part: Buffer, pieces: Buffer[]): void {
    const message = this.#message as Pass;
    pieces.push(message.push(part, false));
    if (this.#left === 0 && message.pending < RELEASED) this.#release(pieces);
  }

  /** The end of a message. */
  #release(pieces: Buffer[]): void {
    if (this.#message) pieces.push(this.#message.push(NOTHING, true));
    this.#message = null;
  }
}
