import { createHash, randomBytes } from 'node:crypto';
import type { Peer } from './peer.ts';

// A codec of the tests' own (RFC 6455), so that none leans on the code under test. It can write what it must not.

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

export interface FrameChoice {
  fin?: boolean;
  /** The three reserved bits, as a number. */
  rsv?: number;
  /** Masked with this key, or with a random one; default not masked. */
  mask?: Buffer | boolean;
  /** Bytes of the length field, whatever is needed: 1, 3 or 9. */
  lengthBytes?: 1 | 3 | 9;
  /** The length that the header tells instead of the payload's. */
  length?: number | bigint;
}

export function frame(opcode: number, payload: string | Buffer = '', choice: FrameChoice = {}): Buffer {
  const { fin = true, rsv = 0, mask = false } = choice;
  const data = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const length = BigInt(choice.length ?? data.length);
  const lengthBytes = choice.lengthBytes ?? (length < 126n ? 1 : length < 65_536n ? 3 : 9);
  const head = Buffer.alloc(1 + lengthBytes);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  if (lengthBytes === 1) head[1] = Number(length);
  if (lengthBytes === 3) {
    head[1] = 126;
    head.writeUInt16BE(Number(length), 2);
  }
  if (lengthBytes === 9) {
    head[1] = 127;
    head.writeBigUInt64BE(length, 2);
  }
  if (mask === false) return Buffer.concat([head, data]);
  head[1] = (head[1] as number) | 0x80;
  const key = mask === true ? randomBytes(4) : mask;
  return Buffer.concat([head, key, data.map((byte, i) => byte ^ (key[i % 4] as number))]);
}

export function close(code: number, reason = ''): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return Buffer.concat([payload, Buffer.from(reason)]);
}

export interface Frame {
  readonly fin: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
  /** Null: it came unmasked. */
  readonly key: Buffer | null;
}

export async function readFrame(peer: Peer): Promise<Frame> {
  const [first = 0, second = 0] = await peer.bytes(2);
  if ((first & 0x70) !== 0) throw new Error('a reserved bit is set');
  let length = second & 0x7f;
  if (length === 126) length = (await peer.bytes(2)).readUInt16BE();
  else if (length === 127) length = Number((await peer.bytes(8)).readBigUInt64BE());
  const key = second >= 0x80 ? Buffer.from(await peer.bytes(4)) : null;
  const payload = Buffer.from(await peer.bytes(length));
  if (key) for (let i = 0; i < length; i++) payload[i] = (payload[i] as number) ^ (key[i % 4] as number);
  return { fin: first >= 0x80, opcode: first & 0x0f, payload, key };
}

export interface Message {
  readonly opcode: number;
  readonly data: Buffer;
  readonly frames: readonly Frame[];
}

/** A message to its end, or a control frame. */
export async function readMessage(peer: Peer): Promise<Message> {
  const frames: Frame[] = [];
  for (;;) {
    const next = await readFrame(peer);
    const isFirst = frames.length === 0;
    if (next.opcode >= CLOSE) {
      if (!isFirst) throw new Error('a control frame amid the message: read it by hand');
      return { opcode: next.opcode, data: next.payload, frames: [next] };
    }
    if ((next.opcode === 0) === isFirst) throw new Error(`a frame of opcode ${next.opcode} out of place`);
    frames.push(next);
    if (next.fin) break;
  }
  const data = Buffer.concat(frames.map(({ payload }) => payload));
  return { opcode: (frames[0] as Frame).opcode, data, frames };
}

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
/** For KEY: the example of RFC 6455, section 1.3. */
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

/** The head of a handshake, without the final empty line if `more` is to follow. */
export function handshake(host: string, path: string, more: readonly string[] = []): string {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${KEY}`,
    'Sec-WebSocket-Version: 13',
    ...more,
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Reads a handshake and accepts it; returns its head. `behind`: bytes that leave in one packet with the 101. */
export async function accept(
  peer: Peer,
  more: readonly string[] = [],
  behind: Buffer = Buffer.alloc(0),
): Promise<string> {
  const head = await peer.head();
  const key = /^sec-websocket-key: (.*)\r$/im.exec(head)?.[1] ?? '';
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${acceptOf(key)}`,
    ...more,
  ];
  await peer.send(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), behind]));
  return head;
}
