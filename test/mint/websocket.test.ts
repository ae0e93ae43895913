import { expect, onTestFinished, test } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { leaks } from '../support/canary.ts';
import { startTestGate } from '../support/gate.ts';
import { openTls } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { accept, frame, handshake, readMessage, TEXT } from '../support/websocket.ts';
import { APP_ID, appKey, INSTALLATION, startGithub } from './github.ts';

const HOST = 'chat.corp.test';

test('a token is minted for the first message that carries the stub, and comes back as it', async () => {
  const { pem, publicKey } = appKey();
  const github = closing(await startGithub({}, publicKey));
  const upstream = closing(await startRaw({ hosts: [HOST] }));
  const gate = await startTestGate({
    credentials: {
      gh: {
        secret: pem,
        env: 'GH_TOKEN',
        mint: {
          type: 'github-app',
          app_id: APP_ID,
          installation_id: INSTALLATION,
          repositories: ['{label.repo}'],
          permissions: { contents: 'read' },
          api: `http://${github.address}`,
        },
      },
    },
    rules: [
      { name: 'chat', hosts: [HOST], inject: [{ credential: 'gh', as: 'websocket', pointer: '/token' }] },
    ],
    upstreams: { [HOST]: upstream },
  });
  onTestFinished(() => gate.stop());
  const session = await gate.session({ labels: { repo: 'widgets' } });
  const stub = session.stubs['GH_TOKEN'] ?? '';
  const client = await openTls(session.proxy, gate.ca, HOST);
  await client.send(handshake(HOST, '/chat', []));
  const server = await upstream.next();
  await accept(server);
  await client.head();
  expect(github.requests).toEqual([]);

  await client.send(frame(TEXT, JSON.stringify({ token: stub }), { mask: true }));
  const sent = (await readMessage(server)).data.toString();
  const [issued] = github.issued;
  expect(issued?.repositories).toEqual(['widgets']);
  expect(sent).toBe(JSON.stringify({ token: issued?.token }));

  await server.send(frame(TEXT, `hello ${issued?.token}`));
  expect((await readMessage(client)).data.toString()).toBe(`hello ${stub}`);
  expect(leaks(client.received, issued?.token ?? '')).toEqual([]);
  client.cut();
  const [line] = await gate.audit(1);
  expect(line?.injected).toEqual([
    {
      credential: 'gh',
      placement: expect.stringContaining('/token') as string,
      version: expect.stringMatching(/^expires /) as string,
    },
  ]);
});
