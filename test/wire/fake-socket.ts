import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';

/** A socket in memory, driven by hand: nothing happens but in `receive`, `pump` and `fin`. */
export class FakeSocket extends EventEmitter {
  destroyed = false;
  ended = false;
  bytesRead = 0;
  bytesWritten = 0;
  writableLength = 0;
  /** Whether `write` takes bytes; false: they stay in `writableLength`. */
  takes = true;
  readonly writes: Buffer[] = [];
  #paused = false;
  #queue: Buffer[] = [];

  get asSocket(): Socket {
    return this as unknown as Socket;
  }

  get output(): string {
    return Buffer.concat(this.writes).toString('latin1');
  }

  /** Bytes that arrived and wait because the socket is paused. */
  get waiting(): number {
    return this.#queue.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  receive(bytes: Buffer | string): void {
    if (this.destroyed) return;
    this.#queue.push(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    this.pump();
  }

  /** Delivers what waits, as long as the socket is not paused. */
  pump(): void {
    while (!this.#paused && !this.destroyed) {
      const chunk = this.#queue.shift();
      if (!chunk) return;
      this.bytesRead += chunk.length;
      this.emit('data', chunk);
    }
  }

  /** The peer's FIN. */
  fin(): void {
    if (this.destroyed || this.#paused) return;
    this.emit('end');
    this.destroy();
  }

  /** What is buffered leaves. */
  drain(): void {
    this.writableLength = 0;
    this.takes = true;
    this.emit('drain');
  }

  write(data: Buffer | string, encoding?: BufferEncoding): boolean {
    const bytes = typeof data === 'string' ? Buffer.from(data, encoding) : data;
    if (this.destroyed) return true;
    this.writes.push(Buffer.from(bytes));
    this.bytesWritten += bytes.length;
    if (!this.takes) this.writableLength += bytes.length;
    return this.takes;
  }

  cork(): void {}
  uncork(): void {}
  setNoDelay(): void {}

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  isPaused(): boolean {
    return this.#paused;
  }

  end(): void {
    this.ended = true;
  }

  get writableEnded(): boolean {
    return this.ended;
  }

  /** Ends, then closes; what is still buffered waits for `destroy`. */
  destroySoon(): void {
    this.end();
    if (this.writableLength === 0) this.destroy();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
}
