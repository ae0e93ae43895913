import { isUtf8 } from 'node:buffer';
import type { Sender } from '../../src/wire/websocket/reader.ts';

/** What RFC 6455 says of whole bytes. */
export interface Verdict {
  readonly events: readonly string[];
  /** `bad`: a complete frame that may not be; `cut`: the last message or frame is not complete, and not judged. */
  readonly state: 'good' | 'bad' | 'cut';
}

const NAMES: Readonly<Record<number, string>> = { 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' };

/** A second reading of RFC 6455, sections 5 and 7.4: of whole bytes, frame by frame, and as plain as can be. */
export function judge(sender: Sender, bytes: Buffer): Verdict {
  const events: string[] = [];
  let message: { opcode: number; parts: Buffer[] } | undefined;
  for (let at = 0; at < bytes.length; ) {
    const frame = frameAt(bytes, at);
    if (frame === 'cut') return { events, state: 'cut' };
    at = frame.end;
    const { fin, rsv, opcode, payload, isMasked, isShortest } = frame;
    const isControl = opcode >= 8;
    if (rsv !== 0 || !isShortest || isMasked !== (sender === 'client')) return { events, state: 'bad' };
    if (isControl ? ![8, 9, 10].includes(opcode) : opcode > 2) return { events, state: 'bad' };
    if (isControl) {
      if (!fin || payload.length > 125) return { events, state: 'bad' };
      if (opcode === 8 && !mayClose(payload)) return { events, state: 'bad' };
      events.push(`${NAMES[opcode]} ${payload.toString('latin1')}`);
      if (opcode === 8) return { events, state: message ? 'cut' : 'good' };
      continue;
    }
    if ((opcode === 0) !== (message !== undefined)) return { events, state: 'bad' };
    message ??= { opcode, parts: [] };
    message.parts.push(payload);
    if (!fin) continue;
    const whole = Buffer.concat(message.parts);
    if (message.opcode === 1 && !isUtf8(whole)) return { events, state: 'bad' };
    events.push(`${NAMES[message.opcode]} ${whole.toString('latin1')}`);
    message = undefined;
  }
  return { events, state: message ? 'cut' : 'good' };
}

function mayClose(payload: Buffer): boolean {
  if (payload.length === 0) return true;
  if (payload.length === 1) return false;
  const code = payload.readUInt16BE();
  const known = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
  return (known.includes(code) || (code >= 3000 && code < 5000)) && isUtf8(payload.subarray(2));
}

function frameAt(bytes: Buffer, at: number) {
  const [first, second] = [bytes[at], bytes[at + 1]];
  if (first === undefined || second === undefined) return 'cut';
  const isMasked = second >= 128;
  const short = second & 127;
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
  const start = at + 2 + extra + (isMasked ? 4 : 0);
  if (start > bytes.length) return 'cut';
  const told =
    extra === 2
      ? BigInt(bytes.readUInt16BE(at + 2))
      : extra === 8
        ? bytes.readBigUInt64BE(at + 2)
        : BigInt(short);
  const isShortest = extra === 0 || (extra === 2 ? told > 125n : told > 65_535n);
  const end = start + Number(told);
  if (end > bytes.length) return 'cut';
  const payload = Buffer.from(bytes.subarray(start, end));
  if (isMasked) payload.forEach((byte, i) => (payload[i] = byte ^ (bytes[start - 4 + (i % 4)] as number)));
  return { fin: first >= 128, rsv: (first >> 4) & 7, opcode: first & 15, payload, isMasked, isShortest, end };
}
