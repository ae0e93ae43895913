import { expect, onTestFinished } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs } from '../support/clients.ts';
import { openPage } from '../support/chromium.ts';
import { startEcho } from '../support/upstream.ts';
import { startEchoSocket } from '../support/upstreams/websocket.ts';
import { closing, expectClean, sandbox } from './scene.ts';

const API = 'api.corp.test';
const CHAT = 'chat.corp.test';

/** In the page: what a fetch with the stub is answered, and what a WebSocket says. */
const script = (stub: string): string => `(async () => {
  const fetched = await fetch('/echo', { headers: { authorization: 'Bearer ${stub}' } });
  const denied = await fetch('https://denied.corp.test/').then(() => 'answered', () => 'blocked');
  const said = [];
  await new Promise((resolve, reject) => {
    const socket = new WebSocket('wss://${CHAT}/chat');
    const say = ['authorization', 'héllo 😀', 'bye'];
    socket.onopen = () => socket.send(say.shift());
    socket.onmessage = ({ data }) => (said.push(data), socket.send(say.shift()));
    socket.onerror = () => reject(new Error('no WebSocket'));
    socket.onclose = ({ code, reason }) => (said.push(code + ' ' + reason), resolve());
  });
  return { status: fetched.status, header: fetched.headers.get('x-echo-authorization'), body: await fetched.text(), denied, said };
})()`;

needs('chromium', 'certutil')('a page in Chromium fetches and talks over a WebSocket', async () => {
  const secret = canary('key-');
  const echo = closing(await startEcho({ hosts: [API] }));
  const chat = closing(await startEchoSocket(CHAT));
  const { gate, session, env } = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [
      { name: 'api', hosts: [API], inject: [{ credential: 'api', as: 'bearer' }] },
      // A page cannot set a header of its WebSocket.
      { name: 'chat', hosts: [CHAT], inject: [{ credential: 'api', as: 'bearer', when: 'always' }] },
    ],
    upstreams: { [API]: echo, [CHAT]: chat },
  });
  const stub = session.stubs['API_KEY'] ?? '';
  const page = await openPage(`https://${API}/`, new URL(env['HTTPS_PROXY'] ?? ''), gate.caFile, env);
  onTestFinished(() => page.close());
  const shown = await page.evaluate(script(stub));
  expectClean(JSON.stringify(shown), secret);
  expect(shown).toMatchObject({
    status: 200,
    header: `Bearer ${stub}`,
    denied: 'blocked',
    said: [`Bearer ${stub}`, 'héllo 😀', `4001 Bearer ${stub}`],
  });
  expect(echo.requests.find(({ url }) => url === '/echo')?.headers.authorization).toBe(`Bearer ${secret}`);
  expect(chat.heads[0]).toMatch(new RegExp(`^authorization: Bearer ${secret}\r$`, 'im'));
  expect(chat.heads[0]).not.toMatch(/sec-websocket-extensions/i);
});
