import { readFileSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { frame } from '../support/websocket.ts';

/** Writes `count` times, as fast as the socket takes it; tells how many bytes it took so far. */
export class Flood {
  written = 0;
  readonly done: Promise<void>;

  constructor(socket: Duplex, first: Buffer, chunk: Buffer, count: number, mask: boolean) {
    this.done = new Promise(resolve => {
      let left = count;
      socket.write(first);
      const go = (): void => {
        while (left > 0) {
          left--;
          this.written += chunk.length;
          if (!socket.write(chunk)) break;
        }
        if (left === 0) socket.write(frame(0, '', { mask }), () => resolve());
        else socket.once('drain', go);
      };
      go();
    });
  }

  /** Once nothing more is taken: bytes until then. */
  async stalled(): Promise<number> {
    for (let last = -1; last !== this.written; await delay(300)) last = this.written;
    return this.written;
  }
}

/** The most memory that a process has had, in kB. */
export const peak = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

export const MIB = 1 << 20;

/** Counts what a socket receives, and keeps its start. */
export class Drain {
  bytes = 0;
  start = '';

  constructor(socket: Duplex) {
    socket.removeAllListeners('data');
    socket.on('data', (bytes: Buffer) => {
      if (this.bytes < 100) this.start += bytes.toString('latin1', 0, 100);
      this.bytes += bytes.length;
    });
  }

  async until(count: number): Promise<void> {
    while (this.bytes < count) await delay(5);
  }
}
