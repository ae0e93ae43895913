import { Buffer } from 'node:buffer';
import { asText, type Received, type Reflection, sentFields, valuesOf } from './reflection.ts';
import type { Kind, Probe } from './probe.ts';
import { CODINGS, SPELLINGS } from './spellings.ts';

const TEXT = [['content-type', 'text/plain']] as const;
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const textAnswer = (received: Received): Reflection => ({ headers: TEXT, body: latin1(asText(received)) });
const spelled = (received: Received, spell: (text: string) => string): string =>
  [asText(received), ...valuesOf(received)].map(spell).join('\n');

/** Each value that was received in a field of its own, in each spelling. */
function inFields(received: Received): (readonly [string, string])[] {
  const echoed = sentFields(received).map(([name, value]) => [`x-echo-${name}`, value] as const);
  const values = [asText(received, ' '), ...valuesOf(received)];
  const spellings = [...SPELLINGS.values()].flatMap((spell, i) =>
    values.map((value, j) => [`x-${i}-${j}`, spell(value)] as const),
  );
  return [...echoed, ...spellings].filter(([, value]) => /^[\x20-\x7e]*$/.test(value)).slice(0, 60);
}

const HEADS: readonly Probe[] = [
  {
    kind: 'status text',
    name: 'the fields',
    isHttp1: true,
    answer: r => ({ ...textAnswer(r), reason: asText(r, ' ') }),
  },
  {
    kind: 'status text',
    name: 'each value',
    isHttp1: true,
    answer: r => ({ ...textAnswer(r), reason: valuesOf(r).join(' ') }),
  },
  {
    kind: 'header',
    name: 'each field, each spelling',
    isMixed: true,
    answer: r => ({ headers: inFields(r) }),
  },
  { kind: 'header', name: 'without a body', answer: r => ({ status: 204, headers: inFields(r) }) },
  {
    kind: 'header',
    name: 'not modified',
    answer: r => ({ status: 304, headers: [['etag', `"${valuesOf(r).join('-')}"`], ...inFields(r)] }),
  },
  {
    kind: 'cookie',
    name: 'each value',
    answer: r => ({
      headers: valuesOf(r).map(value => ['set-cookie', `c=${value}; Path=/; HttpOnly`] as const),
    }),
  },
  {
    kind: 'redirect',
    name: 'in the query',
    answer: r => ({
      status: 302,
      headers: [
        ['location', `https://elsewhere.test/?at=${valuesOf(r).map(encodeURIComponent).join('&at=')}`],
      ],
    }),
  },
  {
    kind: 'redirect',
    name: 'in the path',
    answer: r => ({
      status: 307,
      headers: [['location', `/login/${valuesOf(r).map(encodeURIComponent).join('/')}`]],
    }),
  },
  {
    kind: 'interim answer',
    name: '103 with links',
    answer: r => ({ ...textAnswer(r), interim: [['link', `</${asText(r, ' ')}>; rel=preload`]] }),
  },
  {
    kind: 'trailer',
    name: 'each field',
    isMixed: true,
    fields: [['te', 'trailers']],
    answer: r => ({ body: Buffer.from('ok\n'), trailers: inFields(r).slice(0, 40) }),
  },
  { kind: 'HEAD', name: 'each field', method: 'HEAD', answer: r => ({ headers: inFields(r) }) },
];

