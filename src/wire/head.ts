import { Refusal } from '../errors.ts';
import { CHUNKED, type RequestHead, type ResponseHead, UNTIL_CLOSE } from '../types.ts';
import { CR, LF, SP, TCHAR } from './chars.ts';
import { fault, type Side } from './fault.ts';
import { parseFields } from './fields.ts';
import { type Framing, framingOf } from './framing.ts';
import type { ClientLimits, WireLimits } from './limits.ts';
import { checkTarget } from './target.ts';

const METHOD = /^[A-Z-]{1,20}$/;
/** The usual ones as constants: comparing them with another constant is comparing two pointers. */
const METHODS = new Map(
  ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'CONNECT'].map(name => [name, name]),
);
const VERSION = 'HTTP/1.';
/** Where the status stands in a status line. */
const STATUS_AT = VERSION.length + 2;
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;
/** The interim responses that every client knows; any other would be read as final by some. */
const INTERIM = new Set([100, 102, 103]);

/**
 * Length of the head at the start of `bytes`, its empty line included; -1 if it is not complete. Looks at every second
 * byte: of CRLF CRLF, one CR and one LF stand at even distances; a native search of so few bytes costs more.
 */
export function headLength(bytes: Buffer): number {
  for (let at = 3; at < bytes.length; at += 2) {
    const byte = bytes[at];
    if (byte === LF && endsHead(bytes, at)) return at + 1;
    if (byte === CR && bytes[at + 1] === LF && endsHead(bytes, at + 1)) return at + 2;
  }
  return -1;
}

function endsHead(bytes: Buffer, lf: number): boolean {
  return bytes[lf - 1] === CR && bytes[lf - 2] === LF && bytes[lf - 3] === CR;
}

/** A line end without CR, which would let an incomplete head wait for its time limit. */
export function hasBareLf(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at - 1] !== CR) return true;
  }
  return false;
}

/** Refuses a part of a request head at once if no further byte could make it right. */
export function checkPartialHead(held: Buffer, limits: WireLimits): void {
  if (held.length > limits.head) {
    const isTargetLong = !held.subarray(0, limits.uri).includes(CR);
    throw new Refusal(isTargetLong ? 'uri_too_long' : 'head_too_large');
  }
  if (TCHAR[held[0] as number] !== 1 && held[0] !== CR) {
    throw fault('malformed_request', 'What was sent is not an HTTP request');
  }
  if (hasBareLf(held)) throw fault('malformed_request', 'A line that ends with a bare LF');
}

/** `bytes`: one complete head. `isProxy`: see `checkTarget`. */
export function parseRequestHead(bytes: Buffer, limits: WireLimits, isProxy: boolean): RequestHead {
  const text = bytes.toString('latin1', 0, bytes.length - 2);
  const lineEnd = text.indexOf('\r\n');
  const { method, target, minor } = requestLine(text, lineEnd);
  if (target.length > limits.uri) throw new Refusal('uri_too_long');
  checkTarget(method, target, isProxy);
  const { fields: headers, starts } = parseFields(
    bytes,
    text,
    lineEnd + 2,
    limits.headers,
    'malformed_request',
  );
  const framing = framingOf(headers, 'malformed_request');
  if (framing.chunked && minor === 0) throw fault('malformed_request', 'Transfer-Encoding in HTTP/1.0');
  if (!framing.hasHost) checkHostless(method, target, minor);
  if (method === 'CONNECT' && (framing.chunked || framing.contentLength !== undefined)) {
    throw fault('malformed_request', 'CONNECT with a body');
  }
  return {
    method,
    target,
    minor,
    headers,
    length: framing.chunked ? CHUNKED : (framing.contentLength ?? 0),
    expectContinue: framing.expectContinue && minor === 1,
    keepAlive: isKeptAlive(framing, minor),
    bytes,
    text,
    starts,
  };
}

/** RFC 9112, section 3. Single spaces, so that no part can be read in two ways. */
function requestLine(text: string, lineEnd: number): { method: string; target: string; minor: 0 | 1 } {
  const afterMethod = text.indexOf(' ');
  const afterTarget = text.indexOf(' ', afterMethod + 1);
  if (afterMethod < 0 || afterTarget < 0 || afterTarget > lineEnd) {
    throw fault('malformed_request', 'The request line is not "method target HTTP/1.1"');
  }
  const word = text.slice(0, afterMethod);
  const known = METHODS.get(word);
  if (known === undefined && !METHOD.test(word)) {
    throw fault('malformed_request', 'The method is not a word in upper case');
  }
  const minor = versionAt(text, afterTarget + 1, lineEnd);
  if (minor === undefined)
    throw fault('malformed_request', 'The request line does not end with HTTP/1.1 or HTTP/1.0');
  return { method: known ?? word, target: text.slice(afterMethod + 1, afterTarget), minor };
}

