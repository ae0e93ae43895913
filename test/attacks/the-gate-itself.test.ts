import { chmodSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Admin, startAdmin } from '../../src/admin/server.ts';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import { canary } from '../support/canary.ts';
import { connect, dial, header, openTls, readReply, type Reply } from '../support/raw-client.ts';
import { before, type Case, checkAround, expectServing, fill, message, play, request } from './case.ts';
import { OK } from './recorder.ts';
import { openScene, type Scene, type SceneOptions } from './scene.ts';
import { readings } from './search.ts';

async function scenery(options: SceneOptions = {}): Promise<Scene> {
  const scene = await openScene(options);
  onTestFinished(() => scene.close());
  return scene;
}

const SENT = request('/x').replace('STUB', 'SECRET');
const OK_BODY = { status: 200, body: 'ok' } as const;

describe('the admin listener', () => {
  let scene: Scene;
  let admin: Admin;
  let token: string;
  beforeAll(async () => {
    scene = await openScene();
    const { gate } = scene.gate;
    admin = await startAdmin(gate, writeTrustFiles(gate.caFile, gate.bundleFile), scene.gate.log);
    token = readFileSync(join(scene.gate.files.caDir, 'admin-token'), 'utf8').trim();
  });
  afterAll(async () => {
    await admin.close();
    await scene.close();
  });

  const port = (): number => Number(/:(\d+)$/.exec(admin.address)?.[1]);
  async function ask(text: string): Promise<Reply> {
    const peer = await dial(port());
    await peer.send(text.replaceAll('TOKEN', token).replaceAll('HOST', `127.0.0.1:${port()}`));
    const reply = await readReply(peer, text.slice(0, text.indexOf(' ')));
    peer.cut();
    expect(readings(peer.received, scene.secret)).toEqual([]);
    expect(reply.headers.map(([name]) => name).filter(name => name.startsWith('access-control-'))).toEqual(
      [],
    );
    return reply;
  }
  const get = (lines: readonly string[], path = '/v1/sessions', method = 'GET', body = ''): string =>
    message([`${method} ${path} HTTP/1.1`, ...lines], body);
  const AUTH = 'Authorization: Bearer TOKEN';
  const create = (lines: readonly string[]): string =>
    get(['Host: HOST', AUTH, ...lines, 'Content-Length: 2'], '/v1/sessions', 'POST', '{}');

  test('serves who has the token', async () => {
    const reply = await ask(get(['Host: HOST', AUTH]));
    expect(reply.status).toBe(200);
    // Neither tokens nor stubs are told again.
    expect(reply.body.toString()).not.toContain(scene.session.token);
    expect(reply.body.toString()).not.toContain(scene.stub);
  });

  const refused: readonly (readonly [what: string, send: string, status: number])[] = [
    ['nobody without a token', get(['Host: HOST']), 401],
    ['nobody with a wrong token', get(['Host: HOST', 'Authorization: Bearer x']), 401],
    ['nobody with an empty token', get(['Host: HOST', 'Authorization: Bearer ']), 401],
    ['nobody with the token as Basic', get(['Host: HOST', 'Authorization: Basic TOKEN']), 401],
    ['nobody with the token in the query', get(['Host: HOST'], '/v1/sessions?token=TOKEN'), 401],
    ['nobody with the token in a cookie', get(['Host: HOST', 'Cookie: token=TOKEN']), 401],
    ['no metrics without a token', get(['Host: HOST'], '/metrics'), 401],
    ['no unknown path without a token', get(['Host: HOST'], '/nothing'), 401],
    ['no path that only looks like a health check', get(['Host: HOST'], '/healthz/../v1/sessions'), 401],
    [
      'no page of another origin, whatever it knows',
      get(['Host: HOST', AUTH, 'Origin: https://evil.test']),
      403,
    ],
    ['no page of its own origin', get(['Host: HOST', AUTH, 'Origin: http://HOST']), 403],
    ['no sandboxed page', get(['Host: HOST', AUTH, 'Origin: null']), 403],
    ['no cross-site request without Origin', get(['Host: HOST', AUTH, 'Sec-Fetch-Site: cross-site']), 403],
    ['no same-site request', get(['Host: HOST', AUTH, 'Sec-Fetch-Site: same-site']), 403],
    ['no health check from a page', get(['Host: HOST', 'Origin: https://evil.test'], '/healthz'), 403],
    [
      'no preflight',
      get(
        ['Host: HOST', 'Origin: https://evil.test', 'Access-Control-Request-Method: POST'],
        '/v1/sessions',
        'OPTIONS',
      ),
      403,
    ],
    ['no name that was rebound', get(['Host: evil.test', AUTH]), 403],
    ['no name that looks like an address', get(['Host: 127.0.0.1.evil.test', AUTH]), 403],
    ['no name that begins with localhost', get(['Host: localhost.evil.test', AUTH]), 403],
    ['no form post', create(['Content-Type: application/x-www-form-urlencoded']), 415],
    ['no text post', create(['Content-Type: text/plain']), 415],
    ['no post without a type', create([]), 415],
    [
      'no body that is not told',
      get(
        ['Host: HOST', AUTH, 'Content-Type: application/json', 'Transfer-Encoding: chunked'],
        '/v1/sessions',
        'POST',
        '2\r\n{}\r\n0\r\n\r\n',
      ),
      411,
    ],
    [
      'no body that is too large',
      get(
        ['Host: HOST', AUTH, 'Content-Type: application/json', 'Content-Length: 99999999'],
        '/v1/sessions',
        'POST',
      ),
      413,
    ],
    ['no request without Host', get([AUTH]), 400],
    ['no traversal to its files', get(['Host: HOST', AUTH], '/../../certs/admin-token'), 404],
  ];
  test.each(refused)('serves %s', async (_, send, status) => {
    const reply = await ask(send);
    expect(reply.status, reply.body.toString()).toBe(status);
    expect(reply.body.toString()).not.toContain(token);
  });

  test('takes neither a session’s token nor a stub for its own', async () => {
    for (const other of [scene.session.token, scene.stub, scene.session.id]) {
      expect((await ask(get(['Host: HOST', `Authorization: Bearer ${other}`]))).status).toBe(401);
    }
  });

  test.each(['sub', 'act', 'labels'])(
    'takes no line break, nor what a terminal obeys, in %s',
    async field => {
      for (const bad of ['a\r\n{"forged":1}', 'a\nb', 'a\u2028b', '\u001b[2J', 'a\u202eb', '\0', 'a\ud800']) {
        const text = JSON.stringify({ [field]: field === 'labels' ? { run: bad } : bad });
        const body = text.replace(
          /[^\x20-\x7e]/g,
          c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
        );
        const reply = await ask(
          get(
            ['Host: HOST', AUTH, 'Content-Type: application/json', `Content-Length: ${body.length}`],
            '/v1/sessions',
            'POST',
            body,
          ),
        );
        expect(reply.status, body).toBe(400);
      }
    },
  );

  test('does not take a proxy’s request', async () => {
    expect((await ask(get(['Host: evil.test', AUTH], 'http://evil.test/v1/sessions'))).status).not.toBe(200);
    const peer = await dial(port());
    await peer.send(message(['CONNECT api.test:443 HTTP/1.1', 'Host: api.test']));
    expect((await peer.end()).bytes.toString()).not.toMatch(/^HTTP\/1\.1 2/);
    peer.cut();
  });

  test('the CA’s key and the admin token are for one user only', () => {
    const { caDir } = scene.gate.files;
    for (const name of ['admin-token', 'ca-key.pem', 'ca.key', 'key.pem']) {
      const stat = statSync(join(caDir, name), { throwIfNoEntry: false });
      if (stat) expect(stat.mode & 0o077, name).toBe(0);
    }
    expect(statSync(join(caDir, 'admin-token')).mode & 0o777).toBe(0o600);
  });

  test('metrics hold neither secret, nor stub, nor what the sandbox chose', async () => {
    await play(scene, { name: '', send: request('/chosen-by-the-sandbox'), ...OK_BODY, upstream: /^GET/ });
    const { body } = await ask(get(['Host: HOST', AUTH], '/metrics'));
    expect(body.toString()).toContain('stubgate_');
    for (const text of ['chosen-by-the-sandbox', scene.stub, scene.session.token])
      expect(body.toString()).not.toContain(text);
  });
});

