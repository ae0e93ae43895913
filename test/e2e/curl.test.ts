import { brotliCompressSync, gzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, run, runOk } from '../support/clients.ts';
import { testCa } from '../support/pki.ts';
import { startEcho, startHttp, startRaw } from '../support/upstream.ts';
import { closing, ECHO_HOST, echoScene, expectClean, expectSwapped, sandbox } from './scene.ts';

const test = needs('curl');
const URL = `https://${ECHO_HOST}/v1/me?full=1`;

test('swaps the stub for the credential, and back in whatever the upstream repeats', async () => {
  const scene = await echoScene();
  const { env, stub } = scene;
  const ran = await runOk('curl', ['-sS', '-i', '-H', `Authorization: Bearer ${stub}`, URL], { env });
  await expectSwapped(scene, ran.output);
  expect(scene.upstream.requests[0]).toMatchObject({ method: 'GET', url: '/v1/me?full=1' });
  expect((await scene.gate.audit(1))[0]).toMatchObject({ method: 'GET', path: '/v1/me' });
});

test('shows the refusal of a host that no rule allows', async () => {
  const { env, gate } = await echoScene();
  const ran = await runOk('curl', ['-sS', '-i', 'https://denied.corp.test/secret'], { env });
  expect(ran.stdout).toMatch(/^HTTP\/2 403 /m);
  expect(ran.stdout).toMatch(/^stubgate-reason: no_rule\r$/im);
  const [line] = await gate.audit(1);
  const { error } = JSON.parse(ran.stdout.slice(ran.stdout.lastIndexOf('\r\n\r\n'))) as {
    error: Record<string, string>;
  };
  expect(error).toMatchObject({ code: 'no_rule', request_id: line?.request_id });
  expect(error['message']).toContain('GET https://denied.corp.test/secret');
  expect(line).toMatchObject({
    verdict: 'deny',
    reason: 'no_rule',
    host: 'denied.corp.test',
    method: 'GET',
    path: '/secret',
    status: 403,
    injected: [],
  });
});

test('is asked for a session token, with a wrong one and with none', async () => {
  const { env, gate, session, upstream } = await echoScene();
  const wrong = session.proxyUrl.replace(session.token, 'x'.repeat(session.token.length));
  const none = `http://127.0.0.1:${gate.proxyPort}`;
  for (const proxy of [wrong, none]) {
    const ran = await run('curl', ['-sS', '-x', proxy, URL], { env });
    expect(ran).toMatchObject({ code: 56, stdout: '' });
    expect(ran.stderr).toContain('407');
  }
  expect(upstream.requests).toEqual([]);
  const lines = await gate.audit(2);
  for (const line of lines) {
    expect(line).toMatchObject({ verdict: 'deny', reason: 'unauthenticated', session: null, status: 407 });
  }
});

test('sends plain http in absolute form, and a credential never goes with it', async () => {
  const secret = canary();
  const upstream = closing(await startEcho({}));
  const host = 'plain.corp.test';
  const { env, gate, session } = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [
      { name: 'plain', hosts: [host], schemes: ['http'], ports: [80] },
      { name: 'secure', hosts: ['secure.corp.test'], inject: [{ credential: 'api', as: 'bearer' }] },
    ],
    upstreams: { [host]: upstream },
  });
  const ran = await runOk('curl', ['-sS', `http://${host}/a/b?c=d`], { env });
  expect(JSON.parse(ran.stdout)).toMatchObject({ method: 'GET', url: '/a/b?c=d', headers: { host } });
  const names = Object.keys(upstream.requests[0]?.headers ?? {});
  expect(names.filter(name => name.startsWith('proxy-'))).toEqual([]);

  const stub = session.stubs['API_KEY'] ?? '';
  const refused = await runOk('curl', ['-sS', '-H', `Authorization: Bearer ${stub}`, `http://${host}/a`], {
    env,
  });
  expect(refused.stdout).toContain('"code":"stub_misplaced"');
  expect(upstream.requests).toHaveLength(1);
  const lines = await gate.audit(2);
  expect(lines[0]).toMatchObject({ verdict: 'allow', scheme: 'http', port: 80, path: '/a/b', status: 200 });
  expect(lines[1]).toMatchObject({ verdict: 'deny', reason: 'stub_misplaced', status: 403, stubs_seen: 1 });
});

