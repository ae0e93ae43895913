import { HOP_BY_HOP, listOf, Names } from '../fields.ts';
import { CHUNKED } from '../types.ts';
import { isToken } from './chars.ts';
import { fault, type Side } from './fault.ts';
import { isIgnorable } from './headers.ts';

/** What the fields of one head say about the message and its connection. */
export interface Framing {
  readonly side: Side;
  /** One bit for each name that may stand once and was seen. */
  seen: number;
  /** As declared; undefined: no Content-Length. */
  contentLength: number | undefined;
  chunked: boolean;
  hasHost: boolean;
  expectContinue: boolean;
  close: boolean;
  keepAlive: boolean;
}

/** Names that may stand once, by direction. A second one is how two parsers come to disagree. */
const SINGLE: Record<Side, ReadonlyMap<string, number>> = {
  malformed_request: bits(
    'host',
    'content-length',
    'transfer-encoding',
    'authorization',
    'proxy-authorization',
    'content-type',
    'expect',
    'upgrade',
  ),
  upstream_malformed: bits('content-length', 'transfer-encoding'),
};

function bits(...names: string[]): ReadonlyMap<string, number> {
  return new Map(names.map((name, i) => [name, 1 << i]));
}

const KNOWN = new Names('connection', ...SINGLE.malformed_request.keys());

export function framingOf(fields: readonly string[], side: Side): Framing {
  const framing: Framing = {
    side,
    seen: 0,
    contentLength: undefined,
    chunked: false,
    hasHost: false,
    expectContinue: false,
    close: false,
    keepAlive: false,
  };
  for (let i = 0; i < fields.length; i += 2) {
    const name = KNOWN.find(fields[i] as string);
    if (name !== undefined) note(framing, name, fields[i + 1] as string);
  }
  if (framing.chunked && framing.contentLength !== undefined) {
    throw fault(side, 'Both Content-Length and Transfer-Encoding');
  }
  return framing;
}

/** `name` in lower case. */
function note(framing: Framing, name: string, value: string): void {
  const { side } = framing;
  const bit = SINGLE[side].get(name);
  if (bit !== undefined) {
    if ((framing.seen & bit) !== 0) throw fault(side, `Two ${name} headers`);
    framing.seen |= bit;
  }
  switch (name) {
    case 'host':
      framing.hasHost = true;
      break;
    case 'content-length':
      framing.contentLength = contentLength(value, side);
      break;
    case 'transfer-encoding':
      if (value.toLowerCase() !== 'chunked') throw fault(side, 'A Transfer-Encoding other than chunked');
      framing.chunked = true;
      break;
    case 'connection':
      connection(framing, value);
      break;
    case 'expect':
      if (side === 'malformed_request') expect(framing, value);
      break;
    case 'upgrade':
      // What follows may already speak the other protocol.
      if (side === 'malformed_request' && !isIgnorable(value)) framing.close = true;
      break;
  }
}

function contentLength(value: string, side: Side): number {
  let length = value === '' || value.length > 16 ? Number.NaN : 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    length = digit >= 0 && digit <= 9 ? length * 10 + digit : Number.NaN;
  }
  if (!Number.isSafeInteger(length)) throw fault(side, 'A Content-Length that is not a number of bytes');
  return length;
}

function expect(framing: Framing, value: string): void {
  if (value.toLowerCase() !== '100-continue') throw fault(framing.side, 'An Expect other than 100-continue');
  framing.expectContinue = true;
}

function connection(framing: Framing, value: string): void {
  if (value === 'keep-alive') {
    framing.keepAlive = true;
    return;
  }
  for (const option of listOf(value)) {
    if (option === 'close') framing.close = true;
    else if (option === 'keep-alive') framing.keepAlive = true;
    else if (!isToken(option)) throw fault(framing.side, 'A Connection option that is not a token');
    else checkNominated(option, framing.side);
  }
}

/** A peer may not have a field removed on the way that the other end relies on (RFC 9110, section 7.6.1). */
function checkNominated(name: string, side: Side): void {
  const allowed = side === 'malformed_request' ? HOP_BY_HOP.has(name) : !name.startsWith('content-');
  if (!allowed) throw fault(side, 'Connection names a header that is not hop-by-hop');
}

/** Length of a request that has no content and says nothing of it (RFC 9110, section 8.6). */
export const NONE = -3;

/** The framing fields for a body of that many bytes, or CHUNKED, or NONE; and the empty line. */
export function framingLines(length: number): string {
  if (length === NONE) return '\r\n';
  return length === CHUNKED ? 'transfer-encoding: chunked\r\n\r\n' : `content-length: ${length}\r\n\r\n`;
}
