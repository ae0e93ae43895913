import { headers } from '../support/h2-frames.ts';
import type { TestSession } from '../support/gate.ts';
import { fieldsOf, Making, pseudoOf, damaged } from './h2-making.ts';
import { type H2End, openClient, type Place } from './h2-place.ts';
import { H2Reading, messageOf, type StreamReading } from './h2-reading.ts';
import type { H1Request } from './h1-reading.ts';
import type { Field } from './hpack.ts';
import type { Random } from './random.ts';

const PSEUDO = [':method', ':scheme', ':authority', ':path'];
/** Not forwarded: they end at this hop, or are written anew; Host stands for itself. */
const OF_HOP = [
  'te',
  'trailer',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'http2-settings',
  'content-length',
  'transfer-encoding',
  'host',
];
const RANGES = ['range', 'if-range'];
const METHODS = ['GET', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'BREW'];
const PATHS = [
  '/',
  '/a',
  '/a?b=c',
  '/a%2Fb',
  '//h',
  '/x/../y',
  '/%2e%2e/',
  '*',
  '/a b',
  '/a#b',
  '',
  'a',
  '/\\h',
  '/é',
  '/a\r\nx: y',
  '/a HTTP/1.1\r\n\r\n',
  '/\0',
];
const BODIES = [
  '',
  'x',
  'GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n',
  '0\r\n\r\n',
  'b'.repeat(3000),
  'c'.repeat(20_000),
];

/** One request as it may reach an upstream. */
interface Request {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly fields: readonly Field[];
  readonly body: Buffer;
  readonly isEnded: boolean;
}

/** Frames of a client, most of them right, behind its preface; `host`: that the tunnel leads to. */
export function requestsTo(random: Random, host: string, stub: string): Buffer {
  const making = new Making(random);
  const frames: Buffer[] = [];
  for (let n = 1 + random.below(4); n > 0; n--) {
    const id = making.nextId;
    making.nextId += random.chance(30) ? 4 : 2;
    frames.push(...request(making, id, host, stub));
    if (random.chance(3)) frames.push(making.other([id, 1]));
    for (const open of making.open.slice())
      if (!random.chance(3))
        frames.push(making.data(open, Buffer.from(random.pick(BODIES)), random.chance(2)));
  }
  for (const open of making.open.slice())
    if (!random.chance(6)) frames.push(making.data(open, Buffer.alloc(0), true));
  return damaged(Buffer.concat(frames), random);
}

function request(making: Making, id: number, host: string, stub: string): Buffer[] {
  const { random } = making;
  const method = random.pick(METHODS);
  const right: Field[] = [
    [':method', method],
    [':scheme', 'https'],
    [':authority', host],
    [':path', random.chance(3) ? random.pick(PATHS) : `/r${id}`],
  ];
  const doubtful: Field[] = [
    [
      ':authority',
      random.pick([
        'other.test',
        `${host}:443`,
        `${host}:8443`,
        `${host}.`,
        host.toUpperCase(),
        `me@${host}`,
        '',
      ]),
    ],
    [':method', random.pick(['CONNECT', 'get', 'G T', ''])],
    [':scheme', random.pick(['http', 'HTTPS', ''])],
    [':path', random.pick(PATHS)],
    [':protocol', 'websocket'],
    [':status', '200'],
  ];
  const fields = [
    ...pseudoOf(random, right, doubtful),
    ...fieldsOf(random, [
      ['host', host],
      ['authorization', `Bearer ${stub}`],
      ['x-note', random.chance(4) ? stub : 'none'],
    ]),
  ];
  if (random.chance(30)) fields.push(fields.shift() as Field);
  const isEnd = random.chance(2);
  const body = Buffer.from(random.pick(BODIES));
  const said = random.chance(5) ? random.below(9) : isEnd ? 0 : body.length;
  if (random.chance(3)) fields.push(['content-length', `${said}`]);
  const frames = making.headers(id, fields, isEnd);
  if (isEnd) return frames;
  const pieces = random.split(body, random.below(3));
  const hasTrailers = random.chance(10);
  pieces.forEach((piece, n) => {
    frames.push(making.data(id, piece, n === pieces.length - 1 && !hasTrailers && !random.chance(6)));
    if (random.chance(10)) frames.push(making.other([id]));
  });
  if (hasTrailers) frames.push(...making.headers(id, fieldsOf(random, [['x-t', 't']]), true));
  return frames;
}