describe('the audit', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await openScene();
  });
  afterAll(() => scene.close());

  const forged: readonly (readonly [
    what: string,
    send: string,
    expected: Pick<Case, 'status' | 'reason'>,
  ])[] = [
    [
      'an encoded line break in the path',
      request('/x%0d%0a{"forged":1}'),
      { status: 400, reason: 'malformed_request' },
    ],
    ['an encoded line break alone', request('/x%0d%0ay'), { status: 400, reason: 'ambiguous_path' }],
    ['a doubly encoded line break', request('/x%250ay'), { status: 400, reason: 'ambiguous_path' }],
    ['a terminal’s escape in the path', request('/x\x1b[2J'), { status: 400, reason: 'malformed_request' }],
    ['a line break in the target', request('/x\n{"forged":1}'), { status: 400, reason: 'malformed_request' }],
    ['quotes in the path', request('/"forged"'), { status: 400, reason: 'malformed_request' }],
    [
      'Unicode line separators in the path',
      request('/\xe2\x80\xa8'),
      { status: 400, reason: 'malformed_request' },
    ],
    [
      'a line break in the trace id',
      request('/forbidden/x', ['traceparent: 00-\x0d-1-1']),
      { status: 400, reason: 'malformed_request' },
    ],
    [
      'a trace id that is none',
      request('/forbidden/x', ['traceparent: 00-forged"}-1-01']),
      { status: 403, reason: 'rule_denies' },
    ],
    ['a path of 15 KB', request(`/forbidden/${'a'.repeat(15_000)}`), { status: 403, reason: 'rule_denies' }],
  ];
  test.each(forged)('cannot be forged by %s', async (name, send, expected) => {
    await play(scene, { name, send, ...expected });
    const lines = scene.gate.auditText().split('\n').slice(0, -1);
    for (const line of lines) {
      expect(line).toMatch(/^[\x20-\x7e]+$/);
      expect(line.length).toBeLessThan(8192);
      expect(Object.keys(JSON.parse(line) as object)).not.toContain('forged');
    }
  });

  test('an unauthenticated flood leaves a line each, and no name of anybody', async () => {
    const start = before(scene);
    const peer = await dial(scene.session.proxy.port);
    for (let i = 0; i < 20; i++) {
      await peer.send(
        message([
          'CONNECT api.test:443 HTTP/1.1',
          'Host: api.test',
          `Proxy-Authorization: Bearer ${scene.stub}`,
        ]),
      );
      expect((await readReply(peer)).status).toBe(407);
    }
    await checkAround(scene, start, {
      received: [peer],
      lines: 20,
      audit: { reason: 'unauthenticated', session: null },
    });
    peer.cut();
  });

  test('that cannot be written: nothing is answered that is not audited', async () => {
    const full = await openScene({ config: { audit: { file: '/dev/full' } } });
    onTestFinished(() => full.close());
    const first = await openTls(full.session.proxy, full.gate.ca, 'api.test');
    await first.send(fill(full, request('/x')));
    const { bytes } = await first.end();
    expect(bytes.toString()).not.toContain('200 OK');
    const mark = full.upstream.mark();
    const second = await openTls(full.session.proxy, full.gate.ca, 'api.test');
    await second.send(fill(full, request('/x')));
    const reply = await readReply(second);
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([503, 'audit_unavailable']);
    expect(full.upstream.since(mark)).toBe('');
    expect(full.gate.gate.audit.healthy).toBe(false);
    expect(readings(inspect(full.gate.logs, { depth: 12 }), full.secret)).toEqual([]);
    second.cut();
  });

  test('whose file is taken away is written anew', async () => {
    const own = await scenery();
    await expectServing(own);
    rmSync(own.gate.files.auditFile);
    own.gate.gate.audit.reopen();
    await expectServing(own);
  });
});

