import { constants, type Http2Stream } from 'node:http2';
import { Duplex } from 'node:stream';
import type { Carrier } from '../message.ts';
import { cut } from './cut.ts';

type Done = (error?: Error | null) => void;
interface Written {
  readonly chunk: Buffer;
}

/**
 * One stream of HTTP/2 that carries another protocol (RFC 8441, section 5): END_STREAM is the orderly end of a
 * connection, RST_STREAM with CANCEL its cut.
 */
export class StreamCarrier extends Duplex implements Carrier {
  bytesRead = 0;
  bytesWritten = 0;
  readonly #stream: Http2Stream;
  #isEnded: boolean;

  /** `stream`: paused, and nobody reads it. `isEnded`: its reading side ended before. */
  constructor(stream: Http2Stream, isEnded: boolean) {
    super();
    this.#stream = stream;
    this.#isEnded = isEnded;
    // What broke the stream is its peer's; the end is told by 'close'.
    this.on('error', () => {});
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.bytesRead += chunk.length;
      // What is paused would never close.
      if (!this.destroyed && !this.push(chunk)) stream.pause();
    });
    stream.once('end', () => this.#end());
    stream.once('close', () => this.#close());
    if (isEnded) this.push(null);
    if (stream.destroyed) this.#close();
  }

  /** Node ends a stream that was reset with NO_ERROR, too, as if its peer had ended it. */
  #end(): void {
    if (this.#stream.rstCode !== constants.NGHTTP2_NO_ERROR) return;
    this.#isEnded = true;
    this.push(null);
  }

  /** What came before an orderly end is still to be read. */
  #close(): void {
    if (this.#isEnded && !this.readableEnded) this.once('end', () => this.destroy());
    else this.destroy();
  }

  override _read(): void {
    if (!this.#isEnded) this.#stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#send([{ chunk }], done);
  }

  /** Frames of one turn leave together. */
  override _writev(chunks: Written[], done: Done): void {
    this.#send(chunks, done);
  }

  #send(chunks: readonly Written[], done: Done): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return done(new Error('the stream is closed'));
    stream.cork();
    for (const [i, { chunk }] of chunks.entries()) {
      this.bytesWritten += chunk.length;
      stream.write(chunk, i === chunks.length - 1 ? done : undefined);
    }
    stream.uncork();
  }

  override _final(done: Done): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) done();
    else stream.end(done);
  }

  override _destroy(error: Error | null, done: Done): void {
    const stream = this.#stream;
    // A stream that both sides have ended closes by itself.
    const isOver = this.#isEnded && this.writableFinished;
    if (!isOver) cut(stream, constants.NGHTTP2_CANCEL);
    // What is still received is dropped.
    if (!stream.destroyed) stream.resume();
    done(error);
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished || this.destroyed) this.destroy();
    // A reset must not overtake the end of what was written.
    else this.once('finish', () => setImmediate(() => this.destroy()));
  }
}
