import type { Socket } from 'node:net';

const WAIT_MS = 10_000;

/** What a connection gave until it ended. */
export interface Ended {
  readonly bytes: Buffer;
  /** `end`: an orderly end (FIN, or TLS close_notify); `cut`: a reset or a close without one. */
  readonly how: 'end' | 'cut';
}

interface Wait {
  /** Bytes that the wait takes, or -1 while it must go on. */
  ready(): number;
  resolve(bytes: Buffer): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/**
 * One end of a raw connection, for upstreams and clients alike: keeps every byte received, and lets a test wait for
 * what it expects next. A wait that fails shows what was received instead.
 */
export class Peer {
  readonly socket: Socket;
  /** Resolves once nothing more can be received. */
  readonly ended: Promise<Ended>;
  #chunks: Buffer[] = [];
  #taken = 0;
  #wait: Wait | undefined;
  #how: Ended['how'] | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#wake();
    });
    socket.on('error', () => undefined); // told by 'close'
    this.ended = new Promise(resolve => {
      const finish = (how: Ended['how']): void => {
        if (this.#how !== undefined) return;
        this.#how = how;
        this.#wake();
        resolve({ bytes: this.received, how });
      };
      socket.on('end', () => finish('end'));
      socket.on('close', () => finish('cut'));
    });
  }

  /** Every byte received so far. */
  get received(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  /** The bytes received that no wait has taken. */
  get rest(): Buffer {
    return this.received.subarray(this.#taken);
  }

  /** Takes `count` bytes. */
  bytes(count: number, ms = WAIT_MS): Promise<Buffer> {
    return this.#until(() => (this.rest.length >= count ? count : -1), `${count} bytes`, ms);
  }

  /** Takes everything up to and including `mark`. */
  until(mark: string, ms = WAIT_MS): Promise<Buffer> {
    const found = (): number => {
      const at = this.rest.indexOf(mark, 0, 'latin1');
      return at < 0 ? -1 : at + Buffer.byteLength(mark, 'latin1');
    };
    return this.#until(found, JSON.stringify(mark), ms);
  }

  /** Takes a message head, its empty line included. */
  async head(ms = WAIT_MS): Promise<string> {
    return (await this.until('\r\n\r\n', ms)).toString('latin1');
  }

  /** Everything received, once the other side has ended; fails when it does not. */
  async end(ms = WAIT_MS): Promise<Ended> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#failure('the end')), ms);
    });
    try {
      return await Promise.race([this.ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Writes latin1 text or bytes; resolves when the kernel has them, or when the connection is gone. */
  send(data: string | Buffer): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    return new Promise(resolve => {
      if (this.socket.destroyed || this.socket.writableEnded) resolve();
      else this.socket.write(bytes, () => resolve());
    });
  }

  /** Writes `data` in pieces that end at the given offsets, each in a packet (TLS: a record) of its own. */
  async sendSplit(data: string | Buffer, at: readonly number[]): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    this.socket.setNoDelay(true);
    let from = 0;
    for (const to of [...at, bytes.length]) {
      if (to <= from) continue;
      await this.send(bytes.subarray(from, to));
      // The other side lives in this process or behind the kernel: give it a turn to read this piece alone.
      await new Promise(resolve => setImmediate(resolve));
      from = to;
    }
  }

  /** Ends our side in good order. */
  finish(): void {
    this.socket.end();
  }

  /** Cuts the connection. */
  cut(): void {
    this.socket.destroy();
  }

  #until(ready: () => number, what: string, ms: number): Promise<Buffer> {
    if (this.#wait) throw new Error('a peer serves one wait at a time');
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#wait = undefined;
        reject(this.#failure(what));
      }, ms);
      this.#wait = { ready, resolve, reject, timer };
      this.#what = what;
      this.#wake();
    });
  }

  #what = '';

  #wake(): void {
    const wait = this.#wait;
    if (!wait) return;
    const count = wait.ready();
    if (count < 0 && this.#how === undefined) return;
    this.#wait = undefined;
    clearTimeout(wait.timer);
    if (count < 0) wait.reject(this.#failure(this.#what));
    else {
      const from = this.#taken;
      this.#taken += count;
      wait.resolve(this.received.subarray(from, from + count));
    }
  }

  #failure(what: string): Error {
    const state = this.#how === undefined ? 'open' : this.#how;
    const shown = this.rest.subarray(0, 2000).toString('latin1');
    return new Error(`waited for ${what}; connection ${state}; received instead: ${JSON.stringify(shown)}`);
  }
}