describe('an audit that could not be written for a while', () => {
  test('tells of every request later, and of no stub', async () => {
    const scene = await scenery();
    const { auditFile } = scene.gate.files;
    await expectServing(scene);
    rmSync(auditFile);
    mkdirSync(auditFile);
    scene.gate.gate.audit.reopen();
    const mark = scene.upstream.mark();
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    for (const target of ['/a', '/STUB', '/SECRET']) {
      await peer.send(fill(scene, request(target)));
      expect(header(await readReply(peer), 'stubgate-reason')).toBe('audit_unavailable');
    }
    expect(scene.upstream.since(mark)).toBe('');
    rmdirSync(auditFile);
    scene.gate.gate.audit.reopen();
    const lines = await scene.gate.audit(3);
    expect(lines.map(({ reason, path }) => [reason, path])).toEqual([
      ['audit_unavailable', '/a'],
      ['audit_unavailable', '[withheld]'],
      ['audit_unavailable', '[withheld]'],
    ]);
    expect(readings(scene.gate.auditText(), scene.secret)).toEqual([]);
    expect(scene.gate.auditText()).not.toContain(scene.stub);
    await expectServing(scene);
    peer.cut();
  });
});

describe('the configuration', () => {
  const bad: readonly (readonly [what: string, change: (text: string) => string])[] = [
    ['an empty file', () => ''],
    ['only white space', () => ' \n\n'],
    ['half a file', text => text.slice(0, text.length / 2)],
    ['no YAML', () => '{]'],
    ['an unknown key', text => text.replace('"version"', '"verison"')],
    [
      'a rule with an unknown credential',
      text => text.replaceAll('"credential": "api"', '"credential": "none"'),
    ],
    ['a list instead of a mapping', () => '[]'],
    ['a NUL', text => `\0${text}`],
  ];
  test.each(bad)('%s changes nothing, and is told', async (_, change) => {
    const scene = await scenery();
    const text = readFileSync(scene.gate.files.configFile, 'utf8');
    scene.gate.rewrite(change);
    expect(scene.gate.logs.at(-1)).toMatchObject({
      level: 'error',
      message: 'configuration not reloaded: the last good one stays',
    });
    await play(scene, { name: '', send: request('/x'), ...OK_BODY, upstream: SENT });
    await play(scene, {
      name: '',
      host: 'evil.test',
      send: message(['GET / HTTP/1.1', 'Host: evil.test']),
      status: 403,
      reason: 'no_rule',
    });
    expect(readings(inspect(scene.gate.logs, { depth: 12 }), scene.secret)).toEqual([]);
    scene.gate.rewrite(() => text);
    await expectServing(scene);
  });

  test('without rules denies everything, in open tunnels too', async () => {
    const scene = await scenery();
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'open.test');
    const get = message(['GET /x HTTP/1.1', 'Host: open.test']);
    await peer.send(get);
    expect((await readReply(peer)).status).toBe(200);
    scene.gate.rewrite(text => JSON.stringify({ ...(JSON.parse(text) as object), rules: [] }));
    const mark = scene.upstream.mark();
    await peer.send(get);
    const reply = await readReply(peer);
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([403, 'no_rule']);
    expect(scene.upstream.since(mark)).toBe('');
    peer.cut();
  });

  test('that takes a credential away still takes it out of what comes back', async () => {
    const scene = await scenery();
    await expectServing(scene);
    scene.gate.rewrite(text => {
      const config = JSON.parse(text) as { rules: { inject?: unknown }[]; credentials?: unknown };
      return JSON.stringify({ ...config, rules: config.rules.map(rule => ({ ...rule, inject: undefined })) });
    });
    scene.upstream.answer = message(
      ['HTTP/1.1 200 OK', `Content-Length: ${scene.secret.length}`],
      scene.secret,
    );
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'open.test');
    await peer.send(message(['GET /x HTTP/1.1', 'Host: open.test']));
    await readReply(peer);
    expect(readings(peer.received, scene.secret)).toEqual([]);
    peer.cut();
  });
});

