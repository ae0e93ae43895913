import { hash, randomBytes } from 'node:crypto';
import { Refusal } from '../../errors.ts';
import { get, has, listOf, Names } from '../../fields.ts';
import type { RawHeaders, RequestHead, ResponseHead } from '../../types.ts';
import { isToken } from '../chars.ts';
import { fault } from '../fault.ts';
import { endToEnd, refuseUpgrade } from '../headers.ts';

/** What a client asks for when it asks for a WebSocket. */
export interface Offer {
  /**
   * `Sec-WebSocket-Accept` of the answer to it. HTTP/2 has no use for it (RFC 8441, section 5), but Node's own client
   * sends a key there, too, and waits for this.
   */
  readonly accept: string | undefined;
  /** Asked for by an extended CONNECT. */
  readonly isHttp2: boolean;
  /** Subprotocols, in its order. */
  readonly protocols: readonly string[];
}

const VERSION = '13';
/** Base64 of 16 bytes, in its one canonical spelling. */
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The gate has a key of its own with each peer, and speaks no extension with either. */
const OF_ONE_LEG = new Names('sec-websocket-key', 'sec-websocket-extensions');
const OF_ONE_ANSWER = new Names(
  'sec-websocket-accept',
  'sec-websocket-extensions',
  'sec-websocket-key',
  'sec-websocket-version',
  'sec-websocket-protocol',
);

/**
 * The WebSocket that a request asks for (RFC 6455, section 4.2.1); undefined if it asks for no other protocol. `isHttp2`:
 * Upgrade stands for an extended CONNECT. Throws `upgrade_refused` for one that is not WebSocket, `malformed_request`
 * for a handshake that is not right.
 */
export function offerOf(head: RequestHead, isHttp2 = false): Offer | undefined {
  const upgrade = get(head.headers, 'upgrade');
  if (upgrade === undefined) return undefined;
  if (upgrade.toLowerCase() !== 'websocket') {
    // Nobody goes on without it after an extended CONNECT.
    if (isHttp2) throw new Refusal('upgrade_refused');
    refuseUpgrade(head.headers);
    return undefined;
  }
  if (head.method !== 'GET' || head.minor !== 1) throw bad('is GET with HTTP/1.1');
  if (head.length !== 0 || head.expectContinue) throw bad('has no body');
  if (!names(head.headers, 'connection', 'upgrade')) throw bad('has Connection: Upgrade');
  if (one(head.headers, 'sec-websocket-version') !== VERSION) throw bad('has Sec-WebSocket-Version: 13');
  const accept = acceptFor(head.headers, isHttp2);
  const protocols = all(head.headers, 'sec-websocket-protocol').flatMap(value =>
    value.split(/[ \t]*,[ \t]*/),
  );
  if (!protocols.every(isToken)) throw bad('names its subprotocols as tokens');
  return { accept, isHttp2, protocols };
}

function acceptFor(headers: RawHeaders, isHttp2: boolean): string | undefined {
  if (isHttp2 && !has(headers, 'sec-websocket-key')) return undefined;
  const key = one(headers, 'sec-websocket-key');
  if (key === undefined || !KEY.test(key)) throw bad('has one Sec-WebSocket-Key, base64 of 16 bytes');
  return acceptOf(key);
}

/** A key for the upstream. */
export function newKey(): string {
  return randomBytes(16).toString('base64');
}

/** RFC 6455, section 4.2.2 */
function acceptOf(key: string): string {
  return hash('sha1', key + GUID, 'base64');
}

/** Whether a field of the client's handshake stays on its leg. */
export function isOfOneLeg(name: string): boolean {
  return OF_ONE_LEG.has(name);
}

/** What the gate adds to the handshake that it sends in HTTP/1.1. */
export function handshakeFields(key: string): string[] {
  return ['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Key', key];
}

/**
 * Throws `upstream_malformed` unless a 101 is the answer to `key` (RFC 6455, section 4.1); without a key it is the answer
 * of an upstream in HTTP/2.
 */
export function checkAnswer({ headers }: ResponseHead, key: string | undefined): void {
  if (all(headers, 'sec-websocket-extensions').length > 0) throw wrong('with an extension nobody offered');
  if (key === undefined) return;
  const [upgrade, ...more] = all(headers, 'upgrade');
  if (upgrade?.toLowerCase() !== 'websocket' || more.length > 0) throw wrong('to another protocol');
  if (!names(headers, 'connection', 'upgrade')) throw wrong('without Connection: Upgrade');
  if (one(headers, 'sec-websocket-accept') !== acceptOf(key)) throw wrong('without the Sec-WebSocket-Accept');
}

/**
 * The fields of the gate's own answer to the client. `headers`: those of the upstream's, scrubbed, so that a subprotocol
 * is compared as the client wrote it.
 */
export function answerFields(headers: RawHeaders, { accept, isHttp2, protocols }: Offer): string[] {
  const chosen = all(headers, 'sec-websocket-protocol');
  if (chosen.length > 1 || !chosen.every(protocol => protocols.includes(protocol))) {
    throw wrong('to a subprotocol nobody offered');
  }
  return [
    ...endToEnd(headers, OF_ONE_ANSWER),
    ...(isHttp2 ? [] : ['Upgrade', 'websocket', 'Connection', 'Upgrade']),
    ...(accept === undefined ? [] : ['Sec-WebSocket-Accept', accept]),
    ...chosen.flatMap(protocol => ['Sec-WebSocket-Protocol', protocol]),
  ];
}

/** Whether some field called `name` lists `member`; both in lower case. */
function names(headers: RawHeaders, name: string, member: string): boolean {
  return all(headers, name).some(value => listOf(value).includes(member));
}

/** The value of a field that must stand exactly once. */
function one(headers: RawHeaders, name: string): string | undefined {
  const values = all(headers, name);
  return values.length === 1 ? values[0] : undefined;
}

function all(headers: RawHeaders, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() === name) values.push(headers[i + 1] as string);
  }
  return values;
}

function bad(what: string): Error {
  return fault('malformed_request', `A WebSocket handshake ${what} (RFC 6455, section 4.1)`);
}

function wrong(how: string): Error {
  return fault('upstream_malformed', `The upstream switched ${how} (RFC 6455, section 4.1)`);
}