/** The minor version of HTTP/1 that fills text[at, end) (RFC 9112, section 2.3); undefined if anything else does. */
function versionAt(text: string, at: number, end: number): 0 | 1 | undefined {
  if (end - at !== VERSION.length + 1 || !text.startsWith(VERSION, at)) return undefined;
  const digit = text.charCodeAt(end - 1) - 0x30;
  return digit === 1 || digit === 0 ? digit : undefined;
}

/** urllib3 sends CONNECT as HTTP/1.0 without Host. */
function checkHostless(method: string, target: string, minor: 0 | 1): void {
  const namesHost = method === 'CONNECT' || (minor === 0 && target.startsWith('http:'));
  if (!namesHost) throw fault('malformed_request', 'No Host header');
}

/** RFC 9112, section 9.3 */
function isKeptAlive(framing: Framing, minor: number): boolean {
  return !framing.close && (minor === 1 || framing.keepAlive);
}

/** Stands for a head that was refused. The target is left out: nothing has judged what it holds. */
export function unreadableHead(bytes: Buffer): RequestHead {
  const method = /^([A-Z-]{1,20}) /.exec(bytes.toString('latin1', 0, 21))?.[1];
  return {
    method: method ?? '-',
    target: '-',
    minor: 1,
    headers: [],
    length: 0,
    expectContinue: false,
    keepAlive: false,
    bytes,
    text: bytes.toString('latin1'),
    starts: [0],
  };
}

export interface Response {
  readonly head: ResponseHead;
  /** The connection may carry another request after this response. */
  readonly keepAlive: boolean;
}

/** `bytes`: one complete head. `method`: of the request that it answers. `maySwitch`: that asked for another protocol. */
export function parseResponseHead(
  bytes: Buffer,
  limits: ClientLimits,
  method: string,
  maySwitch = false,
): Response {
  const side: Side = 'upstream_malformed';
  const text = bytes.toString('latin1', 0, bytes.length - 2);
  const lineEnd = text.indexOf('\r\n');
  const { status, reason, minor } = statusLine(text, lineEnd);
  const { fields: headers, starts } = parseFields(bytes, text, lineEnd + 2, limits.headers, side);
  const framing = framingOf(headers, side);
  if (framing.chunked && minor === 0) throw fault(side, 'Transfer-Encoding in HTTP/1.0');
  const isKnown = INTERIM.has(status) || (status === 101 && maySwitch);
  if (status < 200 && !(isKnown && minor === 1 && !framing.close)) {
    throw fault(side, 'An interim answer that some clients would take for the final one');
  }
  if ((status < 200 || status === 204) && (framing.chunked || (framing.contentLength ?? 0) > 0)) {
    throw fault(side, 'A body where the status allows none');
  }
  const length = responseLength(status, method, framing);
  return {
    head: { status, reason, headers, length, bytes, text, starts },
    keepAlive: length !== UNTIL_CLOSE && isKeptAlive(framing, minor),
  };
}

/** RFC 9112, section 4; many servers leave out the space before an empty reason. */
function statusLine(text: string, lineEnd: number): { status: number; reason: string; minor: 0 | 1 } {
  const minor = versionAt(text, 0, STATUS_AT - 1);
  const status = text.charCodeAt(STATUS_AT - 1) === SP ? statusAt(text) : -1;
  const end = STATUS_AT + 3;
  const hasReason = text.charCodeAt(end) === SP;
  const reason = hasReason ? text.slice(end + 1, lineEnd) : '';
  if (minor === undefined || status < 0 || !(hasReason ? REASON.test(reason) : lineEnd === end)) {
    throw fault('upstream_malformed', 'The status line is not "HTTP/1.1 status reason"');
  }
  return { status, reason, minor };
}

/** Three digits, 100 to 599; otherwise -1. */
function statusAt(text: string): number {
  let status = 0;
  for (let at = STATUS_AT; at < STATUS_AT + 3; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return -1;
    status = status * 10 + digit;
  }
  return status >= 100 && status < 600 ? status : -1;
}

/** RFC 9112, section 6.3 */
function responseLength(status: number, method: string, framing: Framing): number {
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return 0;
  if (framing.chunked) return CHUNKED;
  return framing.contentLength ?? UNTIL_CLOSE;
}
