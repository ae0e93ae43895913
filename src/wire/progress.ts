import type { Socket } from 'node:net';

/** Time without progress on a socket, told from its counters between sweeps: it costs nothing per chunk. */
export class Progress {
  #moved = -1;
  #movedAt = 0;

  reset(): void {
    this.#moved = -1;
  }

  /** ms since the last byte in or out; 0 as long as none is due. */
  stalledFor(socket: Socket, isDue: boolean, now: number): number {
    const moved = socket.bytesRead + socket.bytesWritten - socket.writableLength;
    if (!isDue || moved !== this.#moved) {
      this.#moved = moved;
      this.#movedAt = now;
    }
    return now - this.#movedAt;
  }
}