/** One connection of a client to `host`: what is wrong with what came of it. */
export async function tryClient(
  place: Place,
  random: Random,
  host: string,
  seed?: Buffer,
): Promise<string | null> {
  place.h1.forget(host);
  place.h2.forget(host);
  const session = await place.gate.session();
  const input = seed ?? requestsTo(random, host, session.stubs['API_KEY'] ?? '');
  const client = await openClient(place, session, host);
  const said = new H2Reading(4096);
  said.push(input);
  client.isSilent = true;
  for (const piece of random.split(input, random.below(4))) {
    client.send(piece);
    if (random.chance(2)) await new Promise(setImmediate);
  }
  const last = await ending(client, said, host);
  client.socket.destroy();
  const wrong =
    last ?? (await audited(place, client, said, session)) ?? forwarded(place, said, host, session);
  await place.gate.gate.sessions.revoke(session.id);
  return wrong && `${wrong}; to ${host} ${input.toString('hex')}`;
}

/** A connection that can go on serves one more request; any other one ends. */
async function ending(client: H2End, said: H2Reading, host: string): Promise<string | null> {
  const id = (said.highest | 1) + 2;
  const isSane = said.isAligned && said.highest < 1000 && said.goaways.length === 0;
  if (isSane) {
    client.speak();
    const last = headers(
      id,
      PSEUDO.map((name, n) => [name, ['GET', 'https', host, '/last'][n] as string] as const),
    );
    client.send(last);
    // Byte for byte what was sent, so that the reading knows of it.
    said.push(last);
  } else client.socket.end();
  const isOver = (): boolean => client.isClosed || client.reading.streams.has(id);
  if (!(await client.until(isOver))) return isSane ? 'the next valid request is not answered' : 'not closed';
  return client.reading.broken ? `the gate sent what cannot be read: ${client.reading.broken}` : null;
}

/** Exactly one line for each request that was begun, as far as can be told which were. */
async function audited(
  { audit }: Place,
  { reading }: H2End,
  said: H2Reading,
  { id }: TestSession,
): Promise<string | null> {
  const begun = [...said.streams.keys()];
  const hasGap = begun.some((stream, n) => stream !== 2 * n + 1);
  const isSure = said.goaways.length === 0 && reading.streams.has(begun.at(-1) as number);
  // Behind a fault of the connection, what was still read of it is not known.
  const told = new Set([...reading.streams.keys(), ...reading.resets.keys()]);
  const processed = isSure ? begun : begun.filter(stream => told.has(stream));
  const lines = await audit.atLeast(processed.length, id);
  if (lines.length < processed.length)
    return `${lines.length} lines of audit for requests ${processed.join()}`;
  // Behind what we cannot read, the gate may read on; identifiers that are left out are told of, up to a bound.
  const most = said.isAligned ? (hasGap ? Math.min(said.highest, 400) + 2 : begun.length) : Infinity;
  if (lines.length > most) return `${lines.length} lines of audit for ${most} requests`;
  const failed = lines.find(({ reason }) => reason === 'internal_error');
  return failed ? `the gate failed: ${JSON.stringify(failed)}` : null;
}

/** What reached the upstream was said by one of the streams, each once. */
function forwarded(place: Place, said: H2Reading, host: string, { stubs }: TestSession): string | null {
  const secret = /\.open\d\.test$/.test(host) ? undefined : place.secret;
  const expected = [...said.streams.values()].map(one =>
    requestOf(
      { ...one, body: one.isEnded ? one.body : said.bodySoFar(one.id) },
      host,
      stubs['API_KEY'] ?? '',
      secret,
    ),
  );
  const received: Request[] = [];
  for (const read of place.h1.of(host)) {
    const { requests, broken } = read();
    if (broken) return `an upstream cannot read it: ${broken}`;
    received.push(...requests.map(fromH1));
  }
  for (const { streams, broken } of place.h2.of(host)) {
    if (broken) return `an upstream cannot read it: ${broken}`;
    for (const stream of streams.values()) {
      const read = fromH2(stream);
      if (!read) return `an upstream cannot read the head ${JSON.stringify(stream.blocks[0])}`;
      received.push(read);
    }
  }
  for (const one of received) {
    const at = expected.findIndex(other => other !== undefined && isSame(one, other));
    if (at < 0)
      return `nobody said ${shown(one)}; said ${expected.map(other => other && shown(other)).join(' ')}`;
    expected[at] = undefined;
  }
  return null;
}

/** The whole of it, or a beginning that is seen to be none. */
function isSame(received: Request, said: Request): boolean {
  if (head(received) !== head(said)) return false;
  if (received.isEnded) return said.isEnded && received.body.equals(said.body);
  return said.body.subarray(0, received.body.length).equals(received.body);
}

const head = ({ method, path, host, fields }: Request): string =>
  JSON.stringify([method, path, host, sorted(fields)]);
const shown = (one: Request): string => `${head(one)} ${one.isEnded ? 'ended' : 'open'} ${one.body.length}`;

