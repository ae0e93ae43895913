import type { IncomingHttpHeaders } from 'node:http2';
import { expect, onTestFinished, vi } from 'vitest';
import { Http2Exchange } from '../../src/wire/h2/exchange.ts';
import { canary } from '../support/canary.ts';
import { openPage } from '../support/chromium.ts';
import { needs } from '../support/clients.ts';
import { startH2 } from '../support/h2.ts';
import { Peer } from '../support/peer.ts';
import { CLOSE, close, frame, readMessage, TEXT } from '../support/websocket.ts';
import { closing, expectClean, sandbox } from './scene.ts';

const HOST = 'chat.corp.test';

/** In the page: what a WebSocket says that goes the way of the page. */
const SCRIPT = `(async () => {
  await fetch('/page');
  const said = [];
  await new Promise((resolve, reject) => {
    const socket = new WebSocket('wss://${HOST}/chat', ['v1', 'chat']);
    const say = ['authorization', 'x'.repeat(300000), 'bye'];
    socket.onopen = () => (said.push('opened ' + socket.protocol + ' ' + socket.extensions), socket.send(say.shift()));
    socket.onmessage = ({ data }) => (said.push(data.slice(0, 100)), socket.send(say.shift()));
    socket.onerror = () => reject(new Error('no WebSocket'));
    socket.onclose = ({ code, reason, wasClean }) => (said.push(code + ' ' + reason + ' ' + wasClean), resolve());
  });
  return said;
})()`;

needs('chromium', 'certutil')('a page in Chromium talks over a WebSocket beside its streams', async () => {
  const secret = canary('key-');
  const heads: IncomingHttpHeaders[] = [];
  const lengths: number[] = [];
  const settings = { enableConnectProtocol: true };
  const talk = async (peer: Peer, authorization: string): Promise<void> => {
    for (let data = ''; data !== 'bye'; ) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      data = (await readMessage(peer)).data.toString();
      lengths.push(data.length);
      if (data !== 'bye') void peer.send(frame(TEXT, data === 'authorization' ? authorization : data));
    }
    await peer.send(frame(CLOSE, close(4001, authorization)));
    await readMessage(peer);
    peer.finish();
  };
  const upstream = closing(
    await startH2({ hosts: [HOST], settings }, (stream, { headers }) => {
      if (headers[':method'] !== 'CONNECT') {
        stream.respond({ ':status': 200, 'content-type': 'text/html' });
        stream.end('<title>page</title>');
        return;
      }
      heads.push(headers);
      stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat' });
      talk(new Peer(stream as never), String(headers.authorization)).catch(() => stream.destroy());
    }),
  );
  const { gate, session, env } = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    // A page cannot set a header of its WebSocket.
    rules: [{ name: 'chat', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer', when: 'always' }] }],
    upstreams: { [HOST]: upstream },
  });
  const stub = session.stubs['API_KEY'] ?? '';
  const switched = vi.spyOn(Http2Exchange.prototype, 'switch');
  onTestFinished(() => switched.mockRestore());
  const page = await openPage(`https://${HOST}/`, new URL(env['HTTPS_PROXY'] ?? ''), gate.caFile, env);
  onTestFinished(() => page.close());
  const said = await page.evaluate(SCRIPT);
  expectClean(JSON.stringify(said), secret);
  expect(said).toEqual(['opened chat ', `Bearer ${stub}`, 'x'.repeat(100), `4001 Bearer ${stub} true`]);
  expect(switched).toHaveBeenCalledTimes(1);
  expect(lengths).toEqual(['authorization'.length, 300_000, 'bye'.length]);
  expect(heads).toEqual([
    expect.objectContaining({
      ':protocol': 'websocket',
      authorization: `Bearer ${secret}`,
      'sec-websocket-protocol': 'v1, chat',
      'sec-websocket-version': '13',
    }),
  ]);
  expect(heads[0]).not.toHaveProperty('sec-websocket-extensions');
  const lines = (await gate.audit(3)).filter(({ path }) => path === '/chat');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ method: 'GET', status: 101, verdict: 'allow', scrubbed: 2 });
});
