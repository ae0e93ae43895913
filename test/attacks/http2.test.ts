import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import type { AuditEvent } from '../../src/types.ts';
import { leaks } from '../support/canary.ts';
import { ask, openH2, openH2Socket } from '../support/h2.ts';
import {
  block,
  CANCEL,
  CONTINUATION,
  END_STREAM,
  FrameClient,
  frame,
  HEADERS,
  headers,
  type Outcome,
  type Pairs,
  PING,
  PROTOCOL_ERROR,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from '../support/h2-frames.ts';
import { openScene, type Scene } from './scene.ts';

let scene: Scene;
beforeAll(async () => {
  scene = await openScene({ config: { limits: { head: '32KiB', uri: '8KiB', headers: 100 } } });
});
afterAll(() => scene.close());

const HOST = 'api.test';
const PSEUDO: Pairs = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', HOST],
  [':path', '/x'],
];
const withPseudo = (name: string, value: string): Pairs =>
  PSEUDO.map(pair => (pair[0] === name ? [name, value] : pair));
const without = (name: string): Pairs => PSEUDO.filter(pair => pair[0] !== name);
const plus = (...more: Pairs): Pairs => [...PSEUDO, ...more];

async function client(host = HOST): Promise<FrameClient> {
  const raw = new FrameClient(await openH2Socket(scene.session.proxy, scene.gate.ca, host));
  onTestFinished(() => void raw.socket.destroy());
  return raw;
}

const audited = (): number => scene.gate.auditText().split('\n').length - 1;

interface Around {
  readonly before: number;
  readonly mark: ReturnType<Scene['upstream']['mark']>;
}
const start = (): Around => ({ before: audited(), mark: scene.upstream.mark() });

/** The audit's new lines, exactly as many. */
async function lines({ before }: Around, count: number): Promise<AuditEvent[]> {
  const all = await scene.gate.audit(before + count);
  expect(all).toHaveLength(before + count);
  return all.slice(before);
}

/** The gate serves others as before. */
async function expectServing(): Promise<void> {
  const session = await openH2(scene.session.proxy, scene.gate.ca, HOST);
  const reply = await ask(session, { ':path': '/good', ':authority': HOST });
  session.destroy();
  expect([reply.status, reply.body.toString()]).toEqual([200, 'ok']);
}

interface Refused {
  readonly name: string;
  readonly fields: (scene: Scene) => Pairs;
  readonly code: Reason;
  readonly host?: string;
}

const REFUSED: readonly Refused[] = [
  { name: 'another :authority', fields: () => withPseudo(':authority', 'open.test'), code: 'host_mismatch' },
  {
    name: ':authority with another port',
    fields: () => withPseudo(':authority', 'api.test:8443'),
    code: 'host_mismatch',
  },
  { name: 'host that differs', fields: () => plus(['host', 'open.test']), code: 'host_mismatch' },
  {
    name: 'host that is right, :authority not',
    fields: () => [...withPseudo(':authority', 'open.test'), ['host', HOST]],
    code: 'host_mismatch',
  },
  {
    name: 'host without :authority',
    fields: () => [...without(':authority'), ['host', HOST]],
    code: 'malformed_request',
  },
  { name: ':scheme http', fields: () => withPseudo(':scheme', 'http'), code: 'malformed_request' },
  { name: ':path without a slash', fields: () => withPseudo(':path', '/\\host'), code: 'malformed_request' },
  {
    name: ':path with two slashes',
    fields: () => withPseudo(':path', '//evil.test/'),
    code: 'malformed_request',
  },
  { name: ':path with a fragment', fields: () => withPseudo(':path', '/a#b'), code: 'malformed_request' },
  {
    name: ':path with a dot segment',
    fields: () => withPseudo(':path', '/a/%2e%2e/b'),
    code: 'ambiguous_path',
  },
  { name: ':method in lower case', fields: () => withPseudo(':method', 'get'), code: 'malformed_request' },
  {
    name: 'two authorization',
    fields: ({ stub }) => plus(['authorization', `Bearer ${stub}`], ['authorization', 'Bearer x']),
    code: 'malformed_request',
  },
  { name: 'http2-settings', fields: () => plus(['http2-settings', 'AAMAAABk']), code: 'malformed_request' },
  {
    name: 'expect of something else',
    fields: () => plus(['expect', 'a-miracle']),
    code: 'malformed_request',
  },
  {
    name: '101 fields',
    fields: () => plus(...Array.from({ length: 101 }, (_, i) => [`x-${i}`, '1'] as const)),
    code: 'head_too_large',
  },
  { name: 'a head of 40 KB', fields: () => plus(['x-long', 'a'.repeat(40_000)]), code: 'head_too_large' },
  { name: 'a path of 9 KB', fields: () => withPseudo(':path', `/${'a'.repeat(9000)}`), code: 'uri_too_long' },
  { name: 'a denied path', fields: () => withPseudo(':path', '/forbidden/x'), code: 'rule_denies' },
  {
    name: 'a denied host',
    host: 'denied.test',
    fields: () => withPseudo(':authority', 'denied.test'),
    code: 'no_rule',
  },
  { name: 'the stub in another field', fields: ({ stub }) => plus(['x-note', stub]), code: 'stub_misplaced' },
  {
    name: 'the stub as a name',
    fields: ({ stub }) => plus([stub.toLowerCase().replaceAll('_', '-'), '1'], ['x-note', stub]),
    code: 'stub_misplaced',
  },
  {
    name: 'the stub in the query',
    fields: ({ stub }) => withPseudo(':path', `/x?a=${stub}`),
    code: 'stub_misplaced',
  },
  {
    name: 'the stub in a cookie crumb',
    fields: ({ stub }) => plus(['cookie', 'a=b'], ['cookie', `c=${stub}`]),
    code: 'stub_misplaced',
  },
  {
    name: 'the stub in :authority',
    fields: ({ stub }) => withPseudo(':authority', stub),
    code: 'stub_misplaced',
  },
  {
    name: 'the stub twice',
    fields: ({ stub }) => plus(['authorization', `Bearer ${stub}`], ['x-a', `Bearer ${stub}`]),
    code: 'stub_misplaced',
  },
  {
    name: 'the stub in base64',
    fields: ({ stub }) => plus(['x-a', Buffer.from(`x:${stub}`).toString('base64')]),
    code: 'stub_misplaced',
  },
  {
    name: 'the stub at another host',
    host: 'open.test',
    fields: ({ stub }) => [...withPseudo(':authority', 'open.test'), ['authorization', `Bearer ${stub}`]],
    code: 'stub_misplaced',
  },
  { name: 'a real secret', fields: ({ secret }) => plus(['x-a', secret]), code: 'secret_in_request' },
  {
    name: 'a foreign credential',
    fields: () => plus(['authorization', 'Bearer mine']),
    code: 'foreign_credential',
  },
];