/** By name, values of one name in their order: HTTP/2 leaves the order between names open. */
const sorted = (fields: readonly Field[]): Field[] =>
  // White space at the ends is no part of a value (RFC 9110, section 5.5).
  fields
    .map(([name, value]): Field => [name, value.replace(/^[ \t]+|[ \t]+$/g, '')])
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

function fromH1({ method, path, fields, body, isEnded }: H1Request): Request {
  const lower = fields.map(([name, value]): Field => [name.toLowerCase(), value]);
  const hosts = lower.filter(([name]) => name === 'host').map(([, value]) => value);
  return {
    method,
    path,
    host: hosts.join('|'),
    fields: lower.filter(([name]) => !OF_HOP.includes(name)),
    body,
    isEnded,
  };
}

function fromH2({ blocks, body, isEnded }: StreamReading): Request | undefined {
  const message = messageOf(blocks[0] ?? [], PSEUDO);
  if (!message || blocks.length > 1 || message.fields.length + PSEUDO.length < (blocks[0] ?? []).length)
    return undefined;
  const [method = '', , host = '', path = ''] = PSEUDO.map(name => message.pseudo.get(name));
  return {
    method,
    path,
    host,
    fields: message.fields.filter(([name]) => !OF_HOP.includes(name)),
    body,
    isEnded,
  };
}

/** What may be forwarded of a stream; undefined: nothing. */
function requestOf(
  stream: StreamReading,
  host: string,
  stub: string,
  secret: string | undefined,
): Request | undefined {
  const message = messageOf(stream.blocks[0] ?? [], PSEUDO);
  if (!message) return undefined;
  const [method = '', scheme, authority = '', path = ''] = PSEUDO.map(name => message.pseudo.get(name));
  const isRight =
    /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method) &&
    method !== 'CONNECT' &&
    scheme === 'https' &&
    authority.replace(/:443$/, '').replace(/\.$/, '').toLowerCase() === host &&
    /^(?:\/[\x21-\x7e]*|\*)$/.test(path);
  if (!isRight || message.fields.some(([name, value]) => name === 'host' && value !== authority))
    return undefined;
  const lengths = message.fields.filter(([name]) => name === 'content-length').map(([, value]) => value);
  if (lengths.length > 1 || lengths.some(value => !/^\d+$/.test(value))) return undefined;
  const fields = swapped(joined(message.fields), stub, secret);
  if (!fields) return undefined;
  const trailers = stream.blocks
    .slice(1)
    .flatMap(block => messageOf(block, [])?.fields ?? [['', ''] as const]);
  // What has its length is whole before it ends.
  const isEnded = lengths.length === 0 ? stream.isEnded : Number(lengths[0]) === stream.body.length;
  return {
    method,
    path,
    host: authority,
    fields,
    body: stream.body,
    // Trailers behind a body that is none by its length come too late: they are dropped.
    isEnded: isEnded && (trailers.length === 0 || lengths[0] === '0'),
  };
}

/** Codings that the gate decodes; it asks for no others. */
function known(value: string): string {
  const kept = value
    .split(',')
    .map(one => one.trim())
    .filter(one => /^(?:gzip|deflate|br|zstd|identity)(?:\s*;|$)/i.test(one));
  return kept.length > 0 ? kept.join(', ') : 'identity';
}

/** Without the fields of the hop, and with one Cookie (RFC 9113, section 8.2.3). */
function joined(fields: readonly Field[]): Field[] {
  const cookies = fields.filter(([name]) => name === 'cookie').map(([, value]) => value);
  const others = fields.filter(([name]) => name !== 'cookie' && !OF_HOP.includes(name));
  const all: Field[] = others.map(([name, value]) => [
    name,
    name === 'accept-encoding' ? known(value) : value,
  ]);
  return cookies.length > 0 ? [...all, ['cookie', cookies.join('; ')]] : all;
}

/** With the secret in the place of the stub; undefined: there is a stub, or another's credential, where none may be. */
function swapped(fields: readonly Field[], stub: string, secret: string | undefined): Field[] | undefined {
  if (secret === undefined) return fields.some(([, value]) => value.includes(stub)) ? undefined : [...fields];
  if (fields.filter(([name]) => name === 'authorization').length > 1) return undefined;
  const kept: Field[] = [];
  for (const [name, value] of fields) {
    if (RANGES.includes(name)) continue;
    if (name !== 'authorization' && value.includes(stub)) return undefined;
    // The scheme is blind to case (RFC 9110, section 11.1), and stays as it came.
    const scheme = name === 'authorization' ? /^bearer /i.exec(value)?.[0] : '';
    if (scheme === undefined || (scheme !== '' && value !== scheme + stub)) return undefined;
    kept.push([name, scheme === '' ? value : scheme + secret]);
  }
  return kept;
}
