import { Buffer } from 'node:buffer';
import type { Sink } from '../../types.ts';
import type { Valve } from '../body.ts';
import { COALESCE_BYTES } from '../limits.ts';
import type { Carrier } from '../message.ts';
import { header, maskedFrame } from './frames.ts';
import { CLOSE, CONTINUATION, type ControlOpcode, type Kind } from './protocol.ts';
import { type FrameHandlers, FrameReader, type Sender } from './reader.ts';

export interface EndpointHandlers extends FrameHandlers {
  /** Whether the other end of the way takes more. */
  ready(): boolean;
  /** Nothing more is read for now: what was held back to leave with more goes out. */
  flush(): void;
  /** The peer broke the rules, or what it sent is refused: nothing more is read. */
  failed(error: unknown): void;
  /** The connection has ended; called once. */
  ended(): void;
}

const NOTHING: Buffer = Buffer.alloc(0);

/** One end of a WebSocket: its frames in and out, on a socket whose HTTP is over, or a stream of HTTP/2. */
export class Endpoint implements Valve {
  readonly socket: Carrier;
  /** Wire bytes from the peer, and to it. */
  bytesIn = 0;
  bytesOut = 0;
  /** A Close came; what follows is dropped (RFC 6455, section 5.5.1). */
  closeReceived = false;
  closeSent = false;
  /** The socket asks to stop until `onDrain`. */
  full = false;
  /** Set by whoever writes. */
  onDrain: (() => void) | null = null;
  readonly #peer: Sender;
  readonly #handlers: EndpointHandlers;
  readonly #reader: FrameReader;
  /** Received and not read: paused, or the other end of the way is full. */
  #unread = NOTHING;
  #isPaused = false;
  #isReading = false;
  #isDeaf = false;
  /** The connection is over, behind what is still unread. */
  #isOver = false;
  #hasEnded = false;
  #isCorked = false;

  /** `peer`: who is at the other end of the socket, which is paused. */
  constructor(socket: Carrier, peer: Sender, handlers: EndpointHandlers) {
    this.socket = socket;
    this.#peer = peer;
    this.#handlers = handlers;
    this.#reader = new FrameReader(peer, handlers);
  }

  /** `early`: bytes that were received behind the head. */
  start(early: Buffer): void {
    const { socket } = this;
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrained);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    if (socket.destroyed) process.nextTick(this.#onClose);
    if (early.length > 0) this.#onData(early);
    else socket.resume();
  }

  /** Both sides have said that they are done. */
  get closed(): boolean {
    return this.closeReceived && this.closeSent;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  // ---- in ------------------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Buffer): void => {
    this.bytesIn += chunk.length;
    if (this.#isDeaf) return;
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    this.#read();
  };

  /** Reads frame by frame, and stops amid a chunk where the other end of the way takes no more. */
  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    const bytes = this.#unread;
    let at = 0;
    try {
      while (at < bytes.length && this.#isOpen) at = this.#reader.read(bytes, at);
      if (!this.#isDeaf) this.#handlers.flush();
    } catch (error) {
      this.deafen();
      this.#handlers.failed(error);
    } finally {
      this.#isReading = false;
    }
    this.#unread = this.#isDeaf || at === bytes.length ? NOTHING : bytes.subarray(at);
    if (this.#isOpen || this.#isDeaf) this.socket.resume();
    else this.socket.pause();
    this.#conclude();
  }

  get #isOpen(): boolean {
    return !this.#isPaused && !this.#isDeaf && this.#handlers.ready();
  }

  /** The other end of the way takes bytes again. */
  drained(): void {
    if (this.#isOpen) this.#read();
  }

  pause(): void {
    this.#isPaused = true;
    this.socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#isOpen) this.#read();
  }

  fail(thrown: unknown): void {
    this.deafen();
    this.#handlers.failed(thrown);
  }

  /** What is still received is dropped, so that the peer can read what it was told (RFC 9112, section 9.6). */
  deafen(): void {
    this.#isDeaf = true;
    if (this.#isReading) return;
    this.#unread = NOTHING;
    this.socket.resume();
    this.#conclude();
  }

  /** Cuts the connection. */
  destroy(): void {
    this.socket.destroy();
    this.#unread = NOTHING;
    this.#onEnd();
  }

  readonly #onEnd = (): void => {
    this.#isOver = true;
    this.#conclude();
  };

  readonly #onClose = (): void => {
    // Behind an orderly end, what an upstream has sent is still for the client; nobody waits for a client's.
    if (!this.#isOver || this.#peer === 'client') this.#unread = NOTHING;
    this.#onEnd();
  };

  #conclude(): void {
    if (!this.#isOver || this.#unread.length > 0 || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#handlers.ended();
  }

  // ---- out -----------------------------------------------------------------------------------------------------

  readonly #onDrained = (): void => {
    this.full = false;
    this.onDrain?.();
  };

  /** A message to the peer, in as many frames as it is written in. */
  message(kind: Kind): OutgoingMessage {
    return new OutgoingMessage(this, kind);
  }

  control(opcode: ControlOpcode, payload: Buffer): void {
    this.frame(opcode, true, payload);
    if (opcode === CLOSE) this.closeSent = true;
  }

  /** Behind a Close nothing is sent (RFC 6455, section 5.5.1). */
  frame(opcode: number, fin: boolean, payload: Buffer): void {
    const { socket } = this;
    if (this.closeSent || socket.destroyed || socket.writableEnded) return;
    this.#cork();
    if (this.#peer === 'server') return this.#write(maskedFrame(opcode, fin, payload));
    const head = header(opcode, fin, payload.length);
    if (payload.length <= COALESCE_BYTES) return this.#write(Buffer.concat([head, payload]));
    this.#write(head);
    this.#write(payload);
  }

  #write(bytes: Buffer): void {
    this.bytesOut += bytes.length;
    if (!this.socket.write(bytes)) this.full = true;
  }

  /** Frames of one turn leave in one write. */
  #cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.socket.cork();
    process.nextTick(uncork, this);
  }

  uncork(): void {
    this.#isCorked = false;
    this.socket.uncork();
  }

  /** Ends the connection behind what was written. */
  finish(): void {
    this.deafen();
    this.socket.end();
  }
}

function uncork(endpoint: Endpoint): void {
  endpoint.uncork();
}

/**
 * The last stage of a message. The latest chunk is held until the next one, the end, or `flush`, so that a message that
 * is here whole leaves in one frame.
 */
export class OutgoingMessage implements Sink {
  readonly #to: Endpoint;
  #opcode: number;
  #held: Buffer | null = null;

  constructor(to: Endpoint, kind: Kind) {
    this.#to = to;
    this.#opcode = kind;
  }

  get onDrain(): (() => void) | null {
    return this.#to.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#to.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    this.flush();
    this.#held = chunk;
    return !this.#to.full;
  }

  /** Sends what is held, though the message goes on. */
  flush(): void {
    const held = this.#held;
    this.#held = null;
    if (held && held.length > 0) this.#send(held, false);
  }

  end(): void {
    this.#send(this.#held ?? NOTHING, true);
    this.#held = null;
  }

  /** The message will not complete: its reader sees the connection end without its last frame. */
  abort(): void {
    this.#held = null;
  }

  #send(payload: Buffer, fin: boolean): void {
    this.#to.frame(this.#opcode, fin, payload);
    this.#opcode = CONTINUATION;
  }
}
