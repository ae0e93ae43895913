import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { decodeJwt } from 'jose';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { type LocalGate, type SessionChoice, startTestGate } from '../support/gate.ts';
import { header, type Proxy, type Reply, request } from '../support/raw-client.ts';
import { dump, hasRedis, startRedis, tap, until } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpUpstream, startHttp } from '../support/upstream.ts';
import { type ExchangeServer, startExchange } from '../support/upstreams/exchange.ts';
import { type OidcIssuer, seconds, startOidc } from '../support/upstreams/oidc.ts';
import { API, bearer, closing, ISSUER, JWT, ownPage, told } from './identity.ts';

const EXCHANGE = 'sts.corp.test';

interface Scene {
  readonly issuer: OidcIssuer;
  readonly exchange: ExchangeServer;
  readonly api: HttpUpstream;
  readonly actor: string;
  /** A text that the API repeats besides the token that it got. */
  said: string;
  gate(config?: Readonly<Record<string, unknown>>): Promise<LocalGate>;
}

/** An API behind tokens that are exchanged for the session's own. */
async function open(): Promise<Scene> {
  const actor = canary('act_');
  const actorFile = join(tempFolder('actor'), 'actor');
  writeFileSync(actorFile, actor, { mode: 0o600 });
  const issuer = closing(await startOidc(ISSUER));
  const exchange = closing(
    await startExchange({
      host: EXCHANGE,
      subjects: issuer,
      actor: { sub: 'gate', token: actor },
      audience: `https://${API}`,
    }),
  );
  const api = closing(
    await startHttp({ hosts: [API] }, ({ headers, url }, response) => {
      response.statusCode = url === '/refuses' ? 401 : 200;
      response.end(`${headers.authorization} ${scene.said}`);
    }),
  );
  const mint = {
    type: 'token-exchange',
    token_url: `https://${EXCHANGE}/token`,
    subject: 'session',
    actor_token: `file:${actorFile}`,
    actor_token_type: 'access_token',
    audience: `https://${API}`,
    scope: 'orders.read',
  };
  const scene: Scene = {
    issuer,
    exchange,
    api,
    actor,
    said: '',
    gate: async (config = {}) => {
      const gate = await startTestGate({
        rules: [{ name: 'api', hosts: [API], inject: [{ credential: 'orders', as: 'bearer' }] }],
        profiles: { ci: { rules: ['api'], ttl: '1h' }, plain: { rules: [] } },
        upstreams: { [API]: api, [ISSUER]: issuer, [EXCHANGE]: exchange },
        config: {
          identity: [JWT],
          credentials: { orders: { mint, stub: { env: 'ORDERS_TOKEN' } } },
          ...config,
        },
      });
      onTestFinished(() => gate.stop());
      return gate;
    },
  };
  return scene;
}

interface Sandbox {
  readonly proxy: Proxy;
  readonly stub: string;
}

/** What a sandbox with that JWT holds. */
async function withJwt(gate: LocalGate, token: string): Promise<Sandbox & { id: string }> {
  const { id, env } = told(await ownPage(gate.proxyPort, bearer(token)));
  return {
    id,
    proxy: { port: gate.proxyPort, authorization: bearer(token) },
    stub: `${env['ORDERS_TOKEN']}`,
  };
}

async function created(gate: LocalGate, choice: SessionChoice = {}): Promise<Sandbox & { id: string }> {
  const session = await gate.session({ profile: 'ci', ...choice });
  return { id: session.id, proxy: session.proxy, stub: `${session.env['ORDERS_TOKEN']}` };
}

interface Called {
  readonly reply: Reply;
  readonly bytes: Buffer;
}

function call(gate: LocalGate, { proxy, stub }: Sandbox, more = '', path = '/'): Promise<Called> {
  const head = `GET ${path} HTTP/1.1\r\nHost: ${API}\r\nAuthorization: Bearer ${stub}${more}`;
  return request({ ...proxy, port: gate.proxyPort }, gate.ca, API, head);
}

/** `code: message` */
function refusal({ reply }: Called): string {
  const { error } = JSON.parse(reply.body.toString()) as { error: Record<string, string> };
  return `${reply.status} ${header(reply, 'stubgate-reason')}: ${error['message']}`;
}

