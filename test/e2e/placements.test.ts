import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, runOk } from '../support/clients.ts';
import { startTestGate } from '../support/gate.ts';
import { type HttpUpstream, startHttp } from '../support/upstream.ts';
import { closing, ECHO_HOST, enter, expectClean, type Sandbox } from './scene.ts';

const test = needs('curl');
const URL = `https://${ECHO_HOST}`;
/** What must be escaped in JSON, in a form and in a path, each in its own way. */
const AWKWARD = 'k"e\\y/:&=+% -';

interface Placed extends Sandbox {
  readonly upstream: HttpUpstream;
  readonly secret: string;
  readonly stub: string;
}

/** A gate in front of an upstream that repeats what it receives, raw and in the ways in which services do. */
async function scene(
  inject: Readonly<Record<string, unknown>>,
  secret = canary(AWKWARD),
  shape = 'generic',
): Promise<Placed> {
  const upstream = closing(
    await startHttp({ hosts: [ECHO_HOST] }, ({ url, headers, body }, response) => {
      response.setHeader('x-url', url);
      response.setHeader('set-cookie', headers.cookie ?? 'none');
      response.setHeader('location', `/again?body=${encodeURIComponent(body.toString())}`);
      const said = { url, headers, body: body.toString(), base64: body.toString('base64') };
      response.end(`${JSON.stringify(said)}\n${body.toString()}\n${JSON.stringify(JSON.stringify(said))}`);
    }),
  );
  const gate = await startTestGate({
    credentials: { api: { secret, env: 'API_KEY', shape } },
    rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', ...inject }] }],
    upstreams: { [ECHO_HOST]: upstream },
  });
  const box = await enter(gate);
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '' };
}

/** The upstream had the secret and no stub, the sandbox had the stub and no secret, the audit neither. */
async function expectPlaced(
  { upstream, gate, stub, secret }: Placed,
  shown: string,
  at: string,
  path: string,
): Promise<void> {
  const [request] = upstream.requests;
  expect(JSON.stringify(request)).not.toContain(stub);
  expect(request?.body.toString()).not.toContain(stub);
  expectClean(shown, secret);
  expect(shown).toContain(stub);
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({
    verdict: 'allow',
    path,
    status: 200,
    stubs_seen: 1,
    injected: [{ credential: 'api', placement: at }],
  });
  expect(line?.scrubbed).toBeGreaterThanOrEqual(3);
  expect(gate.auditText()).not.toContain(stub);
  expectClean(gate.auditText(), secret);
}

test('a token in the path', async () => {
  const secret = canary('4711:');
  const box = await scene({ as: 'path', template: '/bot{credential}/**' }, secret, 'telegram-bot');
  expect(box.stub).toMatch(/^0{10}:AA[0-9A-Za-z]{33}$/);
  const ran = await runOk('curl', ['-sS', '-i', `${URL}/bot${box.stub}/getMe?x=%20`], { env: box.env });
  expect(box.upstream.requests[0]?.url).toBe(`/bot${secret}/getMe?x=%20`);
  await expectPlaced(box, ran.output, 'path /bot{credential}', '/bot[stub]/getMe');
});

test('a token in the path that must be encoded there', async () => {
  const box = await scene({ as: 'path', template: '/v1/{credential}' });
  const ran = await runOk('curl', ['-sS', '-i', `${URL}/v1/${box.stub}`], { env: box.env });
  const url = box.upstream.requests[0]?.url ?? '';
  expect(decodeURIComponent(url)).toBe(`/v1/${box.secret}`);
  expect(url.split('/')).toHaveLength(3);
  await expectPlaced(box, ran.output, 'path /v1/{credential}', '/v1/[stub]');
});

test('a cookie', async () => {
  const secret = canary("s+e/c'r=e");
  const box = await scene({ as: 'cookie', name: 'sid' }, secret);
  const args = ['-sS', '-i', '-b', `a="b"; sid=${box.stub}; c=d`, `${URL}/x`];
  const ran = await runOk('curl', args, { env: box.env });
  expect(box.upstream.requests[0]?.headers.cookie).toBe(`a="b"; sid=${secret}; c=d`);
  await expectPlaced(box, ran.output, 'cookie sid', '/x');
});

test('a string in a JSON body', async () => {
  const box = await scene({ as: 'json', pointer: '/auth/0/key' });
  const body = (key: string): string => ` {"auth": [{"key": ${key} , "é":1.0}], "n":1e2}\n`;
  const data = ['-H', 'Content-Type: application/json', '--data-binary', body(`"${box.stub}"`)];
  const ran = await runOk('curl', ['-sS', '-i', ...data, `${URL}/x`], { env: box.env });
  const [request] = box.upstream.requests;
  expect(request?.body.toString()).toBe(body(JSON.stringify(box.secret)));
  expect(request?.headers['content-length']).toBe(String(request?.body.length));
  await expectPlaced(box, ran.output, 'json /auth/0/key', '/x');
});

