import { inspect } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { leaks } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { request } from '../support/raw-client.ts';
import { type Handler, type HttpUpstream, startEcho, startHttp } from '../support/upstream.ts';
import { APP_ID, appKey, type Github, INSTALLATION, startGithub } from './github.ts';

const HOST = 'api.github.test';
const ISSUER = 'issuer.github.test';
const { pem, publicKey } = appKey();

interface Scene {
  readonly github: Github;
  readonly upstream: HttpUpstream;
  readonly gate: LocalGate;
}

/** A gate whose credential `gh` is minted by an issuer over TLS, in front of an upstream that reflects everything. */
async function scene(mint: object, handler?: Handler): Promise<Scene> {
  const github = closing(await startGithub({ hosts: [ISSUER] }, publicKey));
  const upstream = closing(
    await (handler ? startHttp({ hosts: [HOST] }, handler) : startEcho({ hosts: [HOST] })),
  );
  const gate = await startTestGate({
    credentials: {
      gh: {
        secret: pem,
        env: 'GH_TOKEN',
        mint: {
          type: 'github-app',
          app_id: APP_ID,
          installation_id: INSTALLATION,
          permissions: { contents: 'read' },
          api: `https://${ISSUER}`,
          ...mint,
        },
      },
    },
    rules: [{ name: 'api', hosts: [HOST], paths: ['/ok/**'], inject: [{ credential: 'gh', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream, [ISSUER]: github },
  });
  onTestFinished(() => gate.stop());
  return { github, upstream, gate };
}

const stubOf = (session: TestSession): string => session.stubs['GH_TOKEN'] ?? '';

function get(gate: LocalGate, session: TestSession, path = '/ok/x', more = '') {
  const head = `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${stubOf(session)}${more}`;
  return request(session.proxy, gate.ca, HOST, head);
}

function expectNowhere(gate: LocalGate, texts: readonly string[]): void {
  for (const text of texts) {
    expect(leaks(gate.auditText(), text)).toEqual([]);
    expect(leaks(inspect(gate.logs, { depth: 12 }), text)).toEqual([]);
  }
}

/** The lines of a PEM key that are a secret by themselves. */
const keyLines = pem.split('\n').filter(line => line.length >= 24 && !line.startsWith('---'));

test('each session’s requests carry a token for its own repository, which comes back as its stub', async () => {
  const { github, upstream, gate } = await scene({ repositories: ['{label.repo}', 'shared'] });
  const sessions = [
    await gate.session({ labels: { repo: 'widgets' } }),
    await gate.session({ labels: { repo: 'gadgets' } }),
  ];
  for (const session of [...sessions, ...sessions]) {
    const { reply, bytes } = await get(gate, session);
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toContain(`Bearer ${stubOf(session)}`);
    for (const { token } of github.issued) expect(leaks(bytes, token)).toEqual([]);
  }
  expect(github.issued.map(({ repositories, permissions }) => ({ repositories, permissions }))).toEqual([
    { repositories: ['widgets', 'shared'], permissions: { contents: 'read' } },
    { repositories: ['gadgets', 'shared'], permissions: { contents: 'read' } },
  ]);
  const [first, second] = github.issued.map(({ token }) => `Bearer ${token}`);
  expect(upstream.requests.map(({ headers }) => headers.authorization)).toEqual([
    first,
    second,
    first,
    second,
  ]);
  const lines = await gate.audit(4);
  for (const { injected } of lines)
    expect(injected).toEqual([
      {
        credential: 'gh',
        placement: 'header authorization',
        version: expect.stringMatching(/^expires \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      },
    ]);
  expectNowhere(gate, [...github.issued.map(({ token }) => token), ...keyLines]);
  expect(
    gate.gate.metrics.text({ tunnels: 0, sessions: 0, stateUp: true, auditHealthy: true, auditLost: 0 }),
  ).toContain('stubgate_vault_fetches_total{vault="mint:github-app",result="done"} 2\n');
});

test('nothing is minted for a request that is refused', async () => {
  const { github, gate } = await scene({});
  const session = await gate.session();
  expect((await get(gate, session, '/other')).reply.status).toBe(403);
  const foreign = `GET /ok/x HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer somebody-elses`;
  expect((await request(session.proxy, gate.ca, HOST, foreign)).reply.status).toBe(403);
  expect(github.requests).toEqual([]);
});

test('a request without the stub mints nothing', async () => {
  const { github, gate } = await scene({});
  const session = await gate.session();
  const bare = await request(session.proxy, gate.ca, HOST, `GET /ok/x HTTP/1.1\r\nHost: ${HOST}`);
  expect(bare.reply.status).toBe(200);
  expect(github.requests).toEqual([]);
});

test('50 parallel first requests mint once', async () => {
  const { github, upstream, gate } = await scene({});
  const session = await gate.session();
  const replies = await Promise.all(Array.from({ length: 50 }, () => get(gate, session)));
  expect(replies.map(({ reply }) => reply.status)).toEqual(Array.from({ length: 50 }, () => 200));
  expect(github.issued).toHaveLength(1);
  expect(new Set(upstream.requests.map(({ headers }) => headers.authorization)).size).toBe(1);
});

test('a session without the label is refused, and nothing is minted', async () => {
  const { github, upstream, gate } = await scene({ repositories: ['{label.repo}'] });
  const none = await gate.session({ labels: { repos: 'widgets' } });
  const odd = await gate.session({ labels: { repo: 'acme/widgets' } });
  for (const session of [none, odd]) {
    const { reply } = await get(gate, session);
    expect(reply.status).toBe(503);
    expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code: 'credential_unavailable' } });
  }
  expect(github.requests).toEqual([]);
  expect(upstream.requests).toEqual([]);
  expect(inspect(gate.logs, { depth: 12 })).toContain('the session has no label "repo"');
});

test('an upstream’s 401 mints once more, and the request goes again with the new token', async () => {
  const refused = new Set<string>();
  const { github, upstream, gate } = await scene({}, ({ headers }, response) => {
    const { authorization = '' } = headers;
    response.statusCode = refused.has(authorization) ? 401 : 200;
    response.end(`${authorization} ${[...refused].join(' ')}`);
  });
  const session = await gate.session();
  await get(gate, session);
  const [old] = github.issued;
  refused.add(`Bearer ${old?.token}`);
  const { reply, bytes } = await get(gate, session);
  expect(reply.status).toBe(200);
  expect(github.issued).toHaveLength(2);
  const [first, next] = github.issued.map(({ token }) => `Bearer ${token}`);
  expect(upstream.requests.map(({ headers }) => headers.authorization)).toEqual([first, first, next]);
  // The one that was replaced is still looked for.
  expect(reply.body.toString()).toBe(`Bearer ${stubOf(session)} Bearer ${stubOf(session)}`);
  for (const { token } of github.issued) expect(leaks(bytes, token)).toEqual([]);

  refused.add(next ?? '');
  expect((await get(gate, session)).reply.status).toBe(401);
  expect(github.issued).toHaveLength(2);
});

test('50 requests whose token is refused mint once more, and each goes again with the new one', async () => {
  let refused = '';
  const waiting: (() => void)[] = [];
  const { github, upstream, gate } = await scene({}, async ({ headers }, response) => {
    if (headers.authorization === refused) {
      // One answer after the other, so that most come when there is a new token already.
      await new Promise<void>(resolve => waiting.push(resolve));
      response.statusCode = 401;
    } else waiting.shift()?.();
    response.end();
  });
  const session = await gate.session();
  await get(gate, session);
  refused = `Bearer ${github.issued[0]?.token}`;
  const all = Array.from({ length: 50 }, () => get(gate, session));
  await expect.poll(() => waiting.length, { timeout: 10_000 }).toBe(50);
  waiting.shift()?.();
  expect((await Promise.all(all)).map(({ reply }) => reply.status)).toEqual(Array.from(all, () => 200));
  expect(github.issued).toHaveLength(2);
  expect(upstream.requests).toHaveLength(101);
});

test('a real token, and the key that it is minted from, are found in a request and taken out of a response', async () => {
  let told = '';
  const { github, upstream, gate } = await scene({}, (_, response) => void response.end(told));
  const session = await gate.session();
  await get(gate, session);
  told = pem + github.issued[0]?.token;
  const { reply, bytes } = await get(gate, session);
  expect(reply.body.toString()).toContain(stubOf(session));
  for (const text of [...keyLines, github.issued[0]?.token ?? '']) expect(leaks(bytes, text)).toEqual([]);
  for (const text of [keyLines[3], github.issued[0]?.token]) {
    const found = await get(gate, session, '/ok/x', `\r\nX-Other: ${text}`);
    expect(JSON.parse(found.reply.body.toString())).toMatchObject({ error: { code: 'secret_in_request' } });
  }
  expect(upstream.requests).toHaveLength(2);
});

test('a token that a reload replaced is still taken out, and the new one is minted anew', async () => {
  const seen: string[] = [];
  const { github, gate } = await scene({}, ({ headers }, response) => {
    seen.push(headers.authorization ?? '');
    response.end(seen.join(' '));
  });
  const session = await gate.session();
  await get(gate, session);
  gate.rewrite(text => text.replace('"contents": "read"', '"contents": "write"'));
  const { reply } = await get(gate, session);
  expect(reply.body.toString()).toBe(`Bearer ${stubOf(session)} Bearer ${stubOf(session)}`);
  expect(github.issued.map(({ permissions }) => permissions)).toEqual([
    { contents: 'read' },
    { contents: 'write' },
  ]);

  // Without `mint` the key itself would be the value: it still is no token.
  gate.rewrite(text => text.replace('"paths"', '"allow_range": true, "paths"'));
  await get(gate, session);
  expect(github.issued).toHaveLength(2);
});