const NONE =
  '503 credential_unavailable: This session has no token that could be exchanged for this credential';
const EXPIRED =
  '503 credential_unavailable: The token of this session, which is exchanged for this credential, has expired';

/** What the gate told anybody but the sandbox. */
const shown = (gate: LocalGate): string => gate.auditText() + inspect(gate.logs, { depth: 12 });

const sentTo = ({ api }: Scene): unknown[] => api.requests.map(({ headers }) => headers.authorization);
const formOf = ({ exchange }: Scene, i = 0): object =>
  Object.fromEntries(new URLSearchParams(exchange.requests[i]?.body.toString()));

describe('the JWT that opened a session is exchanged', () => {
  test('for a token of less reach, with the gate as its actor, which the sandbox never sees', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const jwt = await scene.issuer.sign({ sub: 'alice', act: { sub: 'agent-7' } });
    const sandbox = await withJwt(gate, jwt);
    const { reply, bytes } = await call(gate, sandbox);
    const token = scene.exchange.issued[0]?.token ?? '';
    expect(formOf(scene)).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: jwt,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      actor_token: scene.actor,
      actor_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      audience: `https://${API}`,
      scope: 'orders.read',
    });
    expect(sentTo(scene)).toEqual([`Bearer ${token}`]);
    expect(decodeJwt(token)).toMatchObject({ sub: 'alice', act: { sub: 'gate', act: { sub: 'agent-7' } } });
    expect(reply.body.toString()).toBe(`Bearer ${sandbox.stub} `);
    const line = (await gate.audit(2)).at(-1);
    expect(line?.injected[0]?.version).toMatch(/^expires \S+Z, act gate < agent-7$/);
    expect(line).toMatchObject({ session: sandbox.id, sub: 'alice' });
    for (const secret of [token, scene.actor]) {
      expect(leaks(bytes, secret)).toEqual([]);
      expect(refusal(await call(gate, sandbox, `\r\nX-Other: ${secret}`))).toContain('secret_in_request');
    }
    for (const secret of [token, scene.actor, jwt, jwt.split('.')[2] as string])
      expect(leaks(shown(gate), secret)).toEqual([]);
  });

  test('by whom is told from what was sent, if the new token cannot be read', async () => {
    const scene = await open();
    scene.exchange.isOpaque = true;
    const gate = await scene.gate();
    const jwt = await scene.issuer.sign({ act: { sub: 'agent-7', act: { sub: 'ci' } } });
    await call(gate, await withJwt(gate, jwt));
    // What the actor's token says is its issuer's secret.
    expect((await gate.audit(2)).at(-1)?.injected[0]?.version).toMatch(
      /^expires \S+Z, act \? < agent-7 < ci$/,
    );
  });

  test('once for each session, and for it alone, however many ask at once', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const jwts = await Promise.all(
      ['alice', 'bob', 'alice'].map((sub, i) => scene.issuer.sign({ sub, jti: `${i}` })),
    );
    const sandboxes = await Promise.all(jwts.map(jwt => withJwt(gate, jwt)));
    const rounds = Array.from({ length: 4 }, () => sandboxes).flat();
    await Promise.all(rounds.map((sandbox, i) => call(gate, sandbox, '', `/${i % 3}`)));
    expect(scene.exchange.issued.map(({ sub }) => sub).toSorted()).toEqual(['alice', 'alice', 'bob']);
    const byPath = Map.groupBy(scene.api.requests, ({ url }) => url);
    const subjects = [...byPath].map(([url, requests]) => {
      const tokens = new Set(requests.map(({ headers }) => `${headers.authorization}`));
      expect(tokens.size).toBe(1);
      return [url, decodeJwt([...tokens][0]?.slice('Bearer '.length) ?? '').sub];
    });
    expect(Object.fromEntries(subjects)).toEqual({ '/0': 'alice', '/1': 'bob', '/2': 'alice' });
    expect(new Set(sentTo(scene)).size).toBe(3);
    // A stub of one session is nothing in another.
    const [one, other] = sandboxes as unknown as [Sandbox, Sandbox];
    expect(refusal(await call(gate, { ...one, stub: other.stub }))).toContain('stub_misplaced');
  });

  test('again before the new token ends, and when the upstream refuses it', async () => {
    const scene = await open();
    scene.exchange.lives = 1;
    const gate = await scene.gate();
    const sandbox = await withJwt(gate, await scene.issuer.sign());
    await call(gate, sandbox);
    await vi.waitFor(
      async () => {
        await call(gate, sandbox);
        expect(scene.exchange.issued.length).toBeGreaterThan(1);
      },
      { timeout: 5000 },
    );
    scene.exchange.lives = 600;
    const before = scene.exchange.issued.length;
    await vi.waitFor(
      async () => {
        await call(gate, sandbox, '', '/refuses');
        expect(scene.exchange.issued.length).toBeGreaterThan(before);
      },
      { timeout: 8000 },
    );
    for (const { token } of scene.exchange.issued) scene.said += ` ${token}`;
    const { bytes } = await call(gate, sandbox);
    for (const { token } of scene.exchange.issued) expect(leaks(bytes, token)).toEqual([]);
  });

  test('no more after the session’s end, and the JWT is not kept', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const sandbox = await withJwt(gate, await scene.issuer.sign());
    await call(gate, sandbox);
    const session = gate.gate.sessions.known().find(one => one.session === sandbox.id);
    expect(session?.subject?.token).toBeDefined();
    await gate.revoke(sandbox.id);
    expect(session?.subject).toBeUndefined();
    // Shown again, it is not taken again.
    expect((await ownPage(gate.proxyPort, sandbox.proxy.authorization ?? '')).status).toBe(407);
    expect(session?.subject).toBeUndefined();
    expect(scene.exchange.issued).toHaveLength(1);
  });

  test('and is not kept where nothing exchanges it', async () => {
    const scene = await open();
    const gate = await scene.gate({ identity: [{ ...JWT, profile: 'plain' }] });
    const { id } = told(await ownPage(gate.proxyPort, bearer(await scene.issuer.sign())));
    expect(gate.gate.sessions.known().find(one => one.session === id)?.subject).toBeUndefined();
  });

  test('what its sandbox holds itself is no secret to it: it may repeat it, and read it', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const jwt = await scene.issuer.sign();
    scene.said = jwt;
    const { reply } = await call(gate, await withJwt(gate, jwt), `\r\nX-Mine: ${jwt}`);
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toContain(jwt);
  });

  test('refused by the issuer: the operator reads why, nothing goes out, no token stands in it', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const jwt = await scene.issuer.sign();
    const sandbox = await withJwt(gate, jwt);
    await scene.issuer.rotate('key-2');
    const answer = await call(gate, sandbox);
    expect(refusal(answer)).toBe('503 credential_unavailable: The credential cannot be fetched');
    expect(sentTo(scene)).toEqual([]);
    expect(shown(gate)).toContain(`https://${EXCHANGE}/token answered 400 (invalid_request)`);
    for (const secret of [jwt, scene.actor])
      expect(leaks(shown(gate) + answer.bytes.toString(), secret)).toEqual([]);
  });
});

