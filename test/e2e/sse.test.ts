import { expect, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { openTls } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { startSse } from '../support/upstreams/sse.ts';
import { closing, expectClean, sandbox } from './scene.ts';

const HOST = 'events.corp.test';

test('an event reaches the client before the next one exists', async () => {
  const secret = canary();
  const upstream = closing(await startSse(HOST, ['one', `two ${secret}`, 'three']));
  const { gate, session } = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'events', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  const stub = session.stubs['API_KEY'] ?? '';
  const peer = await openTls(session.proxy, gate.ca, HOST);
  await peer.send(`GET /stream HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${stub}\r\n\r\n`);
  expect(await peer.head()).toMatch(/^HTTP\/1\.1 200 /);
  await peer.until('data: one\n\n');
  upstream.acknowledge();
  // The secret is gone from the middle of a stream, and the end of the event is not held back for it.
  await peer.until(`data: two ${stub}\n\n`);
  upstream.acknowledge();
  await peer.until('data: three\n\n');
  await peer.until('0\r\n\r\n');
  expect(upstream.credentials).toEqual([`Bearer ${secret}`]);
  expectClean(peer.received, secret);
  expect((await gate.audit(1))[0]).toMatchObject({ rule: 'events', status: 200, scrubbed: 1 });
  peer.cut();
});

test('the response head arrives before the first byte of the body', async () => {
  const upstream = closing(await startRaw({ hosts: [HOST] }));
  const { gate, session } = await sandbox({
    credentials: { api: { secret: canary(), env: 'API_KEY' } },
    rules: [{ name: 'events', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  const peer = await openTls(session.proxy, gate.ca, HOST);
  await peer.send(`GET /stream HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const served = await upstream.next();
  await served.head();
  await served.send(
    'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  expect(await peer.head()).toMatch(/^HTTP\/1\.1 200 /);
  await served.send('9\r\ndata: 1\n\n\r\n0\r\n\r\n');
  await peer.until('data: 1\n\n');
  peer.cut();
});