describe('refused, so that the client can read it, with one line in the audit', () => {
  test.each(REFUSED)('$name', async ({ fields, code, host }) => {
    const around = start();
    const raw = await client(host);
    raw.send(headers(1, fields(scene)));
    const { data, isEnded } = await raw.outcome(1);
    expect(data).toContain(`"code":"${code}"`);
    expect(isEnded).toBe(true);
    expect(scene.upstream.since(around.mark)).toBe('');
    expect(await lines(around, 1)).toMatchObject([{ verdict: 'deny', reason: code }]);
    expect(leaks(data, scene.secret)).toEqual([]);
    // The connection serves on.
    raw.send(headers(3, withPseudo(':authority', host ?? HOST)));
    expect((await raw.outcome(3)).isEnded).toBe(true);
    await lines(around, 2);
  });
});

interface Broken {
  readonly name: string;
  readonly frames: () => readonly Buffer[];
}

/** What HTTP/2 itself forbids: node:http2 resets the stream, and shows nothing of it. */
const RESET: readonly Broken[] = [
  { name: 'a name in upper case', frames: () => [headers(1, plus(['X-Note', '1']))] },
  { name: 'two :path', frames: () => [headers(1, [...PSEUDO, [':path', '/y']])] },
  { name: 'two :authority', frames: () => [headers(1, [...PSEUDO, [':authority', 'open.test']])] },
  { name: 'an unknown pseudo-header', frames: () => [headers(1, [...PSEUDO, [':x', '/y']])] },
  { name: ':status', frames: () => [headers(1, [...PSEUDO, [':status', '200']])] },
  {
    name: 'a pseudo-header behind a header',
    frames: () => [headers(1, [...without(':path'), ['x', '1'], [':path', '/']])],
  },
  {
    name: ':authority with a user',
    frames: () => [headers(1, withPseudo(':authority', 'me@api.test'))],
  },
  { name: 'a space in :path', frames: () => [headers(1, withPseudo(':path', '/a HTTP/1.1'))] },
  { name: 'no :path', frames: () => [headers(1, without(':path'))] },
  { name: 'no :method', frames: () => [headers(1, without(':method'))] },
  { name: 'an empty :path', frames: () => [headers(1, withPseudo(':path', ''))] },
  { name: 'connection', frames: () => [headers(1, plus(['connection', 'x-note']))] },
  { name: 'keep-alive', frames: () => [headers(1, plus(['keep-alive', '1']))] },
  { name: 'proxy-connection', frames: () => [headers(1, plus(['proxy-connection', 'close']))] },
  { name: 'transfer-encoding', frames: () => [headers(1, plus(['transfer-encoding', 'chunked']))] },
  { name: 'upgrade', frames: () => [headers(1, plus(['upgrade', 'websocket']))] },
  { name: 'te: gzip', frames: () => [headers(1, plus(['te', 'gzip']))] },
  { name: 'a line end in :path', frames: () => [headers(1, withPseudo(':path', '/x\r\n'))] },
  {
    name: 'extended CONNECT without a path',
    frames: () => [
      headers(1, [[':method', 'CONNECT'], ...without(':path').slice(1), [':protocol', 'websocket']], false),
    ],
  },
  {
    name: 'two :protocol',
    frames: () => [
      headers(
        1,
        [...withPseudo(':method', 'CONNECT'), [':protocol', 'websocket'], [':protocol', 'websocket']],
        false,
      ),
    ],
  },
  {
    name: ':protocol without CONNECT',
    frames: () => [headers(1, plus([':protocol', 'websocket']), false)],
  },
  { name: 'CONNECT with a path', frames: () => [headers(1, withPseudo(':method', 'CONNECT'), false)] },
  { name: 'content-length without a body', frames: () => [headers(1, plus(['content-length', '5']))] },
  {
    name: 'two content-length',
    frames: () => [headers(1, plus(['content-length', '0'], ['content-length', '0']))],
  },
];