describe('a vault', () => {
  const secretFile = (scene: Scene): string => join(scene.gate.files.dir, 'api.secret');
  const rewriteSecret = (scene: Scene, text: string): void =>
    writeFileSync(secretFile(scene), text, { mode: 0o600 });
  const UNAVAILABLE = { status: 503, reason: 'credential_unavailable' } as const;

  const broken: readonly (readonly [what: string, breakIt: (scene: Scene) => void])[] = [
    ['without the secret', scene => rmSync(secretFile(scene))],
    ['whose secret others may read', scene => chmodSync(secretFile(scene), 0o644)],
    ['whose secret is empty', scene => rewriteSecret(scene, '')],
    ['whose secret is too short to be found again', scene => rewriteSecret(scene, 'abc')],
    ['whose secret splits the request', scene => rewriteSecret(scene, `${scene.secret}\r\nX-Injected: 1`)],
    ['whose secret holds a NUL', scene => rewriteSecret(scene, `${scene.secret}\0`)],
    ['whose secret is not ASCII', scene => rewriteSecret(scene, `${scene.secret}ä`)],
  ];
  test.each(broken)(
    '%s: the request is refused, nothing is sent, the cause stays inside',
    async (_, breakIt) => {
      const scene = await scenery();
      breakIt(scene);
      const start = scene.upstream.mark();
      const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
      await peer.send(fill(scene, request('/x')));
      const reply = await readReply(peer);
      expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([503, 'credential_unavailable']);
      expect(reply.body.toString()).not.toMatch(/api\.secret|file|mode|ASCII/);
      expect(scene.upstream.since(start)).toBe('');
      const [line] = await scene.gate.audit(1);
      expect(line).toMatchObject({ ...UNAVAILABLE, verdict: 'deny', injected: [] });
      expect(
        readings(inspect(scene.gate.logs, { depth: 12 }) + scene.gate.auditText(), scene.secret),
      ).toEqual([]);
      // A request that needs no credential is served as ever.
      const open = await openTls(scene.session.proxy, scene.gate.ca, 'open.test');
      await open.send(message(['GET /x HTTP/1.1', 'Host: open.test']));
      expect((await readReply(open)).status).toBe(200);
      peer.cut();
      open.cut();
    },
  );

  test('that is down for a while: what was read is used on', async () => {
    const scene = await scenery();
    await expectServing(scene);
    rmSync(secretFile(scene));
    await play(scene, { name: '', send: request('/x'), ...OK_BODY, upstream: SENT });
  });

  test('is not asked for a request that is denied', async () => {
    const scene = await scenery();
    rmSync(secretFile(scene));
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    await peer.send(fill(scene, request('/forbidden/x')));
    expect(header(await readReply(peer), 'stubgate-reason')).toBe('rule_denies');
    expect(scene.gate.logs.filter(({ level }) => level === 'warn')).toEqual([]);
    peer.cut();
  });

  const REJECTED = 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno';

  test('that rotated: after 401 it is asked once, the request sent again, the old value still taken out', async () => {
    const scene = await scenery();
    await expectServing(scene);
    const next = canary('next-');
    rewriteSecret(scene, next);
    const start = before(scene);
    scene.upstream.answer = async (peer, asked) => {
      const text = `old ${scene.secret} new ${next}`;
      await peer.send(
        asked.includes(next)
          ? message(['HTTP/1.1 200 OK', `Content-Length: ${text.length}`], text)
          : REJECTED,
      );
    };
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    await peer.send(fill(scene, request('/x')));
    const reply = await readReply(peer);
    expect(reply.body.toString()).toBe(`old ${scene.stub} new ${scene.stub}`);
    expect(scene.upstream.since(start.upstream)).toBe(
      fill(scene, SENT + SENT.replace('SECRET', next)).toString(),
    );
    expect((await scene.gate.audit(start.audit + 1)).slice(start.audit)).toHaveLength(1);
    expect(readings(scene.gate.auditText(), next)).toEqual([]);
    peer.cut();
  });

  test.each<[string, string]>([
    ['without a new value, the 401 is the sandbox’s', request('/x')],
    ['a request with a body is not sent again', request('/x', ['Content-Length: 2'], 'POST', 'ab')],
  ])('%s', async (_, send) => {
    const scene = await scenery();
    await expectServing(scene);
    const sent = fill(scene, send.replace('STUB', 'SECRET'))
      .toString()
      .replace('Content-Length', 'content-length');
    await play(scene, { name: '', send, answer: REJECTED, status: 401, body: 'no', upstream: sent });
  });

  test('a flood of 401 does not become a flood on the vault', async () => {
    const scene = await scenery();
    await expectServing(scene);
    scene.upstream.answer = REJECTED;
    const start = before(scene);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    for (let i = 0; i < 10; i++) {
      await peer.send(fill(scene, request('/x')));
      expect((await readReply(peer)).status).toBe(401);
    }
    // One request each: none is repeated, as there is nothing new.
    const sent = fill(scene, SENT).toString();
    await checkAround(scene, start, { received: [peer], lines: 10, upstream: sent.repeat(10) });
    peer.cut();
  });
});