describe('a session that was created', () => {
  test('without a subject token is denied, told so, and its issuer is not asked', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const sandbox = await created(gate);
    expect(refusal(await call(gate, sandbox))).toBe(NONE);
    expect(refusal(await call(gate, sandbox))).toBe(NONE);
    expect([scene.exchange.requests.length, scene.api.requests.length]).toEqual([0, 0]);
    expect(shown(gate)).toContain(
      `credential "orders": session ${sandbox.id} was neither opened with a JWT nor created with a subject token`,
    );
    // It takes nothing of one that has a token.
    await call(gate, await withJwt(gate, await scene.issuer.sign()));
    expect(refusal(await call(gate, sandbox))).toBe(NONE);
  });

  test('with a subject token has it exchanged, and never sees it', async () => {
    const scene = await open();
    const gate = await scene.gate();
    const subject = await scene.issuer.sign({ sub: 'carol' });
    const sandbox = await created(gate, { subjectToken: subject });
    scene.said = subject;
    const { reply, bytes } = await call(gate, sandbox);
    expect(decodeJwt(scene.exchange.issued[0]?.token ?? '').sub).toBe('carol');
    expect(reply.body.toString()).toBe(`Bearer ${sandbox.stub} ${sandbox.stub}`);
    expect(leaks(bytes, subject)).toEqual([]);
    expect(refusal(await call(gate, sandbox, `\r\nX-Other: ${subject}`))).toContain('secret_in_request');
    expect(leaks(shown(gate), subject)).toEqual([]);
  });

  test('with one that has expired since is refused; what was had for it is good until its own end', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const scene = await open();
    const gate = await scene.gate();
    const subjectToken = await scene.issuer.sign({ exp: seconds(300) });
    const [early, late] = [await created(gate, { subjectToken }), await created(gate, { subjectToken })];
    expect((await call(gate, early)).reply.status).toBe(200);
    vi.setSystemTime(Date.now() + 301_000);
    expect((await call(gate, early)).reply.status).toBe(200);
    expect(refusal(await call(gate, late))).toBe(EXPIRED);
    expect(shown(gate)).toContain(`the subject token of session ${late.id} has expired`);
    expect(scene.exchange.requests).toHaveLength(1);
    vi.setSystemTime(Date.now() + 300_000);
    expect(refusal(await call(gate, early))).toBe(EXPIRED);
  });

  test.each<[string, (issuer: OidcIssuer) => Promise<string>, string, string]>([
    ['one that has expired', issuer => issuer.sign({ exp: seconds(-5) }), 'ci', 'has expired'],
    ['no token', () => Promise.resolve('a b\nc d e f g'), 'ci', '8 to 16384 visible ASCII characters'],
    ['too much', () => Promise.resolve('x'.repeat(16_385)), 'ci', '8 to 16384 visible ASCII characters'],
    ['one that nothing exchanges', issuer => issuer.sign(), 'plain', 'is for a profile'],
  ])('is not made with %s', async (_, make, profile, words) => {
    const scene = await open();
    const gate = await scene.gate();
    const subjectToken = await make(scene.issuer);
    const error = await created(gate, { profile, subjectToken }).catch((thrown: unknown) => thrown as Error);
    expect(error).toMatchObject({ message: expect.stringContaining(words) as string });
    expect(leaks(inspect(error), subjectToken)).toEqual([]);
    expect(gate.gate.sessions.live).toBe(0);
  });
});

