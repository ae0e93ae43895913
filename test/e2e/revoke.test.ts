import { performance } from 'node:perf_hooks';
import { expect, test } from 'vitest';
import { connect, openTls } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { closing, sandbox } from './scene.ts';

const HOST = 'slow.corp.test';
const TUNNEL = 'pinned.corp.test';

test('revoking a session ends its open tunnels within a second, and nobody else’s', async () => {
  const upstream = closing(await startRaw({ hosts: [HOST] }));
  const blind = closing(await startRaw({}));
  const { gate, session } = await sandbox({
    rules: [
      { name: 'slow', hosts: [HOST] },
      { name: 'pinned', hosts: [TUNNEL], action: 'tunnel' },
    ],
    upstreams: { [HOST]: upstream, [TUNNEL]: blind },
  });
  const other = await gate.session();
  const idle = await openTls(session.proxy, gate.ca, HOST);
  const busy = await openTls(session.proxy, gate.ca, HOST);
  await busy.send(`GET /forever HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const served = await upstream.next();
  await served.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
  await busy.until('x\r\n');
  const { peer: pinned } = await connect(session.proxy, `${TUNNEL}:443`);
  await pinned.send('unread');
  await (await blind.next()).until('unread');
  const bystander = await openTls(other.proxy, gate.ca, HOST);

  const before = performance.now();
  await gate.revoke(session.id);
  await Promise.all([idle.end(), busy.end(), pinned.end(), served.end()]);
  expect(performance.now() - before).toBeLessThan(1000);
  expect(busy.received.toString()).not.toContain('0\r\n\r\n');

  await bystander.send(`GET /still HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const still = await upstream.next();
  await still.until('GET /still');
  const { reply } = await connect(session.proxy, `${HOST}:443`);
  expect(reply.status).toBe(407);
  expect(reply.headers).toContainEqual(['stubgate-reason', 'session_revoked']);
  bystander.cut();
});

test('the audit names the session that a refused credential was of, and none for one that is not known', async () => {
  const { gate, session } = await sandbox({ rules: [{ name: 'slow', hosts: [HOST] }] });
  await gate.revoke(session.id);
  const tampered = session.proxy.authorization.replace(/.{6}$/, 'AAAAAA');
  for (const authorization of [session.proxy.authorization, tampered]) {
    const { peer, reply } = await connect({ ...session.proxy, authorization }, `${HOST}:443`); // oxlint-disable-line no-await-in-loop -- one after the other
    expect(reply.status).toBe(407);
    peer.cut();
  }
  const lines = await gate.audit(2);
  expect(lines).toMatchObject([
    { reason: 'session_revoked', session: session.id },
    { reason: 'unauthenticated', session: null },
  ]);
});
