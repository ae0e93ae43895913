import { Buffer } from 'node:buffer';
import { Refusal } from '../../errors.ts';
import { has, isNamed, Names } from '../../fields.ts';
import { STATUS_CODES } from '../../http.ts';
import { CHUNKED, type RawHeaders, type RequestHead, type ResponseHead, UNTIL_CLOSE } from '../../types.ts';
import { isToken } from '../chars.ts';
import { checkTrailers } from '../chunked.ts';
import { fault, type Side } from '../fault.ts';
import { parseFields } from '../fields.ts';
import { parseRequestHead, parseResponseHead } from '../head.ts';
import type { ClientLimits, WireLimits } from '../limits.ts';

// A head of HTTP/2 is written as the HTTP/1.1 head that says the same, and read by the same strict reader: whatever is
// refused there is refused here, and the rest of the gate knows one kind of head.

/** Written into one line of text, these would end it; none may stand in HTTP/2 either (RFC 9113, section 8.2.1). */
const ENDS_LINE = /[\0\r\n]/;
const UPPER_CASE = /[A-Z]/;
/** Fields of a connection (RFC 9113, section 8.2.2). */
const OF_CONNECTION = new Names(
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
);
const REQUEST_PSEUDO = [':method', ':scheme', ':authority', ':path', ':protocol'];

interface Split {
  readonly pseudo: ReadonlyMap<string, string>;
  /** name, value, … without pseudo-header fields. */
  readonly fields: string[];
}

/** Sorts the pseudo-header fields out (RFC 9113, section 8.3). `raw`: name, value, … as received. */
function split(raw: RawHeaders, known: readonly string[], side: Side): Split {
  const pseudo = new Map<string, string>();
  const fields: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    if (ENDS_LINE.test(name) || ENDS_LINE.test(value)) throw fault(side, 'A line end in a header');
    if (UPPER_CASE.test(name)) throw fault(side, 'A header name in upper case');
    if (!name.startsWith(':')) {
      checkField(name, value, side);
      fields.push(name, value);
    } else if (!known.includes(name)) throw fault(side, 'An unknown pseudo-header');
    else if (pseudo.has(name)) throw fault(side, `Two ${name} pseudo-headers`);
    else if (fields.length > 0) throw fault(side, 'A pseudo-header behind a header');
    else pseudo.set(name, value);
  }
  return { pseudo, fields };
}

function checkField(name: string, value: string, side: Side): void {
  // A colon in it would end the name in the text.
  if (!isToken(name)) throw fault(side, 'A header name holds a character that is not allowed');
  if (OF_CONNECTION.has(name)) throw fault(side, 'A header of HTTP/1.1 connections');
  if (name === 'te' && value.toLowerCase() !== 'trailers') throw fault(side, 'A TE other than trailers');
}

/**
 * A request's head. `text` is the HTTP/1.1 head that says the same, and `length` CHUNKED if it is not known: for an
 * extended CONNECT (RFC 8441, section 4) a GET with Upgrade. `isEnd`: no body follows. Throws a Refusal.
 */
export function requestHead(raw: RawHeaders, isEnd: boolean, limits: WireLimits): RequestHead {
  const side = 'malformed_request';
  const { pseudo, fields } = split(raw, REQUEST_PSEUDO, side);
  const [asked, scheme, authority, path, protocol] = REQUEST_PSEUDO.map(name => pseudo.get(name));
  if (asked === 'CONNECT' && protocol === undefined) throw fault(side, 'CONNECT inside a tunnel');
  if (asked !== 'CONNECT' && protocol !== undefined) throw fault(side, 'A :protocol without CONNECT');
  const method = protocol === undefined ? asked : 'GET';
  if (!method || !authority || !path) throw fault(side, 'A request needs :method, :authority and :path');
  if (scheme !== 'https') throw fault(side, 'A :scheme other than https inside TLS');
  const upgrade = protocol === undefined ? [] : ['connection', 'Upgrade', 'upgrade', protocol];
  const bytes = textOf(`${method} ${path} HTTP/1.1`, [...joined(authority, fields), ...upgrade]);
  if (bytes.length > limits.head) throw new Refusal('head_too_large');
  const head = parseRequestHead(bytes, limits, false);
  if (head.method !== method || head.target !== path) throw fault(side, 'A space in a pseudo-header');
  if (protocol !== undefined) return checkHandshake(head, isEnd);
  if (isEnd && head.length > 0) throw fault(side, 'A Content-Length without a body');
  return isEnd || has(head.headers, 'content-length') ? head : { ...head, length: CHUNKED };
}

/** What follows it is another protocol, and no body. */
function checkHandshake(head: RequestHead, isEnd: boolean): RequestHead {
  if (isEnd) throw fault('malformed_request', 'An extended CONNECT that ends its stream');
  if (has(head.headers, 'content-length')) throw fault('malformed_request', 'CONNECT with a body');
  return head;
}

/** The fields behind one Host, and with one Cookie (RFC 9113, section 8.2.3). */
function joined(authority: string, fields: readonly string[]): string[] {
  const kept = ['host', authority];
  let cookieAt = -1;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    // One that differs makes a value that names no host, and is refused as such.
    if (name === 'host') kept[1] += value === authority ? '' : `, ${value}`;
    else if (name === 'cookie' && cookieAt >= 0) kept[cookieAt] += `; ${value}`;
    else if (name === 'cookie') cookieAt = kept.push(name, value) - 1;
    else kept.push(name, value);
  }
  return kept;
}

/** A response's head; an interim one's too. `length` is CHUNKED if it is not known. Throws a Refusal. */
export function responseHead(
  raw: RawHeaders,
  isEnd: boolean,
  limits: ClientLimits,
  method: string,
): ResponseHead {
  const side = 'upstream_malformed';
  const { pseudo, fields } = split(raw, [':status'], side);
  const status = pseudo.get(':status') ?? '';
  const bytes = textOf(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, fields);
  if (bytes.length > limits.head) throw fault(side, 'The response head is too large');
  const { head } = parseResponseHead(bytes, limits, method);
  if (head.length === UNTIL_CLOSE) return { ...head, length: isEnd ? 0 : CHUNKED };
  if (isEnd && head.length > 0) throw fault(side, 'A Content-Length without a body');
  return head;
}

/** The fields of a trailer section (RFC 9113, section 8.1). Throws a Refusal. */
export function trailersOf(raw: RawHeaders, limits: { readonly headers: number }, side: Side): RawHeaders {
  if (raw.length === 0) return raw;
  const { fields } = split(raw, [], side);
  const bytes = textOf('', fields);
  const text = bytes.toString('latin1', 0, bytes.length - 2);
  const { fields: trailers } = parseFields(bytes, text, 2, limits.headers, side);
  checkTrailers(trailers, side);
  return trailers;
}

function textOf(line: string, headers: RawHeaders): Buffer {
  let text = `${line}\r\n`;
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return Buffer.from(`${text}\r\n`, 'latin1');
}

/** What a head that was refused said, as text, for the stubs and secrets in it; of no form. */
export function unreadableBytes(raw: RawHeaders): Buffer {
  const method = raw.findIndex((name, i) => i % 2 === 0 && isNamed(name, ':method'));
  return textOf(`${method < 0 ? '-' : raw[method + 1]} -`, raw);
}
