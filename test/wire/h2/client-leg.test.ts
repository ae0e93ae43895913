import { expect, onTestFinished, test } from 'vitest';
import { echoScene, ECHO_HOST } from '../../e2e/scene.ts';
import { ask, openH2 } from '../../support/h2.ts';

test('x', { timeout: 3000 }, async () => {
  const { gate, session, stub, secret, upstream } = await echoScene();
  const client = await openH2(session.proxy, gate.ca, ECHO_HOST);
  onTestFinished(() => client.destroy());
  const reply = await ask(client, { ':path': '/v1/me?full=1', authorization: `Bearer ${stub}` });
  console.log(reply, reply.body.toString(), upstream.requests, await gate.audit(1));
});