test('may not carry the stub to another allowed host, nor a credential of its own to ours', async () => {
  const secret = canary();
  const [ours, other] = [await startEcho({ hosts: [ECHO_HOST] }), await startEcho({ hosts: ['other.test'] })];
  closing(ours);
  closing(other);
  const { env, session } = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [
      { name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'bearer' }] },
      { name: 'other', hosts: ['other.test'] },
    ],
    upstreams: { [ECHO_HOST]: ours, 'other.test': other },
  });
  const stub = session.stubs['API_KEY'] ?? '';
  const cases: [string, string, string][] = [
    ['https://other.test/', `Authorization: Bearer ${stub}`, 'stub_misplaced'],
    ['https://other.test/', `X-Note: ${Buffer.from(`a:${stub}`).toString('base64')}`, 'stub_misplaced'],
    [`https://${ECHO_HOST}/?q=${stub}`, 'Accept: */*', 'stub_misplaced'],
    [URL, 'Authorization: Bearer of-somebody-else', 'foreign_credential'],
    ['https://other.test/', `X-Note: ${secret}`, 'secret_in_request'],
  ];
  for (const [url, header, code] of cases) {
    const ran = await runOk('curl', ['-sS', '-H', header, url], { env });
    expect(ran.stdout).toContain(`"code":"${code}"`);
  }
  expect([...ours.requests, ...other.requests]).toEqual([]);
});

test('uploads in chunks of unknown length after 100 Continue', async () => {
  const { env, upstream, stub, gate } = await echoScene();
  const input = 'x'.repeat(300_000);
  const headers = ['-H', 'Expect: 100-continue', '-H', `Authorization: Bearer ${stub}`];
  const ran = await runOk('curl', ['-sSv', '--http1.1', '-T', '-', ...headers, URL], { env, input });
  expect(ran.stderr).toContain('HTTP/1.1 100 Continue');
  const [request] = upstream.requests;
  expect(request?.headers).toMatchObject({ 'transfer-encoding': 'chunked' });
  expect(request?.body.toString()).toBe(input);
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({ method: 'PUT', status: 200 });
  expect(line?.bytes_in).toBeGreaterThanOrEqual(input.length);
});

test('reads compressed answers from which the credential was removed', async () => {
  const secret = canary();
  const upstream = closing(
    await startHttp({ hosts: [ECHO_HOST] }, (request, response) => {
      const text = Buffer.from(`you sent ${request.headers.authorization} `.repeat(50));
      const brotli = request.url === '/br';
      response.setHeader('content-encoding', brotli ? 'br' : 'gzip');
      response.end(brotli ? brotliCompressSync(text) : gzipSync(text));
    }),
  );
  const { env, session } = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [ECHO_HOST]: upstream },
  });
  const stub = session.stubs['API_KEY'] ?? '';
  for (const path of ['gzip', 'br']) {
    const url = `https://${ECHO_HOST}/${path}`;
    const ran = await runOk('curl', ['-sS', '--compressed', '-H', `Authorization: Bearer ${stub}`, url], {
      env,
    });
    expectClean(ran.stdout, secret);
    expect(ran.stdout).toBe(`you sent Bearer ${stub} `.repeat(50));
  }
});

test('sends two requests through one tunnel, each with a line of its own', async () => {
  const { env, gate, upstream } = await echoScene();
  const ran = await runOk('curl', ['-sSv', '--http1.1', URL, `https://${ECHO_HOST}/second`], { env });
  expect(ran.stderr.match(/CONNECT tunnel established/gi)).toHaveLength(1);
  expect(upstream.requests.map(({ url }) => url)).toEqual(['/v1/me?full=1', '/second']);
  const lines = await gate.audit(2);
  expect(lines.map(({ path }) => path)).toEqual(['/v1/me', '/second']);
  expect(lines[0]?.request_id).not.toBe(lines[1]?.request_id);
});

test('can tell that an answer was cut short', async () => {
  const answers = {
    length: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this',
    chunked: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n',
  };
  const upstream = closing(
    await startRaw({ hosts: [ECHO_HOST] }, async peer => {
      const head = await peer.head();
      await peer.send(head.startsWith('GET /length') ? answers.length : answers.chunked);
      peer.cut();
    }),
  );
  const { env } = await sandbox({
    // A credential that may be injected, so that answers are searched for it on their way.
    credentials: { api: { secret: canary(), env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [ECHO_HOST]: upstream },
  });
  for (const path of Object.keys(answers)) {
    const ran = await run('curl', ['-sS', '--http1.1', `https://${ECHO_HOST}/${path}`], { env });
    expect([18, 56]).toContain(ran.code); // a partial file; a connection that failed while receiving
    expect(ran.stdout).toBe('only this');
  }
});

test('speaks to the server itself where a rule says tunnel', async () => {
  const host = 'pinned.corp.test';
  const upstream = closing(await startEcho({ hosts: [host] }));
  const { env, gate } = await sandbox({
    rules: [{ name: 'pinned', hosts: [host], action: 'tunnel' }],
    upstreams: { [host]: upstream },
  });
  const { file } = await testCa();
  const ran = await runOk('curl', ['-sSv', '--cacert', file, `https://${host}/private?x=y`], { env });
  expect(ran.stderr).toContain('issuer: CN=Stubgate test CA');
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({ rule: 'pinned', verdict: 'tunnel', host, method: 'CONNECT', path: null });
  expect(line?.bytes_in).toBeGreaterThan(500); // a TLS handshake and a request
  expect(line?.bytes_out).toBeGreaterThan(500);
});
