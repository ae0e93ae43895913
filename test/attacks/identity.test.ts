import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, dial, openTls, readReply, type Reply } from '../support/raw-client.ts';
import { makeKey, type OidcIssuer, startOidc } from '../support/upstreams/oidc.ts';
import { before, checkAround, fill, message, play, request } from './case.ts';
import { OK } from './recorder.ts';
import { openScene, type Scene } from './scene.ts';

const [OURS, THEIRS] = ['id.test', 'other-id.test'];
/** Order of the group of P-256. */
const ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');

let scene: Scene;
let issuer: OidcIssuer;
let stranger: OidcIssuer;

beforeAll(async () => {
  [issuer, stranger] = [await startOidc(OURS), await startOidc(THEIRS)];
  const entry = { type: 'jwt', audience: 'stubgate', profile: 'default' };
  scene = await openScene({
    config: {
      identity: [
        { ...entry, issuer: `https://${OURS}`, match: 'any' },
        { ...entry, issuer: `https://${THEIRS}`, match: { sub: 'theirs-*' } },
      ],
    },
    resolve: { [OURS]: issuer.address, [THEIRS]: stranger.address },
  });
});
afterAll(async () => {
  await scene.close();
  await issuer.close();
  await stranger.close();
});

const bearer = (token: string): string => `Bearer ${token}`;
const basic = (user: string, token: string): string =>
  `Basic ${Buffer.from(`${user}:${token}`, 'latin1').toString('base64')}`;
const ask = (authorization: string, more: readonly string[] = []): string =>
  message([
    'CONNECT api.test:443 HTTP/1.1',
    'Host: api.test:443',
    `Proxy-Authorization: ${authorization}`,
    ...more,
  ]);

/** What a session says of itself. */
async function page(authorization: string): Promise<Reply> {
  const peer = await dial(scene.session.proxy.port);
  await peer.send(
    message([
      'GET http://stubgate.invalid/session HTTP/1.1',
      'Host: stubgate.invalid',
      `Proxy-Authorization: ${authorization}`,
    ]),
  );
  const reply = await readReply(peer);
  peer.cut();
  return reply;
}