describe('reset, with one line in the audit', () => {
  test.each(RESET)('$name', async ({ frames }) => {
    const around = start();
    const raw = await client();
    raw.send(...frames());
    expect(await raw.outcome(1)).toMatchObject({ rst: PROTOCOL_ERROR, data: '' });
    expect(scene.upstream.since(around.mark)).toBe('');
    raw.socket.end();
    expect(await lines(around, 1)).toMatchObject([{ reason: 'malformed_request', method: '-', host: HOST }]);
    await expectServing();
  });
});

test('streams that were reset among others are told of while the connection lives', async () => {
  const around = start();
  const raw = await client();
  raw.send(headers(1, plus(['connection', 'x'])), headers(3, PSEUDO), headers(5, plus(['upgrade', 'x'])));
  expect((await raw.outcome(3)).isEnded).toBe(true);
  const told = await lines(around, 3);
  expect(told.map(({ reason }) => reason)).toEqual(['malformed_request', null, 'malformed_request']);
});

test.each<[string, string, string]>([
  ['a line end in a value', 'x-bad', 'a\r\nx-b: c'],
  ['NUL in a value', 'x-bad', 'a\0b'],
  ['a space in a name', 'x-bad x-b', 'a'],
])('%s: the field is dropped', async (_, name, value) => {
  const around = start();
  const raw = await client();
  raw.send(headers(1, plus([name, value], ['x-good', '1'])));
  expect(await raw.outcome(1)).toMatchObject({ data: 'ok' });
  expect(scene.upstream.since(around.mark)).toBe(`GET /x HTTP/1.1\r\nhost: ${HOST}\r\nx-good: 1\r\n\r\n`);
});

test('CONNECT inside the tunnel is refused', async () => {
  const around = start();
  const raw = await client();
  raw.send(
    headers(1, [
      [':method', 'CONNECT'],
      [':authority', 'api.test:443'],
    ]),
  );
  const { data, rst } = await raw.outcome(1);
  expect(rst ?? data).toEqual(
    expect.toSatisfy(
      (it: unknown) => it === PROTOCOL_ERROR || String(it).includes('CONNECT inside a tunnel'),
    ),
  );
  expect(scene.upstream.since(around.mark)).toBe('');
});

const POST = (length?: number): Pairs => [
  ...withPseudo(':method', 'POST'),
  ...(length === undefined ? [] : ([['content-length', `${length}`]] as const)),
];

describe('floods end their own connection, and no other', () => {
  const over = ({ goaway, isClosed }: Outcome): boolean => isClosed && goaway !== 0;

  test('rapid reset', async () => {
    const raw = await client();
    for (let id = 1; id < 3000; id += 2) {
      raw.send(headers(id, withPseudo(':path', '/forbidden/x')), frame(RST_STREAM, 0, id, u32(CANCEL)));
      if (id % 100 === 1) await new Promise(setImmediate);
    }
    expect(over(await raw.closed())).toBe(true);
    await expectServing();
  });

  test('CONTINUATION without end', async () => {
    const raw = await client();
    raw.send(frame(HEADERS, END_STREAM, 1, block(PSEUDO)));
    const piece = block([['x-more', 'a'.repeat(1000)]]);
    for (let i = 0; i < 300; i++) raw.send(frame(CONTINUATION, 0, 1, piece));
    expect(over(await raw.closed())).toBe(true);
    await expectServing();
  });

  test.each<[string, Buffer]>([
    ['PING', frame(PING, 0, 0, Buffer.alloc(8))],
    ['SETTINGS', frame(SETTINGS, 0, 0)],
  ])('%s', async (_, one) => {
    const raw = await client();
    for (let i = 0; i < 60 && !raw.socket.destroyed; i++) {
      raw.send(...Array.from({ length: 100 }, () => one));
      await new Promise(setImmediate);
    }
    expect(over(await raw.closed())).toBe(true);
    await expectServing();
  });

  test('streams beyond the limit', async () => {
    const raw = await client();
    for (let id = 1; id < 2000; id += 2) raw.send(headers(id, POST(), false));
    expect(over(await raw.closed())).toBe(true);
    await expectServing();
  });

  test('a window that overflows', async () => {
    const raw = await client();
    raw.send(frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff)), frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff)));
    expect(over(await raw.closed())).toBe(true);
    await expectServing();
  });
});
