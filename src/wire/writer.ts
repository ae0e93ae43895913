import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { fieldLines } from '../fields.ts';
import { CHUNKED, type RawHeaders, type Sink } from '../types.ts';
import { COALESCE_BYTES } from './limits.ts';
import { type Leaving, leaveNow, leaveSoon } from './turn.ts';

const CRLF = Buffer.from('\r\n');
const NOT_LATIN1 = /[^\x00-\xff]/;

/** A message that has no body, whatever is written. */
export const BODYLESS = -4;

/** The connection that a message is written to. */
export interface WriterOwner {
  /** The last byte was handed to the socket. */
  written(): void;
  /** The message will not complete: its reader must see the connection break. */
  cut(cause: Error): void;
}

/**
 * One message on its way out. The head is held so that it leaves in one write with the first bytes of the body; a small
 * message leaves whole, at the end of the event loop's turn (turn.ts).
 */
export class MessageWriter implements Sink, Leaving {
  onDrain: (() => void) | null = null;
  /** Wire bytes of the message so far. */
  bytes = 0;
  readonly #socket: Socket;
  readonly #owner: WriterOwner;
  readonly #length: number;
  #bodyBytes = 0;
  /** What waits to be sent: latin1 text, a chunk, and the latin1 text behind it. */
  #held: string;
  #heldChunk: Buffer | null = null;
  #heldEnd = '';
  #open = true;

  /** `head` ends with its empty line. `length`: ≥ 0, CHUNKED, UNTIL_CLOSE or BODYLESS. */
  constructor(socket: Socket, owner: WriterOwner, head: string, length: number) {
    // Cut to one byte, such a character could become a CR or LF.
    if (NOT_LATIN1.test(head)) throw new Error('a head holds a character beyond latin1');
    this.#socket = socket;
    this.#owner = owner;
    this.#held = head;
    this.#length = length;
    this.bytes = head.length;
  }

  get open(): boolean {
    return this.#open;
  }

  /** Nothing has been handed to the socket yet. */
  get unsent(): boolean {
    return this.#held !== '';
  }

  write(chunk: Buffer): boolean {
    if (!this.#open || this.#length === BODYLESS || chunk.length === 0) return true;
    this.#bodyBytes += chunk.length;
    if (this.#length >= 0 && this.#bodyBytes > this.#length) {
      this.abort(new Error(`more than the ${this.#length} bytes that were declared`));
      return true;
    }
    if (this.#length === CHUNKED) return this.#writeChunk(chunk);
    this.bytes += chunk.length;
    // A body that is here whole ends in the same turn.
    if (this.#held !== '' && chunk.length === this.#length && chunk.length <= COALESCE_BYTES) {
      this.#heldChunk = chunk;
      return true;
    }
    const head = this.#held;
    this.#held = '';
    return this.#send(head, chunk, '');
  }

  #writeChunk(chunk: Buffer): boolean {
    if (this.#heldChunk) this.flush();
    const size = `${chunk.length.toString(16)}\r\n`;
    this.bytes += size.length + chunk.length + 2;
    if (this.#held === '') return this.#send(size, chunk, '\r\n');
    // A short body often ends in the same turn: then head, chunk and end leave in one write.
    this.#held += size;
    this.#heldChunk = chunk;
    this.#heldEnd = '\r\n';
    process.nextTick(flushOpen, this);
    return true;
  }

  /** Sends what is held, at once. */
  flush(): void {
    if (this.#held === '') return;
    leaveNow();
    this.leave();
  }

  leave(): void {
    const text = this.#held;
    const chunk = this.#heldChunk;
    const end = this.#heldEnd;
    if (text === '' || this.#socket.destroyed) return;
    this.#clear();
    if (chunk) this.#send(text, chunk, end);
    else this.#socket.write(text + end, 'latin1');
  }

  end(trailers: RawHeaders): void {
    if (!this.#open) return;
    if (this.#length >= 0 && this.#bodyBytes < this.#length) {
      this.abort(new Error(`${this.#bodyBytes} of the ${this.#length} bytes that were declared`));
      return;
    }
    this.#open = false;
    if (this.#length === CHUNKED) this.#endChunks(`0\r\n${fieldLines(trailers)}\r\n`);
    if (this.#held !== '') leaveSoon(this);
    this.#owner.written();
  }

  #endChunks(last: string): void {
    this.bytes += last.length;
    if (this.#held !== '') {
      this.#heldEnd += last;
    } else {
      leaveNow();
      this.#socket.write(last, 'latin1');
    }
  }

  abort(cause: Error): void {
    if (!this.#open) return;
    this.close();
    this.#owner.cut(cause);
  }

  /** From now on, what is written is dropped. */
  close(): void {
    this.#open = false;
    this.#clear();
  }

  #clear(): void {
    this.#held = '';
    this.#heldChunk = null;
    this.#heldEnd = '';
  }

  #send(prefix: string, chunk: Buffer, suffix: string): boolean {
    leaveNow();
    if (prefix === '' && suffix === '') return this.#socket.write(chunk);
    if (chunk.length <= COALESCE_BYTES) return this.#socket.write(joined(prefix, chunk, suffix));
    this.#socket.cork();
    // Not as text: Node writes many buffers faster.
    if (prefix !== '') this.#socket.write(Buffer.from(prefix, 'latin1'));
    let wantsMore = this.#socket.write(chunk);
    if (suffix !== '')
      wantsMore = this.#socket.write(suffix === '\r\n' ? CRLF : Buffer.from(suffix, 'latin1'));
    this.#socket.uncork();
    return wantsMore;
  }
}

/** What is complete leaves by itself. */
function flushOpen(writer: MessageWriter): void {
  if (writer.open) writer.flush();
}

function joined(prefix: string, chunk: Buffer, suffix: string): Buffer {
  const bytes = Buffer.allocUnsafe(prefix.length + chunk.length + suffix.length);
  bytes.write(prefix, 0, 'latin1');
  bytes.set(chunk, prefix.length);
  bytes.write(suffix, prefix.length + chunk.length, 'latin1');
  return bytes;
}
