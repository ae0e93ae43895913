import { expect, onTestFinished, test } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { startTestGate } from '../support/gate.ts';
import { ask, openH2, type H2Reply } from '../support/h2.ts';
import {
  block,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  HEADERS,
  type Pairs,
  PING,
  RST_STREAM,
  SETTINGS,
  u32,
} from '../support/h2-frames.ts';
import { startRaw } from '../support/upstream.ts';

const HOST = 'api.test';
const OK: Pairs = [[':status', '200']];
const head = (fields: Pairs, flags = 0): Buffer => frame(HEADERS, END_HEADERS | flags, 1, block(fields));
const data = (text: string, flags = 0): Buffer => frame(DATA, flags, 1, Buffer.from(text, 'latin1'));

/** What a client is told when the upstream answers with these frames. */
async function answered(
  frames: (secret: string) => readonly Buffer[],
): Promise<H2Reply & { secret: string }> {
  const secret = canary('key-');
  const upstream = await startRaw({ hosts: [HOST], tls: { ALPNProtocols: ['h2'] } }, async peer => {
    await peer.until('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await peer.send(Buffer.concat([frame(SETTINGS, 0, 0), frame(SETTINGS, 1, 0)]));
    // The request's HEADERS; its path is the last literal in it.
    await expect
      .poll(() => peer.received.includes(Buffer.from([0, 0, 0, 1])) && peer.received.length > 80, {
        timeout: 10_000,
      })
      .toBe(true);
    for (const one of frames(secret)) await peer.send(one);
  });
  const gate = await startTestGate({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  onTestFinished(async () => {
    await gate.stop();
    await upstream.close();
  });
  const session = await gate.session();
  const client = await openH2(session.proxy, gate.ca, HOST);
  onTestFinished(() => client.destroy());
  const reply = await ask(client, {
    ':path': '/x',
    ':authority': HOST,
    authorization: `Bearer ${session.stubs['API_KEY']}`,
    'x-fill': 'f'.repeat(60),
  });
  const shown = JSON.stringify([reply.raw, reply.body.toString('latin1'), reply.trailers]);
  expect(leaks(shown, secret)).toEqual([]);
  expect(await gate.audit(1)).toHaveLength(1);
  return { ...reply, secret };
}

test('a plain answer passes', async () => {
  const reply = await answered(() => [head(OK), data('ok', END_STREAM)]);
  expect(reply).toMatchObject({ status: 200, code: 0 });
  expect(reply.body.toString()).toBe('ok');
});

test.each<[string, (secret: string) => Buffer[]]>([
  ['a name in upper case', () => [head([...OK, ['X-Note', '1']], END_STREAM)]],
  ['two :status', () => [head([...OK, [':status', '201']], END_STREAM)]],
  ['no :status', () => [head([['x', '1']], END_STREAM)]],
  [':path', () => [head([...OK, [':path', '/']], END_STREAM)]],
  ['101', () => [head([[':status', '101']], END_STREAM)]],
  [':status that is no number', () => [head([[':status', '2x0']], END_STREAM)]],
  ['connection', () => [head([...OK, ['connection', 'close']], END_STREAM)]],
  ['transfer-encoding', () => [head([...OK, ['transfer-encoding', 'chunked']], END_STREAM)]],
  [
    'two content-length',
    () => [head([...OK, ['content-length', '1'], ['content-length', '2']]), data('a', END_STREAM)],
  ],
  ['content-length and no body', () => [head([...OK, ['content-length', '9']], END_STREAM)]],
  ['DATA before the head', () => [data('a')]],
  ['1xx without end', () => Array.from({ length: 40 }, () => head([[':status', '103']]))],
  ['a reset', () => [frame(RST_STREAM, 0, 1, u32(2))]],
  ['HTTP/1.1', () => [Buffer.from('HTTP/1.1 200 OK\r\n\r\n')]],
  [
    'CONTINUATION without end',
    () => [
      frame(HEADERS, 0, 1, block(OK)),
      ...Array.from({ length: 50 }, () => frame(CONTINUATION, 0, 1, block([['x', 'a'.repeat(9000)]]))),
    ],
  ],
  [
    'PING without end',
    () =>
      Array.from({ length: 40 }, () =>
        Buffer.concat(Array.from({ length: 100 }, () => frame(PING, 0, 0, Buffer.alloc(8)))),
      ),
  ],
  [
    'too many fields',
    () => [head([...OK, ...Array.from({ length: 500 }, (_, i) => [`x-${i}`, ''] as const)], END_STREAM)],
  ],
])('%s is a 502', async (_, frames) => {
  const reply = await answered(frames);
  expect(reply.status).toBe(502);
  expect(['upstream_malformed', 'upstream_unreachable']).toContain(reply.headers['stubgate-reason']);
});

test.each<[string, (secret: string) => Buffer[]]>([
  ['more DATA than content-length', () => [head([...OK, ['content-length', '2']]), data('abcd', END_STREAM)]],
  ['less DATA than content-length', () => [head([...OK, ['content-length', '9']]), data('abcd', END_STREAM)]],
  ['a reset', () => [head(OK), data('half'), frame(RST_STREAM, 0, 1, u32(2))]],
  ['a reset that says NO_ERROR', () => [head(OK), data('half'), frame(RST_STREAM, 0, 1, u32(0))]],
  [
    'a trailer that belongs in the head',
    () => [head(OK), data('half'), head([['content-length', '4']], END_STREAM)],
  ],
])('%s in the body is never a complete answer', async (_, frames) => {
  const reply = await answered(frames);
  if (reply.status === 200) expect(reply.code).not.toBe(0);
  else expect(reply.status).toBe(502);
});

test('the secret in a field, in DATA split in two, and in a trailer becomes the stub', async () => {
  const reply = await answered(secret => [
    head([...OK, ['x-echo', secret], ['location', `/a?${encodeURIComponent(secret)}`]]),
    data(secret.slice(0, 9)),
    data(secret.slice(9)),
    head([['x-late', secret]], END_STREAM),
  ]);
  expect(reply).toMatchObject({ status: 200, code: 0 });
  expect(reply.body.length).toBeGreaterThan(10);
  expect(reply.trailers['x-late']).toBe(reply.body.toString());
});
