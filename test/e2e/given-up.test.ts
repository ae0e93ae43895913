import { expect, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { header, openTls, readReply } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { closing, sandbox } from './scene.ts';

const HOST = 'endless.corp.test';
const CODINGS = ['of-its-own', 'gzip'];

test.each(CODINGS)('an answer that cannot be decoded (%s) is not read on', async coding => {
  const upstream = closing(await startRaw({ hosts: [HOST] }));
  const { gate, session } = await sandbox({
    // A credential that may be injected, so that answers are searched for it.
    credentials: { api: { secret: canary(), env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  const peer = await openTls(session.proxy, gate.ca, HOST);
  await peer.send(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const served = await upstream.next();
  await served.send(
    `HTTP/1.1 200 OK\r\nContent-Encoding: ${coding}\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nno gzip!\r\n`,
  );
  const reply = await readReply(peer);
  expect(reply.status).toBe(502);
  expect(header(reply, 'stubgate-reason')).toBe('undecodable_response');
  // The body never ends; the gate does.
  await served.end();
  peer.cut();
});
