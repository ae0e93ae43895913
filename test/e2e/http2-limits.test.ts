import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { ask, collect, type H2Upstream, openH2, openH2Socket, startH2 } from '../support/h2.ts';
import {
  CANCEL,
  FrameClient,
  frame,
  headers,
  PING,
  RST_STREAM,
  SETTINGS,
  u32,
} from '../support/h2-frames.ts';
import { closing, type Sandbox, sandbox } from './scene.ts';

const HOST = 'api.corp.test';
const PAGE = { ':path': '/', ':authority': HOST };

/** A gate in front of an upstream that answers nothing but `/`. */
async function scene(
  http2: Readonly<Record<string, unknown>>,
): Promise<Sandbox & { readonly upstream: H2Upstream }> {
  const upstream = closing(
    await startH2({ hosts: [HOST] }, (stream, request) => {
      if (request.headers[':path'] === '/') stream.respond({ ':status': 200 }, { endStream: true });
    }),
  );
  const box = await sandbox({
    rules: [{ name: 'api', hosts: [HOST] }],
    upstreams: { [HOST]: upstream },
    config: { limits: { drain: '1s', http2 } },
  });
  return { ...box, upstream };
}

async function raw({ gate, session }: Sandbox): Promise<FrameClient> {
  const client = new FrameClient(await openH2Socket(session.proxy, gate.ca, HOST));
  onTestFinished(() => void client.socket.destroy());
  return client;
}

/** It still serves. */
async function expectServing({ gate, session }: Sandbox): Promise<void> {
  const client = await openH2(session.proxy, gate.ca, HOST);
  expect((await ask(client, PAGE)).status).toBe(200);
  client.destroy();
}

test('what the client may do is announced as it is configured', async () => {
  const box = await scene({ streams: 7, window: '32KiB' });
  const client = await openH2(box.session.proxy, box.gate.ca, HOST);
  onTestFinished(() => client.destroy());
  while (client.remoteSettings?.enableConnectProtocol !== true) await once(client, 'remoteSettings');
  expect(client.remoteSettings).toMatchObject({ maxConcurrentStreams: 7, initialWindowSize: 32_768 });
});

test('streams beyond those of a session are refused, and free again once others end', async () => {
  const box = await scene({ session_streams: 2 });
  const { gate, session, upstream } = box;
  const clients = [await openH2(session.proxy, gate.ca, HOST), await openH2(session.proxy, gate.ca, HOST)];
  onTestFinished(() => clients.forEach(client => client.destroy()));
  const [one, two] = clients.map(client => client.request({ ...PAGE, ':path': '/wait' }));
  await expect.poll(() => upstream.requests.length).toBe(2);
  const refused = await ask(clients[1] as never, PAGE);
  expect([refused.status, refused.headers['stubgate-reason']]).toEqual([429, 'rate_limited']);
  one?.close(CANCEL);
  two?.close(CANCEL);
  await Promise.all([one, two].map(stream => collect(stream as never)));
  expect((await ask(clients[1] as never, PAGE)).status).toBe(200);
});

test('resets beyond the burst end the connection', async () => {
  const box = await scene({ resets: 5, resets_per_second: 1 });
  const client = await raw(box);
  for (let id = 1; id < 40; id += 2) {
    const head = [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':authority', HOST],
      [':path', '/wait'],
    ] as const;
    client.send(headers(id, head), frame(RST_STREAM, 0, id, u32(CANCEL)));
  }
  expect((await client.closed()).goaway).not.toBe(0);
  await expectServing(box);
});

test.each([
  ['PING', frame(PING, 0, 0, Buffer.alloc(8))],
  ['SETTINGS', frame(SETTINGS, 0, 0)],
])('%s frames beyond the burst end the connection', async (_, one) => {
  const box = await scene({ pings: 20, pings_per_second: 1 });
  const patient = await raw(box);
  patient.send(...Array.from({ length: 10 }, () => one));
  const client = await raw(box);
  client.send(...Array.from({ length: 60 }, () => one));
  expect((await client.closed()).goaway).not.toBe(0);
  expect(patient.socket.destroyed).toBe(false);
  await expectServing(box);
});
