import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';

/** A frame as it was read (RFC 6455, section 5.2). */
export interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly data: Buffer;
}

/** One frame on the wire; `isMasked`: as a client sends it. */
export function frame(
  data: Buffer,
  { opcode, isFinal, isMasked = false }: { opcode: number; isFinal: boolean; isMasked?: boolean },
): Buffer {
  const { length } = data;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  const bit = isMasked ? 0x80 : 0;
  head[1] = bit | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  if (!isMasked) return Buffer.concat([head, data]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, unmasked(data, mask)]);
}

const unmasked = (data: Buffer, mask: Buffer): Buffer =>
  Buffer.from(data.map((byte, i) => byte ^ (mask[i & 3] as number)));

/** Reads frames from the pieces that it is given, and tells each message, its frames put together. */
export function messages(tell: (message: Frame) => void): (piece: Buffer) => void {
  let held = Buffer.alloc(0);
  let opcode = 0;
  let parts: Buffer[] = [];
  return piece => {
    held = Buffer.concat([held, piece]);
    for (let one = readFrame(held); one; one = readFrame(held)) {
      held = held.subarray(one.end);
      if (one.opcode >= 8) {
        tell(one);
        continue;
      }
      if (one.opcode > 0) opcode = one.opcode;
      parts.push(one.data);
      if (!one.isFinal) continue;
      tell({ opcode, isFinal: true, data: Buffer.concat(parts) });
      parts = [];
    }
  };
}

function readFrame(bytes: Buffer): (Frame & { readonly end: number }) | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] as number) & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const isMasked = ((bytes[1] as number) & 0x80) !== 0;
  const start = 2 + extended + (isMasked ? 4 : 0);
  if (bytes.length < start) return undefined;
  const length =
    extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const end = start + length;
  if (bytes.length < end) return undefined;
  const data = bytes.subarray(start, end);
  return {
    opcode: (bytes[0] as number) & 0x0f,
    isFinal: ((bytes[0] as number) & 0x80) !== 0,
    data: isMasked ? unmasked(data, bytes.subarray(start - 4, start)) : data,
    end,
  };
}
