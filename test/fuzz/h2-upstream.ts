import { END_STREAM, frame, DATA, headers, type Pairs } from '../support/h2-frames.ts';
import { leaks } from '../support/canary.ts';
import { damaged, fieldsOf, Making, pseudoOf } from './h2-making.ts';
import { type H2End, openClient, type Place, SCRIPTED } from './h2-place.ts';
import { H2Reading, messageOf, type StreamReading } from './h2-reading.ts';
import type { Field } from './hpack.ts';
import type { Random } from './random.ts';

const STATUSES = ['200', '200', '204', '206', '301', '304', '404', '500', '401'];
const BAD_STATUSES = ['', '99', '2x0', '1000', '101', '100', '199', '600', '200 OK'];
const BODIES = ['', 'x', 'HTTP/1.1 200 OK\r\n\r\n', 'd'.repeat(3000), 'e'.repeat(16_000)];
/** Of one leg, or not for a sandbox; the gate frames anew. */
const DROPPED = [
  'te',
  'trailer',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'http2-settings',
  'content-length',
  'alt-svc',
  'content-encoding',
];
/** The gate's first stream on a connection. */
const FIRST = 1;

/** What an upstream says to the first request of a connection; most of it right. */
function answers(random: Random, secret: string): Buffer {
  const making = new Making(random);
  const frames: Buffer[] = [];
  const other = (): void => void frames.push(making.other([FIRST]));
  if (random.chance(4)) other();
  for (let n = random.chance(5) ? random.below(20) : 0; n > 0; n--)
    frames.push(
      ...making.headers(
        FIRST,
        [[':status', random.pick(['103', '103', '100', '101'])], ...fieldsOf(random, [])],
        false,
      ),
    );
  const isEnd = random.chance(3);
  const body = Buffer.from(random.pick([...BODIES, `a ${secret} b`]));
  const fields = [
    ...pseudoOf(
      random,
      [[':status', random.pick(STATUSES)]],
      BAD_STATUSES.map(status => [':status', status] as const),
    ),
    ...fieldsOf(random, [
      ['x-echo', secret],
      ['set-cookie', 'a=b'],
      ['content-encoding', 'gzip'],
      ['alt-svc', 'h3=":443"'],
      ['x-c', `Bearer ${secret}`],
    ]),
  ];
  if (random.chance(3))
    fields.push(['content-length', `${random.chance(5) ? random.below(20) : isEnd ? 0 : body.length}`]);
  frames.push(...making.headers(FIRST, fields, isEnd));
  if (!isEnd) {
    const hasTrailers = random.chance(5);
    const pieces = random.split(body, random.below(4));
    pieces.forEach((piece, n) => {
      frames.push(making.data(FIRST, piece, n === pieces.length - 1 && !hasTrailers && !random.chance(8)));
      if (random.chance(12)) other();
    });
    if (hasTrailers) frames.push(...making.headers(FIRST, fieldsOf(random, [['x-late', secret]]), true));
    else if (pieces.length === 0) frames.push(making.data(FIRST, Buffer.alloc(0), true));
  }
  return damaged(Buffer.concat(frames), random);
}

/** One answer of an upstream: what is wrong with what the sandbox was given. */
export async function tryUpstream(place: Place, random: Random, seed?: Buffer): Promise<string | null> {
  const input = seed ?? answers(random, place.secret);
  const said = new H2Reading(4096);
  said.push(input);
  const session = await place.gate.session();
  const method = random.pick(['GET', 'GET', 'POST', 'HEAD']);
  const staysOpen = isWhole(said, method) && random.chance(2);
  place.script = end => void say(end, input, random, staysOpen);
  const client = await openClient(place, session, SCRIPTED);
  const head: Pairs = [
    [':method', method],
    [':scheme', 'https'],
    [':authority', SCRIPTED],
    [':path', '/'],
  ];
  client.send(headers(FIRST, head, method !== 'POST'));
  if (method === 'POST') client.send(frame(DATA, END_STREAM, FIRST, Buffer.from('hello')));
  const isOver = (): boolean =>
    client.isClosed ||
    client.reading.resets.has(FIRST) ||
    client.reading.streams.get(FIRST)?.isEnded === true;
  const isSettled = await client.until(isOver);
  client.socket.destroy();
  const wrong = isSettled
    ? (answered(client, said, method, place.secret) ?? (await audited(place, session.id)))
    : 'no answer';
  await place.gate.gate.sessions.revoke(session.id);
  return wrong && `${wrong}; to ${method} ${input.toString('hex')}`;
}

async function say(end: H2End, input: Buffer, random: Random, staysOpen: boolean): Promise<void> {
  for (const piece of random.split(input, random.below(4))) {
    end.send(piece);
    if (random.chance(2)) await new Promise(setImmediate);
  }
  if (!staysOpen) end.socket.end();
}