test('a field of a form', async () => {
  const box = await scene({ as: 'form', field: 'client_secret' });
  const data = ['-d', 'a=b%20+c', '--data-urlencode', `client_secret=${box.stub}`];
  const ran = await runOk('curl', ['-sS', '-i', ...data, `${URL}/x`], { env: box.env });
  const [request] = box.upstream.requests;
  expect(request?.body.toString()).toBe(`a=b%20+c&client_secret=${encodeURIComponent(box.secret)}`);
  expect(new URLSearchParams(request?.body.toString()).get('client_secret')).toBe(box.secret);
  expect(request?.headers['content-length']).toBe(String(request?.body.length));
  await expectPlaced(box, ran.output, 'form client_secret', '/x');
});

test('a JSON body in chunks of unknown length, after 100 Continue', async () => {
  const box = await scene({ as: 'json', pointer: '/key' });
  const headers = ['-H', 'Expect: 100-continue', '-H', 'Content-Type: application/json'];
  const padding = 'x'.repeat(400_000);
  const ran = await runOk('curl', ['-sSv', '--http1.1', '-T', '-', ...headers, `${URL}/x`], {
    env: box.env,
    input: JSON.stringify({ padding, key: box.stub }),
  });
  expect(ran.stderr).toContain('HTTP/1.1 100 Continue');
  const [request] = box.upstream.requests;
  expect(request?.headers).not.toHaveProperty('transfer-encoding');
  expect(request?.headers).not.toHaveProperty('expect');
  expect(request?.body.toString()).toBe(JSON.stringify({ padding, key: box.secret }));
  expectClean(ran.output, box.secret);
});

test('a JSON body of more than 1 MiB is refused before it is sent', async () => {
  const box = await scene({ as: 'json', pointer: '/key' });
  const data = ['-H', 'Content-Type: application/json', '-H', 'Expect: 100-continue', '--data-binary', '@-'];
  const ran = await runOk('curl', ['-sS', '-i', ...data, `${URL}/x`], {
    env: box.env,
    input: JSON.stringify({ key: box.stub, padding: 'x'.repeat(1024 * 1024) }),
  });
  expect(ran.stdout).toMatch(/^HTTP\/2 413 /m);
  expect(ran.stdout).toContain('"code":"body_too_large"');
  expect(box.upstream.requests).toEqual([]);
  expect(await box.gate.audit(1)).toMatchObject([
    { status: 413, reason: 'body_too_large', bytes_in: expect.any(Number) as number },
  ]);
});

test('a body is sent once more after a 401, with the credential that is valid by now', async () => {
  const [old, fresh] = [canary('old-'), canary('fresh-')];
  let file = '';
  const upstream = closing(
    await startHttp({ hosts: [ECHO_HOST] }, ({ body }, response) => {
      if (body.includes(old)) writeFileSync(file, fresh);
      response.statusCode = body.includes(fresh) ? 200 : 401;
      response.end(body);
    }),
  );
  const gate = await startTestGate({
    credentials: { api: { secret: old, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'form', field: 'key' }] }],
    upstreams: { [ECHO_HOST]: upstream },
  });
  file = join(gate.files.dir, 'api.secret');
  const { env, session } = await enter(gate);
  const stub = session.stubs['API_KEY'] ?? '';
  const ran = await runOk('curl', ['-sS', '-d', `key=${stub}&a=b`, `${URL}/x`], { env });
  expect(upstream.requests.map(({ body }) => body.toString())).toEqual([
    `key=${old}&a=b`,
    `key=${fresh}&a=b`,
  ]);
  expect(ran.stdout).toBe(`key=${stub}&a=b`);
  expect(await gate.audit(1)).toMatchObject([{ status: 200, stubs_seen: 1 }]);
});

test('a credential is fetched only once the body is known to be allowed', async () => {
  const gate = await startTestGate({
    credentials: { api: { secret: canary(), env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'form', field: 'key' }] }],
    upstreams: { [ECHO_HOST]: closing(await startHttp({ hosts: [ECHO_HOST] }, () => undefined)) },
  });
  // Whoever asks for it now is told so.
  rmSync(join(gate.files.dir, 'api.secret'));
  const { env, session } = await enter(gate);
  const cases: [string, string][] = [
    ['key=mine', 'foreign_credential'],
    [`key=x${session.stubs['API_KEY']}`, 'stub_misplaced'],
    [`key=a&key=b`, 'malformed_request'],
    [`key=${session.stubs['API_KEY']}`, 'credential_unavailable'],
  ];
  for (const [data, code] of cases) {
    const ran = await runOk('curl', ['-sS', '-d', data, `${URL}/x`], { env });
    expect(ran.stdout).toContain(`"code":"${code}"`);
  }
});
