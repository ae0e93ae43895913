import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { AuditEvent } from '../../src/types.ts';
import { ask, openH2, openH2Socket } from '../support/h2.ts';
import {
  block,
  DATA,
  END_HEADERS,
  END_STREAM,
  FrameClient,
  frame,
  HEADERS,
  headers,
  type Pairs,
  PROTOCOL_ERROR,
  RST_STREAM,
  u32,
} from '../support/h2-frames.ts';
import { openScene, type Scene } from './scene.ts';

// In a file of its own: what goes upstream before a body breaks may arrive there at any time.
let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
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

const POST = (length?: number): Pairs => [
  ...withPseudo(':method', 'POST'),
  ...(length === undefined ? [] : ([['content-length', `${length}`]] as const)),
];

describe('a body that is not what was declared', () => {
  test.each<[string, Buffer[]]>([
    [
      'more DATA than content-length',
      [headers(1, POST(3), false), frame(DATA, END_STREAM, 1, Buffer.from('abcdef'))],
    ],
    [
      'less DATA than content-length',
      [headers(1, POST(9), false), frame(DATA, END_STREAM, 1, Buffer.from('abc'))],
    ],
  ])('%s', async (_, frames) => {
    const around = start();
    const raw = await client();
    raw.send(...frames);
    const { rst, isClosed } = await raw.outcome(1);
    expect(isClosed || rst === PROTOCOL_ERROR).toBe(true);
    expect(await lines(around, 1)).toMatchObject([{ status: 0, method: 'POST' }]);
    // Whatever of it went up, the upstream can tell that it is not complete.
    expect(scene.upstream.since(around.mark)).not.toMatch(/content-length: 3\r\n\r\nabc$/);
    await expectServing();
  });

  test('a client that resets with NO_ERROR has not ended its body', async () => {
    const around = start();
    const raw = await client();
    raw.send(headers(1, POST(), false), frame(DATA, 0, 1, Buffer.from('half')));
    await expect.poll(() => scene.upstream.since(around.mark), { timeout: 10_000 }).toContain('half');
    raw.send(frame(RST_STREAM, 0, 1, u32(0)));
    expect(await lines(around, 1)).toMatchObject([{ status: 0 }]);
    expect(scene.upstream.since(around.mark)).not.toContain('\r\n0\r\n');
    await expectServing();
  });
});

test('a HEAD that is reset in its body is one that its client left, no fault of the gate', async () => {
  const around = start();
  const raw = await client();
  raw.send(headers(1, withPseudo(':method', 'HEAD'), false), frame(DATA, 0, 1, Buffer.from('half')));
  raw.send(frame(RST_STREAM, 0, 1, u32(0)));
  expect(await lines(around, 1)).toMatchObject([{ method: 'HEAD', reason: null, status: 0 }]);
  await expectServing();
});

test('request trailers are refused', async () => {
  const around = start();
  const raw = await client();
  raw.send(
    headers(1, POST(), false),
    frame(DATA, 0, 1, Buffer.from('abc')),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block([['x-late', scene.stub]])),
  );
  const { data } = await raw.outcome(1);
  expect(data).toContain('"code":"stub_misplaced"');
  expect(await lines(around, 1)).toMatchObject([{ reason: 'stub_misplaced', status: 403 }]);
  expect(scene.upstream.since(around.mark)).not.toContain('x-late');
});