interface Told {
  readonly id: string;
  readonly sub: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A session of somebody's, and the token that opened it. */
async function victim(claims: object = {}): Promise<Told & { token: string }> {
  const token = await issuer.sign({ jti: crypto.randomUUID(), ...claims });
  return { token, ...(JSON.parse((await page(bearer(token))).body.toString()) as Told) };
}

/** The other signature that anybody can make of an ECDSA signature: (r, −s). */
function twin(token: string): string {
  const [head, payload, signature = ''] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const s = ORDER - BigInt(`0x${bytes.toString('hex', 32)}`);
  const other = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')]);
  return `${head}.${payload}.${other.toString('base64url')}`;
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Proxy credentials that must open nothing. */
const REFUSED: readonly (readonly [what: string, make: () => Promise<string>])[] = [
  [
    'a token of another issuer whose key has the same name',
    async () => bearer(await issuer.sign({}, {}, stranger.keys[0])),
  ],
  [
    'a token in the name of another issuer',
    async () => bearer(await issuer.sign({ iss: stranger.issuer, sub: 'theirs-1' })),
  ],
  ['a token that another entry would not take', async () => bearer(await stranger.sign({ sub: 'robot' }))],
  ['a token for somebody else', async () => bearer(await issuer.sign({ aud: 'https://api.example' }))],
  [
    'a token with a URL of keys',
    async () => {
      const key = await makeKey('mine');
      return bearer(await issuer.sign({}, { jku: 'https://api.test/jwks', x5u: 'https://api.test/x' }, key));
    },
  ],
  [
    'a token whose key’s name is a path',
    async () => bearer(await issuer.sign({}, { kid: '../../certs/ca.key' })),
  ],
  ['a token whose key’s name is a property', async () => bearer(await issuer.sign({}, { kid: '__proto__' }))],
  [
    'a token with claims of a prototype',
    async () => {
      const [head, , signature] = (await issuer.sign()).split('.');
      return bearer(
        `${head}.${Buffer.from('{"__proto__":{"iss":"https://id.test"}}').toString('base64url')}.${signature}`,
      );
    },
  ],
  [
    'what was signed without its signature',
    async () => bearer((await victim()).token.split('.').slice(0, 2).join('.')),
  ],
  ['the signature alone', async () => bearer((await victim()).token.split('.')[2] as string)],
  ['a token cut short', async () => bearer((await victim()).token.slice(0, -4))],
  [
    'the hash of a token',
    async () =>
      bearer(
        createHash('sha256')
          .update((await victim()).token)
          .digest('hex'),
      ),
  ],
  [
    'a session’s id with what was signed',
    async () => {
      const { id, token } = await victim();
      return basic(id, token.split('.').slice(0, 2).join('.'));
    },
  ],
  [
    'a session’s id with its hash',
    async () => {
      const { id } = await victim();
      return basic(
        id,
        scene.gate.gate.sessions.known().find(({ session }) => session === id)?.tokenHash ?? '',
      );
    },
  ],
  [
    'a good token under the id of somebody else’s session',
    async () => basic((await victim()).id, await issuer.sign()),
  ],
  ['a good token under a session’s own id', async () => basic(scene.session.id, await issuer.sign())],
  ['a session’s token under the user jwt', async () => basic('jwt', scene.session.token)],
  ['two tokens', async () => bearer(`${await issuer.sign()}, Bearer ${await issuer.sign()}`)],
  [
    'a token inside a token',
    async () =>
      bearer(`${part({ alg: 'ES256' })}.${part({ iss: issuer.issuer, jwt: await issuer.sign() })}.AAAA`),
  ],
];

describe('a proxy credential opens nothing', () => {
  test.each(REFUSED)('%s', async (_, make) => {
    const authorization = await make();
    const live = scene.gate.gate.sessions.live;
    await play(scene, {
      name: '',
      over: 'proxy',
      send: ask(authorization),
      status: 407,
      reason: 'unauthenticated',
      audit: { session: null, sub: null, labels: {} },
    });
    expect(scene.gate.gate.sessions.live).toBe(live);
  });
});

describe('somebody else’s word for who it is', () => {
  const fields = [
    'X-Forwarded-Client-Cert: URI=spiffe://corp/ns/ci/sa/agent',
    'X-SSL-Client-Verify: SUCCESS',
    'X-Forwarded-User: robot',
    'Forwarded: for=robot',
    'Client-Cert: :MIIB:',
  ];
  test.each(fields)('%s counts for nothing', async field => {
    await play(scene, {
      name: '',
      over: 'proxy',
      send: message(['CONNECT api.test:443 HTTP/1.1', 'Host: api.test:443', field]),
      status: 407,
      reason: 'unauthenticated',
    });
  });

  test.each([
    'Authorization',
    'Cookie',
    'X-Proxy-Authorization',
    'Proxy_Authorization',
    'Proxy-Authentication',
  ])('a token in %s counts for nothing', async name => {
    const token = await issuer.sign();
    await play(scene, {
      name: '',
      over: 'proxy',
      send: message(['CONNECT api.test:443 HTTP/1.1', 'Host: api.test:443', `${name}: Bearer ${token}`]),
      status: 407,
      reason: 'unauthenticated',
    });
  });

  test('two credentials are none', async () => {
    const [one, other] = [await issuer.sign({ jti: 'a' }), await issuer.sign({ jti: 'b' })];
    await play(scene, {
      name: '',
      over: 'proxy',
      send: ask(bearer(one), [`proxy-authorization: ${bearer(other)}`]),
      status: 400,
      reason: 'malformed_request',
      audit: { session: null },
    });
  });

  test('a credential inside a tunnel changes nobody, and goes nowhere', async () => {
    const { token } = await victim({ sub: 'victim' });
    await play(scene, {
      name: '',
      send: request('/x', [`Proxy-Authorization: ${bearer(token)}`]),
      status: 200,
      body: 'ok',
      upstream: request('/x').replace('STUB', 'SECRET'),
      audit: { session: scene.session.id, sub: 'octo' },
    });
  });
});

describe('a token after its session was revoked', () => {
  const SIGNED = ['as it was', 'with the other signature', 'as Basic'] as const;
  test.each(SIGNED)('does not come again %s', async how => {
    const { id, token } = await victim();
    // The other one is as good, and opens the same session.
    expect(JSON.parse((await page(bearer(twin(token)))).body.toString())).toMatchObject({ id });
    await scene.gate.revoke(id);
    const again = {
      'as it was': bearer(token),
      'with the other signature': bearer(twin(token)),
      'as Basic': basic('jwt', token),
    };
    await play(scene, {
      name: '',
      over: 'proxy',
      send: ask(again[how]),
      status: 407,
      reason: 'session_revoked',
    });
  });

  test('does not come again after a reload, nor after everything else is forgotten', async () => {
    const { id, token } = await victim();
    await scene.gate.revoke(id);
    scene.gate.rewrite(text => `${text}\n`);
    expect((await page(bearer(token))).status).toBe(407);
    scene.gate.gate.sessions.sweep(Date.now() + 3_600_000 - 1);
    expect((await page(bearer(token))).status).toBe(407);
  });
});

describe('what a session is told', () => {
  test('is its own: a stub of another session’s is refused', async () => {
    const [mine, other] = [await victim({ sub: 'me' }), await victim({ sub: 'you' })];
    expect(mine.env['API_KEY']).not.toBe(other.env['API_KEY']);
    const start = before(scene);
    scene.upstream.answer = OK;
    const proxy = { port: scene.session.proxy.port, authorization: bearer(mine.token) };
    const peer = await openTls(proxy, scene.gate.ca, 'api.test');
    await peer.send(fill(scene, request('/x').replace('STUB', other.env['API_KEY'] as string)));
    const reply = await readReply(peer);
    expect(reply.status).toBe(403);
    await checkAround(scene, start, {
      received: [peer],
      lines: 1,
      audit: { reason: 'stub_misplaced', sub: 'me' },
    });
    peer.cut();
  });

  test.each<[string, readonly string[], number, string]>([
    [
      'another Host',
      ['GET http://stubgate.invalid/session HTTP/1.1', 'Host: api.test'],
      400,
      'host_mismatch',
    ],
    [
      'another port',
      ['GET http://stubgate.invalid:8081/session HTTP/1.1', 'Host: stubgate.invalid:8081'],
      403,
      'no_rule',
    ],
    [
      'a user in the URL',
      ['GET http://a@stubgate.invalid/session HTTP/1.1', 'Host: stubgate.invalid'],
      400,
      'malformed_request',
    ],
    [
      'a page of the control plane',
      ['GET http://stubgate.invalid/v1/sessions HTTP/1.1', 'Host: stubgate.invalid'],
      403,
      'no_rule',
    ],
    ['metrics', ['GET http://stubgate.invalid/metrics HTTP/1.1', 'Host: stubgate.invalid'], 403, 'no_rule'],
    ['DELETE', ['DELETE http://stubgate.invalid/session HTTP/1.1', 'Host: stubgate.invalid'], 403, 'no_rule'],
    [
      'POST',
      ['POST http://stubgate.invalid/session HTTP/1.1', 'Host: stubgate.invalid', 'Content-Length: 0'],
      403,
      'no_rule',
    ],
    [
      'a name below',
      ['GET http://a.stubgate.invalid/session HTTP/1.1', 'Host: a.stubgate.invalid'],
      403,
      'no_rule',
    ],
    [
      'dot segments',
      ['GET http://stubgate.invalid/x/../session HTTP/1.1', 'Host: stubgate.invalid'],
      400,
      'ambiguous_path',
    ],
  ])('is not told for %s', async (_, lines, status, reason) => {
    await play(scene, {
      name: '',
      over: 'proxy',
      send: message([...lines, 'PROXY']),
      status,
      reason: reason as never,
    });
  });
});

test('nobody reaches the issuer through the gate that asks it', async () => {
  const asked = issuer.requests.length;
  const { peer, reply } = await connect(scene.session.proxy, `${OURS}:443`);
  expect(reply.status).toBe(200);
  peer.cut();
  expect(issuer.requests.length).toBe(asked);
});