const BODIES: readonly Probe[] = [
  { kind: 'body', name: 'in chunks', isMixed: true, answer: textAnswer },
  { kind: 'body', name: 'of a known length', answer: r => ({ ...textAnswer(r), framing: 'length' }) },
  {
    kind: 'body',
    name: 'until the connection ends',
    isHttp1: true,
    answer: r => ({ ...textAnswer(r), framing: 'close' }),
  },
  { kind: 'body', name: 'without a type', answer: r => ({ body: latin1(asText(r)) }) },
  {
    kind: 'body',
    name: 'said to be an image',
    answer: r => ({ headers: [['content-type', 'image/png']], body: latin1(asText(r)) }),
  },
  {
    kind: 'body',
    name: 'UTF-16',
    answer: r => ({
      headers: [['content-type', 'text/plain; charset=utf-16le']],
      body: Buffer.from(asText(r), 'utf16le'),
    }),
  },
  {
    kind: 'body',
    name: 'large, the secret at its end',
    answer: r => ({ headers: TEXT, body: latin1('x'.repeat(300_000) + asText(r)) }),
  },
  ...[...SPELLINGS].map(
    ([name, spell]): Probe => ({
      kind: 'spelled body',
      name,
      answer: r => ({ headers: TEXT, body: latin1(spelled(r, spell)) }),
    }),
  ),
  ...[...CODINGS].map(
    ([coding, encode]): Probe => ({
      kind: 'compressed body',
      name: coding === 'deflate ' ? 'deflate without a frame' : coding,
      isMixed: coding === 'gzip',
      answer: r => ({
        headers: [...TEXT, ['content-encoding', coding.trim()]],
        body: encode(latin1(asText(r))),
      }),
    }),
  ),
  {
    kind: 'compressed body',
    name: 'gzip that is none',
    answer: r => ({ headers: [...TEXT, ['content-encoding', 'gzip']], body: latin1(asText(r)) }),
  },
  {
    kind: 'compressed body',
    name: 'a coding that nobody knows',
    answer: r => ({ headers: [...TEXT, ['content-encoding', 'x-none']], body: latin1(asText(r)) }),
  },
  {
    kind: 'compressed body',
    name: 'gzip, byte by byte',
    answer: r => ({
      headers: [...TEXT, ['content-encoding', 'gzip']],
      body: CODINGS.get('gzip')?.(latin1(asText(r))) as Buffer,
      step: 1,
    }),
  },
  {
    kind: 'body in pieces',
    name: 'byte by byte',
    isMixed: true,
    answer: r => ({ ...textAnswer(r), step: 1 }),
  },
  {
    kind: 'body in pieces',
    name: 'byte by byte, slowly',
    answer: r => ({ ...textAnswer(r), step: 1, drips: true }),
  },
  { kind: 'body in pieces', name: 'cut at every byte', answer: cutEverywhere },
  {
    kind: 'body in pieces',
    name: 'base64, cut at every byte',
    answer: r =>
      cutEverywhere({
        ...r,
        headers: [],
        target: latin1(asText(r)).toString('base64'),
        body: Buffer.alloc(0),
      }),
  },
  {
    kind: 'event stream',
    name: 'events',
    answer: r => ({
      headers: [['content-type', 'text/event-stream']],
      body: latin1(
        `event: echo\n${asText(r)
          .split('\n')
          .map(line => `data: ${line}\n`)
          .join('')}\n`.repeat(3),
      ),
      step: 7,
      drips: true,
    }),
  },
  ...[400, 403, 404, 422, 429, 500, 503].map(
    (status): Probe => ({
      kind: 'error page',
      name: `${status}`,
      answer: r => ({ ...textAnswer(r), status, reason: 'Error' }),
    }),
  ),
  {
    kind: 'range',
    name: 'partial content',
    fields: [['range', 'bytes=0-']],
    answer: r => ({ ...textAnswer(r), status: 206, headers: [['content-range', 'bytes 0-99/100']] }),
  },
  { kind: 'range', name: 'multipart', fields: [['range', 'bytes=0-9,10-']], answer: multipart },
  {
    kind: 'gRPC',
    name: 'a message, and its status',
    fields: [
      ['te', 'trailers'],
      ['content-type', 'application/grpc'],
    ],
    answer: grpc,
  },
];

/** The text again and again, in pieces one byte longer than it: each repetition is cut at another byte. */
function cutEverywhere(received: Received): Reflection {
  const text = `${asText(received)}\n`;
  return { headers: TEXT, body: latin1(text.repeat(text.length + 1)), step: text.length + 1 };
}

/** Each part holds the whole: a secret that is cut into parts is what a Range asks for, which the gate does not forward. */
function multipart(received: Received): Reflection {
  const text = asText(received);
  const parts = [0, text.length].map(
    from =>
      `--b\r\nContent-Range: bytes ${from}-${from + text.length - 1}/${2 * text.length}\r\n\r\n${text}\r\n`,
  );
  return {
    status: 206,
    headers: [['content-type', 'multipart/byteranges; boundary=b']],
    body: latin1(`${parts.join('')}--b--\r\n`),
  };
}

/** A length-prefixed message, and the status in the trailers (gRPC over HTTP/2). */
function grpc(received: Received): Reflection {
  const data = latin1(asText(received));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(data.length, 1);
  return {
    headers: [['content-type', 'application/grpc']],
    body: Buffer.concat([prefix, data]),
    trailers: [
      ['grpc-status', '3'],
      ['grpc-message', encodeURIComponent(asText(received, ' '))],
    ],
  };
}

const SOCKETS: readonly Probe[] = [
  { kind: 'WebSocket', name: 'text', step: 0, isText: true },
  { kind: 'WebSocket', name: 'binary', step: 0, isText: false },
  { kind: 'WebSocket', name: 'text in frames of one byte', step: 1, isText: true },
  { kind: 'WebSocket', name: 'text in frames of seven bytes', step: 7, isText: true },
].map(({ kind, name, step, isText }) => ({
  kind: kind as Kind,
  name,
  answers: 2,
  answer: () => ({ status: 400 }),
  messages: r => {
    const data = latin1(asText(r).replace(/[^\x20-\x7e\n]/g, '.'));
    const both = [data, latin1(spelled(r, SPELLINGS.get('base64') as (text: string) => string))];
    return both.map(one => ({ data: one, isText, step: step || one.length || 1 }));
  },
}));

export const PROBES: readonly Probe[] = [...HEADS, ...BODIES];
export const WEBSOCKET_PROBES = SOCKETS;