async function audited({ audit }: Place, session: string): Promise<string | null> {
  const lines = await audit.atLeast(1, session);
  if (lines.length !== 1) return `${lines.length} lines of audit for one request`;
  return lines[0]?.reason === 'internal_error' ? 'the gate failed' : null;
}

/** The final answer, with its index among the blocks. */
function final({
  blocks,
}: StreamReading): { status: string; fields: readonly Field[]; at: number } | undefined {
  for (const [at, block] of blocks.entries()) {
    const message = messageOf(block, [':status']);
    const status = message?.pseudo.get(':status');
    if (!message || status === undefined || !/^[1-5]\d\d$/.test(status)) return undefined;
    if (!status.startsWith('1')) return { status, fields: message.fields, at };
  }
  return undefined;
}

/** Whether the upstream has said all of an answer, and nothing that is wrong. */
function isWhole(said: H2Reading, method: string): boolean {
  const stream = said.streams.get(FIRST);
  const answer = stream && final(stream);
  return (
    answer !== undefined &&
    stream?.isEnded === true &&
    said.isAligned &&
    hasItsLength(stream, answer.fields, method)
  );
}

function hasItsLength({ body }: StreamReading, fields: readonly Field[], method: string): boolean {
  const lengths = fields.filter(([name]) => name === 'content-length').map(([, value]) => value);
  if (lengths.length === 0) return true;
  return lengths.length === 1 && (method === 'HEAD' || Number(lengths[0]) === body.length);
}

/** It is the gate's own refusal, or what the upstream said: the whole of it, or a beginning that is seen to be none. */
function answered({ reading }: H2End, said: H2Reading, method: string, secret: string): string | null {
  if (reading.broken) return `the gate sent what cannot be read: ${reading.broken}`;
  const got = reading.streams.get(FIRST);
  const shown = JSON.stringify([got?.blocks, got?.body.toString('latin1')]);
  if (leaks(shown, secret).length > 0) return `the secret came out: ${shown}`;
  const answer = got && final(got);
  if (!got || !answer)
    return got && got.blocks.length > 0 && got.isEnded ? `no final answer: ${shown}` : null;
  if (answer.fields.some(([name]) => name === 'stubgate-reason'))
    return got.isEnded ? null : `a refusal that is cut`;
  const upstream = said.streams.get(FIRST);
  const original = upstream && final(upstream);
  if (!upstream || !original)
    return `the upstream did not say ${shown}, but ${JSON.stringify(upstream?.blocks.map(block => block.map(([name, value]) => [name, value.slice(0, 30)])))}`;
  if (answer.status !== original.status) return `${answer.status} instead of ${original.status}`;
  const [mine, theirs] = [fieldsSaid(answer.fields, STUB_LIKE), fieldsSaid(original.fields, secret)];
  if (mine !== theirs) return `fields ${mine} instead of ${theirs}`;
  const whole = { ...upstream, body: upstream.isEnded ? upstream.body : said.bodySoFar(FIRST) };
  return bodyFault(got, whole, original.fields, method, reading.resets.has(FIRST), secret);
}

function bodyFault(
  got: StreamReading,
  upstream: StreamReading,
  fields: readonly Field[],
  method: string,
  isReset: boolean,
  known: string,
): string | null {
  const { secret, stub } = places(got.body, upstream.body, known);
  if (!got.isEnded || isReset)
    return stub || upstream.body.subarray(0, got.body.length).equals(got.body)
      ? null
      : 'another beginning of a body';
  const isBodyless = method === 'HEAD' || /^(?:204|304)$/.test(final(got)?.status ?? '');
  if (isBodyless) return got.body.length === 0 ? null : 'a body where there is none';
  if (!upstream.isEnded) return 'whole, though the upstream never ended it';
  if (!hasItsLength(upstream, fields, method)) return 'whole, though its length is another';
  return secret || upstream.body.equals(got.body) ? null : 'another body';
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Whether the secret stood there, and whether the stub stands in each of its places. */
function places(got: Buffer, upstream: Buffer, secret: string): { secret: boolean; stub: boolean } {
  const parts = upstream.toString('latin1').split(secret).map(escaped);
  const scrubbed = new RegExp(`^${parts.join(`${STUB_LIKE}[0-9A-Za-z]+`)}$`, 's');
  const stub = parts.length > 1;
  return { secret: stub && scrubbed.test(got.toString('latin1')), stub };
}

/** Begins the stub that stands in the place of the secret, whatever its field is called. */
const STUB_LIKE = 'sgs_';

/** Without those that hold `secret`. */
function fieldsSaid(fields: readonly Field[], secret: string): string {
  const kept = fields.filter(
    ([name, value]) =>
      !DROPPED.includes(name) && !value.includes(secret) && name !== 'x-echo' && name !== 'x-c',
  );
  return JSON.stringify(kept.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
