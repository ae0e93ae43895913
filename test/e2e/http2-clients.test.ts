import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { expect, onTestFinished } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, runOk } from '../support/clients.ts';
import { type H2Upstream, startH2 } from '../support/h2.ts';
import { connectHead } from '../support/raw-client.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const HOST = 'api.corp.test';

interface Scene extends Sandbox {
  readonly upstream: H2Upstream;
  readonly secret: string;
  readonly stub: string;
}

/** An upstream that gives back the credential and the body that it received. */
async function scene(): Promise<Scene> {
  const upstream = closing(
    await startH2({ hosts: [HOST] }, (stream, request) => {
      stream.respond({ ':status': 200, 'x-echo': request.headers.authorization });
      stream.on('end', () => stream.end(`${request.headers.authorization} ${request.body.length}\n`));
    }),
  );
  const secret = canary('key-');
  const box = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '' };
}

/** For clients that know no proxy: a port each of whose connections is a tunnel through the gate. */
async function tunnelPort({ session }: Scene): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer(client => {
    const gate = net.connect(session.proxy.port, '127.0.0.1');
    for (const socket of [client, gate]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    client.on('close', () => gate.destroy());
    gate.on('close', () => client.destroy());
    gate.write(connectHead(session.proxy, `${HOST}:443`));
    gate.once('data', () => {
      client.pipe(gate);
      gate.pipe(client);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

needs('curl')('curl --http2: request, large upload, and a refusal', async () => {
  const box = await scene();
  const curl = ['-sS', '-i', '--http2', '-H', `Authorization: Bearer ${box.stub}`];
  const got = await runOk('curl', [...curl, `https://${HOST}/a`], { env: box.env });
  expect(got.stdout).toMatch(/^HTTP\/2 200/m);
  expect(got.stdout).toContain(`Bearer ${box.stub} 0`);
  expectClean(got.output, box.secret);
  const input = 'x'.repeat(3_000_000);
  const sent = await runOk('curl', [...curl, '-T', '-', `https://${HOST}/b`], { env: box.env, input });
  expect(sent.stdout).toContain(`Bearer ${box.stub} 3000000`);
  const denied = await runOk('curl', ['-sS', '-i', '--http2', '-T', '-', 'https://denied.corp.test/'], {
    env: box.env,
    input,
  });
  expect(denied.stdout).toMatch(/^HTTP\/2 403/m);
  expect(denied.stdout).toContain('"code":"no_rule"');
  expect(box.upstream.requests.map(({ headers }) => headers.authorization)).toEqual([
    `Bearer ${box.secret}`,
    `Bearer ${box.secret}`,
  ]);
  expect(await box.gate.audit(3)).toHaveLength(3);
});

needs('nghttp')('nghttp', async () => {
  const box = await scene();
  const port = await tunnelPort(box);
  const args = ['-v', '-H', `:authority: ${HOST}`, '-H', `authorization: Bearer ${box.stub}`];
  const ran = await runOk('nghttp', [...args, `https://127.0.0.1:${port}/a`], { env: box.env });
  expect(ran.stdout).toContain('The negotiated protocol: h2');
  expect(ran.stdout).toContain(`x-echo: Bearer ${box.stub}`);
  expectClean(ran.output, box.secret);
  expect(box.upstream.requests[0]?.headers.authorization).toBe(`Bearer ${box.secret}`);
});

needs('h2load')('h2load: 1,000 requests over 4 connections, 25 at a time on each', async () => {
  const box = await scene();
  const port = await tunnelPort(box);
  const load = ['-n', '1000', '-c', '4', '-m', '25', `--connect-to=127.0.0.1:${port}`];
  const args = [...load, '-H', `authorization: Bearer ${box.stub}`, `https://${HOST}/a`];
  const ran = await runOk('h2load', args, { env: box.env });
  expect(ran.stdout).toContain('1000 succeeded, 0 failed, 0 errored');
  expect(ran.stdout).toContain('1000 2xx');
  expect(new Set(box.upstream.requests.map(({ headers }) => headers.authorization))).toEqual(
    new Set([`Bearer ${box.secret}`]),
  );
  const lines = await box.gate.audit(1000);
  expect(lines).toHaveLength(1000);
});