describe('bounds of a session', () => {
  test('its open tunnels are counted, another session’s are not', async () => {
    const scene = await scenery({ config: { limits: { tunnels: 3, drain: '1s' } } });
    const greedy = await scene.gate.session();
    const peers = [];
    for (let i = 0; i < 3; i++) peers.push((await connect(greedy.proxy, 'api.test:443')).peer);
    const start = before(scene);
    const fourth = await connect(greedy.proxy, 'api.test:443');
    expect([fourth.reply.status, header(fourth.reply, 'stubgate-reason')]).toEqual([429, 'rate_limited']);
    await checkAround(scene, start, { received: [fourth.peer], lines: 1, audit: { reason: 'rate_limited' } });
    for (const peer of [...peers, fourth.peer]) peer.cut();
  });

  test('a gate that stops finishes what is under way and takes nothing new', async () => {
    const scene = await openScene();
    const asked = Promise.withResolvers<() => void>();
    scene.upstream.answer = async peer => {
      await new Promise<void>(resolve => asked.resolve(resolve));
      await peer.send(OK);
    };
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    await peer.send(fill(scene, request('/x') + request('/y')));
    const answer = await asked.promise;
    const stopped = scene.close();
    await expect(dial(scene.session.proxy.port)).rejects.toThrow('ECONNREFUSED');
    answer();
    const { bytes } = await peer.end();
    expect(bytes.toString().match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
    await stopped;
  });
});