describe.skipIf(!hasRedis)('gates that share a Redis', () => {
  test('exchange the session’s token at each, and Redis never sees it', async () => {
    const scene = await open();
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    const keyFile = join(tempFolder('key'), 'key');
    writeFileSync(keyFile, canary('', 40), { mode: 0o600 });
    const state = { url: redis.url, key_file: keyFile };
    const [one, other] = [await scene.gate({ state }), await scene.gate({ state })];
    const [jwt, subject] = [
      await scene.issuer.sign({ sub: 'alice' }),
      await scene.issuer.sign({ sub: 'carol' }),
    ];
    const [mine, given] = [await withJwt(one, jwt), await created(one, { subjectToken: subject })];
    scene.said = subject;
    for (const gate of [one, other]) {
      await call(gate, mine);
      const { reply } = await call(gate, given);
      expect(reply.body.toString()).toBe(`Bearer ${given.stub} ${given.stub}`);
    }
    expect(scene.exchange.issued.map(({ sub }) => sub).toSorted()).toEqual([
      'alice',
      'alice',
      'carol',
      'carol',
    ]);
    const keys = await redis.admin.keys('*:subject:*');
    expect(keys).toHaveLength(1);
    const held = (await dump(redis)) + tapped.text;
    for (const secret of [jwt, subject, ...scene.exchange.issued.map(({ token }) => token)])
      expect(leaks(held, secret)).toEqual([]);
    // Sealed for its place: it cannot be given to another session.
    const another = await created(one, { subjectToken: await scene.issuer.sign({ sub: 'dave' }) });
    const [place] = (await redis.admin.keys('*:subject:*')).filter(key => !keys.includes(key));
    await redis.admin.set(`${place}`, `${await redis.admin.get(`${keys[0]}`)}`, 'KEEPTTL');
    expect(refusal(await call(other, another))).toBe(NONE);

    await other.revoke(given.id);
    expect(await redis.admin.exists(`${keys[0]}`)).toBe(0);
    const known = one.gate.sessions.known().find(({ session }) => session === given.id);
    await until('the first one knows', () => known?.revokedAt !== undefined);
    expect((await redis.admin.pttl(`${place}`)) > 0).toBe(true);
  });
});
