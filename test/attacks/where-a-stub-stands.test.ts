import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { connect, dial, header, openTls, readReply } from '../support/raw-client.ts';
import { before, type Case, checkAround, fill, message, play, request, type Text } from './case.ts';
import { openScene, type Scene } from './scene.ts';

let scene: Scene;
let other: string;
let revoked: string;
const second = canary('second-');
beforeAll(async () => {
  scene = await openScene({
    rules: () => [
      {
        name: 'two',
        hosts: ['ports.test'],
        inject: [
          { credential: 'api', as: 'bearer' },
          { credential: 'second', as: 'header', name: 'x-api-key' },
        ],
      },
    ],
    credentials: { second: { secret: second, env: 'SECOND' } },
  });
  other = (await scene.gate.session()).stubs['API_KEY'] ?? '';
  const gone = await scene.gate.session();
  revoked = gone.stubs['API_KEY'] ?? '';
  await scene.gate.revoke(gone.id);
});
afterAll(() => scene.close());

const named = (cases: readonly Case[]): [string, Case][] => cases.map(c => [c.name, c]);
const OK_BODY = { status: 200, body: 'ok' } as const;
const MISPLACED = { status: 403, reason: 'stub_misplaced' } as const;
const b64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const url64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64url');
const percent = (text: string): string =>
  text
    .split('')
    .map(c => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
    .join('');
const partly = (text: string): string =>
  text
    .split('')
    .map((c, i) => (i % 3 === 0 ? percent(c) : c))
    .join('');
/** A request for api.test without credential; other placeholders are filled. */
const get = (lines: readonly string[], target = '/x', host = 'api.test'): string =>
  message([`GET ${target} HTTP/1.1`, `Host: ${host}`, ...lines]);
const withStub =
  (make: (stub: string) => string): Text =>
  s =>
    fill(s, make(s.stub));

/** Fields that upstreams reflect, and those that carry credentials elsewhere. */
const FIELDS = [
  'User-Agent',
  'Origin',
  'Referer',
  'X-Request-Id',
  'Access-Control-Request-Headers',
  'Sec-WebSocket-Protocol',
  'Idempotency-Key',
  'Prefer',
  'Last-Event-ID',
  'Cookie',
  'Accept',
  'Accept-Language',
  'If-None-Match',
  'If-Match',
  'Range',
  'X-Api-Key',
  'X-Forwarded-For',
  'Forwarded',
  'Via',
  'From',
  'Content-Type',
  'traceparent',
  'Proxy-Connection',
  'Keep-Alive',
  'TE',
  'Accept-Encoding',
];

describe('a stub in a header that is no placement', () => {
  test.each(FIELDS)('%s', async field => {
    await play(scene, {
      name: field,
      send: get([`${field}: STUB`]),
      ...MISPLACED,
      audit: { stubs_seen: 1, injected: [] },
    });
  });
  test.each(FIELDS.slice(0, 9))('%s, besides the right place', async field => {
    await play(scene, {
      name: field,
      send: request('/x', [`${field}: STUB`]),
      ...MISPLACED,
      audit: { stubs_seen: 2 },
    });
  });
});

describe('a stub in another spelling', () => {
  const spelt: readonly (readonly [what: string, spell: (stub: string) => string])[] = [
    ['in quotes', stub => `"${stub}"`],
    ['inside other text', stub => `x${stub}y`],
    ['in base64', stub => b64(stub)],
    ['in base64, one byte behind', stub => b64(`a${stub}`)],
    ['in base64, two bytes behind', stub => b64(`ab${stub}`)],
    ['in base64url', stub => url64(`??${stub}>>`)],
    ['as a Basic credential', stub => `Basic ${b64(`user:${stub}`)}`],
    ['percent-encoded', percent],
    ['partly percent-encoded', partly],
    ['percent-encoded twice', stub => percent(percent(stub))],
    ['in percent-encoded base64', stub => percent(b64(stub))],
    ['without its last characters', stub => stub.slice(0, -5)],
    ['without its prefix', stub => stub.slice(4)],
  ];
  test.each(spelt)('%s in a header', async (name, spell) => {
    await play(scene, { name, send: withStub(stub => get([`X-Note: ${spell(stub)}`])), ...MISPLACED });
  });
  test.each(spelt.slice(1))('%s in the query', async (name, spell) => {
    await play(scene, {
      name,
      send: withStub(stub => get([], `/x?q=${spell(stub).replace(' ', '+')}`)),
      ...MISPLACED,
    });
  });
  test.each(spelt.slice(1, 11))('%s in the path', async (name, spell) => {
    const path = (stub: string): string => `/a/${spell(stub).replace(' ', '+')}/b`;
    await play(scene, {
      name,
      send: withStub(stub => get([], path(stub))),
      ...MISPLACED,
      audit: { path: '[withheld]' },
    });
  });
});

describe('a stub elsewhere in the head', () => {
  test.each(
    named([
      { name: 'as a header name', send: get(['STUB: x']), ...MISPLACED },
      { name: 'as a query key', send: get([], '/x?STUB=1'), ...MISPLACED },
      { name: 'as a path segment', send: get([], '/STUB'), ...MISPLACED },
      { name: 'as a path parameter', send: get([], '/x;k=STUB'), ...MISPLACED },
      { name: 'as a path that no rule could read', send: get([], '/a/../STUB'), ...MISPLACED },
      {
        name: 'as the method of an upgrade',
        send: request('/x', ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Protocol: STUB']),
        ...MISPLACED,
      },
      {
        name: 'as a denied path',
        send: request('/forbidden/STUB'),
        ...MISPLACED,
        audit: { path: '[withheld]' },
      },
      { name: 'in a fragment', send: get([], '/x#STUB'), status: 400, reason: 'malformed_request' },
      { name: 'in a cookie with others', send: get(['Cookie: a=b; t=STUB; c=d']), ...MISPLACED },
      { name: 'twice at one place', send: get(['Authorization: Bearer STUB STUB']), ...MISPLACED },
      {
        name: 'as the wrong scheme: Basic',
        send: withStub(stub => get([`Authorization: Basic ${b64(`x:${stub}`)}`])),
        ...MISPLACED,
      },
      {
        name: 'as the wrong scheme: Digest',
        send: get(['Authorization: Digest username="STUB"']),
        ...MISPLACED,
      },
      { name: 'as the wrong scheme: none', send: get(['Authorization: STUB']), ...MISPLACED },
      {
        name: 'as Bearer with something behind',
        send: get(['Authorization: Bearer STUB, Basic eDp5']),
        ...MISPLACED,
      },
      { name: 'as Bearer inside text', send: get(['Authorization: Bearer xSTUB']), ...MISPLACED },
      {
        name: 'as Bearer in base64',
        send: withStub(stub => get([`Authorization: Bearer ${b64(stub)}`])),
        ...MISPLACED,
      },
      {
        name: 'for another allowed host',
        host: 'open.test',
        send: get(['Authorization: Bearer STUB'], '/x', 'open.test'),
        ...MISPLACED,
      },
      {
        name: 'for another allowed host below a wildcard',
        host: 'a.wild.test',
        send: get(['X: STUB'], '/x', 'a.wild.test'),
        ...MISPLACED,
      },
      {
        name: 'for a denied host',
        host: 'evil.test',
        send: get(['Authorization: Bearer STUB'], '/x', 'evil.test'),
        ...MISPLACED,
      },
      {
        name: 'in the query of a host with a header',
        host: 'key.test',
        send: get([], '/x?key=STUB', 'key.test'),
        ...MISPLACED,
      },
      {
        name: 'in the other header of a host with a header',
        host: 'key.test',
        send: get(['Authorization: Bearer STUB'], '/x', 'key.test'),
        ...MISPLACED,
      },
      {
        name: 'under the wrong key of a host with a query',
        host: 'query.test',
        send: get([], '/x?token=STUB', 'query.test'),
        ...MISPLACED,
      },
      {
        name: 'twice under the key of a host with a query',
        host: 'query.test',
        send: get([], '/x?key=STUB&key=STUB', 'query.test'),
        ...MISPLACED,
      },
      {
        name: 'in the query and in the path',
        host: 'query.test',
        send: get([], '/STUB?key=STUB', 'query.test'),
        ...MISPLACED,
      },
      {
        name: 'encoded twice under its key',
        host: 'query.test',
        send: withStub(stub => get([], `/x?key=${percent(percent(stub))}`, 'query.test')),
        ...MISPLACED,
      },
      {
        name: 'inside the user name of Basic',
        host: 'basic.test',
        send: withStub(stub => get([`Authorization: Basic ${b64(`x${stub}:p`)}`], '/x', 'basic.test')),
        ...MISPLACED,
      },
      {
        name: 'as user and as password of Basic',
        host: 'basic.test',
        send: withStub(stub => get([`Authorization: Basic ${b64(`${stub}:${stub}`)}`], '/x', 'basic.test')),
        ...MISPLACED,
      },
      {
        name: 'in Basic without padding',
        host: 'basic.test',
        send: withStub(stub =>
          get([`Authorization: Basic ${b64(`ab:${stub}`).replace(/=*$/, '')}`], '/x', 'basic.test'),
        ),
        ...MISPLACED,
      },
      {
        name: 'of another credential at this place',
        host: 'ports.test',
        send: s => get([`Authorization: Bearer ${s.session.stubs['SECOND'] ?? ''}`], '/x', 'ports.test'),
        ...MISPLACED,
      },
      {
        name: 'of another credential of the same host',
        host: 'ports.test',
        send: s =>
          get(
            [`X-Api-Key: ${s.stub}`, `Authorization: Bearer ${s.session.stubs['SECOND'] ?? ''}`],
            '/x',
            'ports.test',
          ),
        ...MISPLACED,
      },
      { name: 'of another session', send: () => get([`Authorization: Bearer ${other}`]), ...MISPLACED },
      {
        name: 'of another session in a header',
        send: () => request('/x', [`X-Note: ${other}`]),
        ...MISPLACED,
      },
      { name: 'of a revoked session', send: () => get([`Authorization: Bearer ${revoked}`]), ...MISPLACED },
      {
        name: 'in the wrong case',
        send: withStub(stub => get([`Authorization: Bearer ${stub.toUpperCase()}`])),
        status: 403,
        reason: 'foreign_credential',
      },
      {
        name: 'with one character changed',
        send: withStub(stub =>
          get([`Authorization: Bearer ${stub.slice(0, -1)}${stub.endsWith('a') ? 'b' : 'a'}`]),
        ),
        ...MISPLACED,
      },
    ] satisfies Case[]),
  )('%s', (_, c) => play(scene, c));
});

describe('a credential that is not the session’s stub', () => {
  const foreign = (name: string, host: string, lines: readonly string[], target = '/x'): Case => ({
    name,
    host,
    send: get(lines, target, host),
    status: 403,
    reason: 'foreign_credential',
  });
  test.each(
    named([
      foreign('Bearer', 'api.test', ['Authorization: Bearer of-somebody-else']),
      foreign('Basic where Bearer is injected', 'api.test', ['Authorization: Basic eDp5']),
      foreign('Digest', 'api.test', ['Authorization: Digest username="x"']),
      foreign('an empty Bearer', 'api.test', ['Authorization: Bearer']),
      foreign('an empty Authorization', 'api.test', ['Authorization:']),
      foreign('Basic', 'basic.test', ['Authorization: Basic eDp5']),
      foreign('Basic that is not base64', 'basic.test', ['Authorization: Basic ???']),
      foreign('a header of its own', 'key.test', ['X-API-KEY: mine']),
      foreign('a query parameter', 'query.test', [], '/x?key=mine'),
      foreign('an empty query parameter', 'query.test', [], '/x?key='),
      foreign('an encoded query parameter', 'query.test', [], '/x?%6bey=mine'),
      { name: 'none at all goes as it is', send: get([]), ...OK_BODY, upstream: get([]) },
      {
        name: 'none where one is required',
        host: 'must.test',
        send: get([], '/x', 'must.test'),
        status: 403,
        reason: 'stub_missing',
      },
      {
        name: 'any where the gate always sets its own',
        host: 'always.test',
        send: get(['Authorization: Bearer mine'], '/x', 'always.test'),
        ...OK_BODY,
        upstream: get(['Authorization: Bearer SECRET'], '/x', 'always.test'),
      },
    ] satisfies Case[]),
  )('%s', (_, c) => play(scene, c));

  const secretly: [what: string, send: Text, host?: string][] = [
    ['at the right place', get(['Authorization: Bearer SECRET'])],
    ['in a header', request('/x', ['X-Note: SECRET'])],
    ['in base64', s => fill(s, request('/x', [`X-Note: ${b64(`a${s.secret}`)}`]))],
    ['in hex', s => fill(s, request('/x', [`X-Note: ${Buffer.from(s.secret).toString('hex')}`]))],
    ['percent-encoded in the query', s => fill(s, request(`/x?q=${percent(s.secret)}`))],
    ['in the path', request('/SECRET')],
    ['in a denied path', request('/forbidden/SECRET')],
    ['for an open host', get(['X-Note: SECRET'], '/x', 'open.test'), 'open.test'],
    ['beside a Host of another', get(['X-Note: SECRET'], '/x', 'evil.test'), 'open.test'],
    ['in a path that no rule could read', get(['X-Note: SECRET'], '/a/../b')],
    ['beside a stub that is misplaced', get(['X-Note: SECRET', 'X-Other: STUB'])],
    ['for a denied host', get(['X-Note: SECRET'], '/x', 'evil.test'), 'evil.test'],
    ['in the path of a denied host', get([], '/SECRET', 'evil.test'), 'evil.test'],
    [
      'as a trace id',
      s =>
        fill(
          s,
          get(
            [
              `traceparent: 00-${Buffer.from(s.secret).toString('hex').slice(0, 32)}-0123456789abcdef-01`,
              'X-Note: SECRET',
            ],
            '/x',
            'evil.test',
          ),
        ),
      'evil.test',
    ],
  ];
  test.each(secretly)('a real one %s', async (name, send, host = 'api.test') => {
    // What the gate has never fetched it cannot know.
    await play(scene, { name: 'known', send: request('/x'), ...OK_BODY, upstream: /^GET/ });
    await play(scene, { name, host, send, status: 403, reason: 'secret_in_request' });
  });

  test.each([
    ['in plain', (secret: string) => secret],
    ['in base64', (secret: string) => b64(`ab${secret}`)],
    ['in hex', (secret: string) => Buffer.from(secret).toString('hex')],
    [
      'in JSON escapes',
      (secret: string) => secret.replace(/[^]/g, c => `\\u00${c.charCodeAt(0).toString(16)}`),
    ],
  ])('a real one in the body %s', async (_, spell) => {
    await play(scene, { name: 'known', send: request('/x'), ...OK_BODY, upstream: /^GET/ });
    const body = `{"note":"${spell(scene.secret)}"}`;
    await play(scene, {
      name: '',
      send: request('/x', [`Content-Length: ${body.length}`], 'POST', body),
      splits: [200, 240],
      status: 403,
      reason: 'secret_in_request',
      // Its own, at its place; what follows the head stops before the secret is whole.
      upstream:
        /^(POST \/x HTTP\/1\.1\r\nHost: api\.test\r\nAuthorization: Bearer [^\r]+\r\n(?:(?!key-[A-Za-z0-9]{40}).)*)?$/s,
    });
  });
});

describe('a stub at its place', () => {
  test.each(
    named([
      {
        name: 'Bearer in other letters',
        send: get(['Authorization: bEARER STUB']),
        ...OK_BODY,
        upstream: get(['Authorization: bEARER SECRET']),
      },
      {
        name: 'the scheme of GitHub’s clients',
        send: get(['authorization: token STUB']),
        ...OK_BODY,
        upstream: get(['authorization: token SECRET']),
      },
      {
        name: 'the password of Basic',
        host: 'basic.test',
        send: withStub(stub => get([`Authorization: Basic ${b64(`me:${stub}`)}`], '/x', 'basic.test')),
        ...OK_BODY,
        upstream: s => get([`Authorization: Basic ${b64(`me:${s.secret}`)}`], '/x', 'basic.test'),
      },
      {
        name: 'the user of Basic',
        host: 'basic.test',
        send: withStub(stub => get([`Authorization: Basic ${b64(`${stub}:x`)}`], '/x', 'basic.test')),
        ...OK_BODY,
        upstream: s => get([`Authorization: Basic ${b64(`${s.secret}:x`)}`], '/x', 'basic.test'),
      },
      {
        name: 'Basic with a user of the gate’s',
        host: 'git.test',
        send: withStub(stub => get([`Authorization: Basic ${b64(`me:${stub}`)}`], '/x', 'git.test')),
        ...OK_BODY,
        upstream: s => get([`Authorization: Basic ${b64(`x-access-token:${s.secret}`)}`], '/x', 'git.test'),
      },
      {
        name: 'a header of its own',
        host: 'key.test',
        send: get(['X-API-Key: STUB'], '/x', 'key.test'),
        ...OK_BODY,
        upstream: get(['X-API-Key: SECRET'], '/x', 'key.test'),
      },
      {
        name: 'a query parameter',
        host: 'query.test',
        send: get([], '/x?a=b&key=STUB&c=d', 'query.test'),
        ...OK_BODY,
        upstream: get([], '/x?a=b&key=SECRET&c=d', 'query.test'),
        audit: { path: '/x' },
      },
      {
        name: 'a query parameter percent-encoded',
        host: 'query.test',
        send: withStub(stub => get([], `/x?key=${partly(stub)}`, 'query.test')),
        ...OK_BODY,
        upstream: get([], '/x?key=SECRET', 'query.test'),
      },
      {
        name: 'two at their places',
        host: 'ports.test',
        send: s =>
          get(
            [`Authorization: Bearer ${s.stub}`, `X-Api-Key: ${s.session.stubs['SECOND'] ?? ''}`],
            '/x',
            'ports.test',
          ),
        ...OK_BODY,
        upstream: () =>
          fill(scene, get(['Authorization: Bearer SECRET', `X-Api-Key: ${second}`], '/x', 'ports.test')),
      },
      {
        name: 'a range is not asked for with a credential',
        send: request('/x', ['Range: bytes=0-0', 'If-Range: "a"']),
        ...OK_BODY,
        upstream: request('/x').replace('STUB', 'SECRET'),
      },
      {
        name: 'an unknown coding is not asked for',
        send: request('/x', ['Accept-Encoding: gzip, sdch, dcb;q=1']),
        ...OK_BODY,
        upstream: request('/x', ['Accept-Encoding: gzip']).replace('STUB', 'SECRET'),
      },
    ] satisfies Case[]),
  )('%s', (_, c) => play(scene, c));
});

describe('a stub in a body is inert, and counted', () => {
  const bodies: readonly (readonly [what: string, body: (stub: string) => string | Buffer, seen: number])[] =
    [
      ['JSON', stub => `{"key":"${stub}"}`, 1],
      ['JSON with escapes of other characters', stub => `{"k\\u0065y":"${stub}"}`, 1],
      ['a form', stub => `key=${stub}&x=y`, 1],
      ['multipart', stub => `--b\r\nContent-Disposition: form-data; name="k"\r\n\r\n${stub}\r\n--b--\r\n`, 1],
      ['XML', stub => `<key>${stub}</key>`, 1],
      ['base64', stub => b64(`a${stub}`), 1],
      ['two copies', stub => `${stub} ${stub}`, 2],
      ['gzip, where nobody can see it', stub => gzipSync(stub), 0],
      ['wrong case, which is none', stub => stub.toUpperCase(), 0],
    ];
  test.each(bodies)('%s', async (name, make, seen) => {
    const text = make(scene.stub);
    const body = Buffer.isBuffer(text) ? text.toString('latin1') : text;
    const head = (token: string): string =>
      message(['POST /x HTTP/1.1', 'Host: api.test', `Authorization: Bearer ${token}`]);
    await play(scene, {
      name,
      send: () =>
        Buffer.from(
          head(scene.stub).replace('\r\n\r\n', `\r\nContent-Length: ${body.length}\r\n\r\n`) + body,
          'latin1',
        ),
      ...OK_BODY,
      upstream: () =>
        Buffer.from(
          head(scene.secret).replace('\r\n\r\n', `\r\ncontent-length: ${body.length}\r\n\r\n`) + body,
          'latin1',
        ),
      audit: { stubs_seen: 1 + seen },
    });
  });

  test('split over chunks at every byte', async () => {
    const body = `{"key":"${scene.stub}"}`;
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    const start = before(scene);
    for (let at = 1; at < body.length; at++) {
      const chunk = (part: string): string => `${part.length.toString(16)}\r\n${part}\r\n`;
      await peer.send(fill(scene, request('/x', ['Transfer-Encoding: chunked'], 'POST', '')));
      await peer.sendSplit(`${chunk(body.slice(0, at))}${chunk(body.slice(at))}0\r\n\r\n`, [at + 3]);
      expect((await readReply(peer)).status).toBe(200);
    }
    const lines = await scene.gate.audit(start.audit + body.length - 1);
    expect(lines.slice(start.audit).map(line => line.stubs_seen)).toEqual(
      Array<number>(body.length - 1).fill(2),
    );
    await checkAround(scene, start, { received: [peer], lines: body.length - 1, upstream: /^/ });
    peer.cut();
  });
});

describe('sessions', () => {
  test.each(['revoked', 'expired'] as const)(
    'one that is %s is not served, neither new nor in its open tunnel',
    async how => {
      const session = await scene.gate.session(how === 'expired' ? { ttlMs: 50 } : {});
      const peer = await openTls(session.proxy, scene.gate.ca, 'api.test');
      const start = before(scene);
      if (how === 'revoked') await scene.gate.revoke(session.id);
      const { bytes } = await peer.end(2000);
      expect(bytes.toString()).toBe('');
      const reason = `session_${how}` as const;
      const refused = await connect(session.proxy, 'api.test:443');
      expect([refused.reply.status, header(refused.reply, 'stubgate-reason')]).toEqual([407, reason]);
      refused.peer.cut();
      await checkAround(scene, start, {
        received: [peer],
        lines: 1,
        audit: { reason, status: 407, injected: [] },
      });
    },
  );

  test('a pinned tunnel that is still being dialled does not outlive its session', async () => {
    let resolved: (addresses: readonly string[]) => void = () => {};
    const asked = Promise.withResolvers<void>();
    const slow = await openScene({
      rules: port => [{ name: 'slow', hosts: ['slow.test'], action: 'tunnel', ports: [port] }],
      upstream: { allow_private: ['127.0.0.1/32'] },
      lookup: () => {
        asked.resolve();
        return new Promise(resolve => {
          resolved = resolve;
        });
      },
    });
    const session = await slow.gate.session();
    const peer = await dial(session.proxy.port);
    const authority = `slow.test:${slow.upstream.port}`;
    await peer.send(
      message([
        `CONNECT ${authority} HTTP/1.1`,
        `Host: ${authority}`,
        `Proxy-Authorization: ${session.proxy.authorization}`,
      ]),
    );
    await asked.promise;
    await slow.gate.revoke(session.id);
    resolved(['127.0.0.1']);
    const reply = await readReply(peer);
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([407, 'session_revoked']);
    expect((await slow.gate.audit(1))[0]).toMatchObject({ verdict: 'deny', reason: 'session_revoked' });
    expect(slow.gate.gate.openTunnels).toBe(0);
    peer.cut();
    await slow.close();
  });
});
