import type { Sink } from '../../../src/types.ts';
import { type Kind, TEXT, Violation } from '../../../src/wire/websocket/protocol.ts';
import { FrameReader, type Sender } from '../../../src/wire/websocket/reader.ts';

/** What a reader made of its input. */
export interface Reading {
  /** Complete messages and control frames, in order of their ends. */
  readonly events: string[];
  /** Of the message that was under way at the end; undefined: none was. */
  readonly open: Buffer | undefined;
  /** Code of the violation. */
  readonly code: number | undefined;
  readonly fault: string | undefined;
}

const NAMES: Readonly<Record<number, string>> = { 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' };

const told = (opcode: number, payload: Buffer): string => `${NAMES[opcode]} ${payload.toString('latin1')}`;

/** Feeds the pieces one by one; each is a copy that is wiped afterwards, as a socket may use its memory again. */
export function readFrames(sender: Sender, pieces: readonly Buffer[]): Reading {
  const events: string[] = [];
  let open: Buffer | undefined;
  const message = (kind: Kind): Sink => {
    let data = Buffer.alloc(0);
    open = data;
    return {
      onDrain: null,
      write: chunk => {
        data = Buffer.concat([data, chunk]);
        open = data;
        return true;
      },
      end: () => {
        events.push(told(kind, data));
        open = undefined;
      },
      abort: () => {},
    };
  };
  const control = (opcode: number, payload: Buffer): void => {
    events.push(told(opcode, payload));
  };
  const reader = new FrameReader(sender, { message, control });
  try {
    for (const piece of pieces) {
      const bytes = Buffer.from(piece);
      for (let at = 0; at < bytes.length; ) at = reader.read(bytes, at);
      bytes.fill(0x5a);
    }
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    return { events, open, code: error.code, fault: error.message };
  }
  return { events, open, code: undefined, fault: undefined };
}

export const text = (payload: string): string => told(TEXT, Buffer.from(payload));
