import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { ask, openH2 } from '../support/h2.ts';
import { connect, dial, header, openTls, readReply, request, type Reply } from '../support/raw-client.ts';
import type { GateSetup } from '../support/setup.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpUpstream, type RawUpstream, startEcho, startRaw } from '../support/upstream.ts';
import { accept, CLOSE, frame, handshake, readMessage, TEXT } from '../support/websocket.ts';
import { closing, enter } from './scene.ts';

const HOST = 'api.corp.test';
const OTHER = 'other.corp.test';
const RAW = 'raw.corp.test';
const PINNED = 'pinned.corp.test';

interface Place {
  readonly gate: LocalGate;
  readonly session: TestSession;
  readonly upstream: HttpUpstream;
  readonly raw: RawUpstream;
  readonly secret: string;
  /** A request of that session; another one's with `as`. */
  get(path?: string, as?: TestSession): Promise<Reply>;
}

interface Wanted {
  /** Of the profile `default`. */
  readonly limits?: Readonly<Record<string, unknown>>;
  /** Of the credential. */
  readonly credential?: Readonly<Record<string, unknown>>;
  /** Of the gate. */
  readonly config?: GateSetup['config'];
}

async function open({ limits, credential, config }: Wanted): Promise<Place> {
  const secret = canary('key-');
  const upstream = closing(await startEcho({ hosts: [HOST, OTHER] }));
  const raw = closing(await startRaw({ hosts: [RAW] }));
  const plain = closing(await startRaw({}));
  const setup = {
    credentials: { api: { secret, env: 'API_KEY', ...(credential && { limits: credential }) } },
    rules: [
      { name: 'api', hosts: [HOST], paths: ['/ok/**'], inject: [{ credential: 'api', as: 'bearer' }] },
      { name: 'other', hosts: [OTHER, RAW] },
      { name: 'pinned', hosts: [PINNED], action: 'tunnel' },
    ],
    profiles: { default: { rules: ['api', 'other', 'pinned'], ...(limits && { limits }) } },
    upstreams: { [HOST]: upstream, [OTHER]: upstream, [RAW]: raw, [PINNED]: plain },
    ...(config && { config }),
  };
  const { gate, session } = await enter(await startTestGate(setup));
  return {
    gate,
    session,
    upstream,
    raw,
    secret,
    get: async (path = '/ok/1', { proxy, stubs } = session) => {
      const head = `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${stubs['API_KEY']}`;
      return (await request(proxy, gate.ca, HOST, head)).reply;
    },
  };
}

const statuses = (replies: readonly { readonly status: number }[]): Record<number, number> =>
  replies.reduce<Record<number, number>>(
    (all, { status }) => ({ ...all, [status]: (all[status] ?? 0) + 1 }),
    {},
  );

function expectLimited(reply: Reply, least = 1): void {
  expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([429, 'rate_limited']);
  expect(header(reply, 'retry-after')).toMatch(/^[1-9]\d*$/);
  expect(Number(header(reply, 'retry-after'))).toBeGreaterThanOrEqual(least);
  expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code: 'rate_limited' } });
}

describe('requests per second', () => {
  test('100 at once on connections of their own: exactly the burst passes, the rest is told to wait', async () => {
    const place = await open({ limits: { requests_per_second: 1, burst: 10 } });
    const peers = await Promise.all(
      Array.from({ length: 100 }, () => openTls(place.session.proxy, place.gate.ca, HOST)),
    );
    const head = `GET /ok/1 HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${place.session.stubs['API_KEY']}\r\n\r\n`;
    const from = performance.now();
    const replies = await Promise.all(
      peers.map(async peer => {
        await peer.send(head);
        return readReply(peer);
      }),
    );
    const more = Math.floor((performance.now() - from) / 1000);
    for (const peer of peers) peer.cut();
    const passed = place.upstream.requests.length;
    expect(passed).toBeGreaterThanOrEqual(10);
    expect(passed).toBeLessThanOrEqual(10 + more);
    expect(statuses(replies)).toEqual({ 200: passed, 429: 100 - passed });
    for (const reply of replies.filter(({ status }) => status === 429)) expectLimited(reply);
    const lines = await place.gate.audit(100);
    expect(lines.filter(({ reason }) => reason === 'rate_limited')).toHaveLength(100 - passed);
    const said = place.gate.logs.filter(({ message }) => message === 'a limit is reached');
    expect(said[0]?.fields).toMatchObject({
      limit: 'session.requests_per_second',
      name: 'default',
      session: place.session.id,
    });
    expect(said.length).toBeLessThan(5);
    const gauges = { tunnels: 0, sessions: 0, stateUp: true, auditHealthy: true, auditLost: 0 };
    expect(place.gate.gate.metrics.text(gauges)).toContain(
      `\nstubgate_limited_total{limit="session.requests_per_second"} ${100 - passed}\n`,
    );
  });

  test('what is denied counts, too, and is told apart', async () => {
    const place = await open({ limits: { requests_per_second: 1, burst: 2 } });
    const peer = await openTls(place.session.proxy, place.gate.ca, HOST);
    const from = performance.now();
    await peer.send(`GET /no HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`.repeat(10));
    const answers: string[] = [];
    while (answers.length < 10) answers.push(header(await readReply(peer), 'stubgate-reason') ?? '');
    const more = Math.floor((performance.now() - from) / 1000);
    peer.cut();
    expect(answers.slice(0, 2)).toEqual(['no_rule', 'no_rule']);
    expect(answers.filter(answer => answer === 'rate_limited').length).toBeGreaterThanOrEqual(8 - more);
  });

  test('the pages of the gate itself count, too', async () => {
    const place = await open({ limits: { requests_per_second: 1, burst: 2 } });
    const { port, authorization } = place.session.proxy;
    const from = performance.now();
    const peer = await dial(port);
    const head = `GET http://stubgate.invalid/ca.pem HTTP/1.1\r\nHost: stubgate.invalid\r\nProxy-Authorization: ${authorization}\r\n\r\n`;
    await peer.send(head.repeat(10));
    const replies: Reply[] = [];
    while (replies.length < 10) replies.push(await readReply(peer));
    const more = Math.floor((performance.now() - from) / 1000);
    peer.cut();
    expect(replies.slice(0, 2).map(({ status }) => status)).toEqual([200, 200]);
    const limited = replies.filter(({ status }) => status === 429);
    expect(limited.length).toBeGreaterThanOrEqual(8 - more);
    for (const reply of limited) expectLimited(reply);
    const lines = await place.gate.audit(10);
    expect(lines.filter(({ reason }) => reason === 'rate_limited')).toHaveLength(limited.length);
  });

  test('streams of HTTP/2 count one by one, on however many connections', async () => {
    const place = await open({ limits: { requests: 5 } });
    const sessions = await Promise.all([1, 2].map(() => openH2(place.session.proxy, place.gate.ca, OTHER)));
    onTestFinished(() => sessions.forEach(session => session.destroy()));
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ask(sessions[i % 2] as (typeof sessions)[0], { ':path': '/x', ':authority': OTHER }),
      ),
    );
    expect(place.upstream.requests.length).toBe(5);
    const limited = replies.filter(({ status }) => status === 429);
    expect(limited.length).toBe(15);
    for (const { headers } of limited) expect(Number(headers['retry-after'])).toBeGreaterThan(3000);
  });
});

describe('whose budget it is', () => {
  test('each session has its own', async () => {
    const place = await open({ limits: { requests: 1 } });
    const other = await place.gate.session();
    expect((await place.get()).status).toBe(200);
    expectLimited(await place.get(), 3000);
    expect((await place.get('/ok/1', other)).status).toBe(200);
  });

  test('all sessions of a profile share one where it says so', async () => {
    const place = await open({ limits: { per: 'profile', requests: '2/h' } });
    const other = await place.gate.session();
    expect((await place.get()).status).toBe(200);
    expect((await place.get('/ok/1', other)).status).toBe(200);
    expectLimited(await place.get(), 1000);
    expectLimited(await place.get('/ok/1', await place.gate.session()), 1000);
  });

  test('all sessions share one of a credential, which only those need that use it', async () => {
    const place = await open({ credential: { requests: '1/h' } });
    const other = await place.gate.session();
    expect((await place.get()).status).toBe(200);
    expectLimited(await place.get('/ok/1', other), 1000);
    const without = `GET /ok/1 HTTP/1.1\r\nHost: ${HOST}`;
    expect((await request(other.proxy, place.gate.ca, HOST, without)).reply.status).toBe(200);
    expect(place.upstream.requests.map(({ headers }) => headers.authorization)).toEqual([
      `Bearer ${place.secret}`,
      undefined,
    ]);
  });

  test('what another limit refuses takes nothing of this one', async () => {
    const place = await open({ limits: { requests: 2 }, credential: { requests: '1/h' } });
    expect((await place.get()).status).toBe(200);
    expectLimited(await place.get(), 1000);
    const head = `GET / HTTP/1.1\r\nHost: ${OTHER}`;
    expect((await request(place.session.proxy, place.gate.ca, OTHER, head)).reply.status).toBe(200);
    expectLimited((await request(place.session.proxy, place.gate.ca, OTHER, head)).reply, 1000);
  });

  test('a denied request takes nothing of the requests', async () => {
    const place = await open({ limits: { requests: 1 } });
    expect((await place.get('/no')).status).toBe(403);
    expect((await place.get()).status).toBe(200);
    expect((await place.get('/no')).status).toBe(403);
    expectLimited(await place.get());
  });

  test('a reload changes a limit, and forgives nothing', async () => {
    const place = await open({ limits: { requests: 1 } });
    expect((await place.get()).status).toBe(200);
    place.gate.rewrite(text => text.replace('"requests": 1', '"requests": 2'));
    expect((await place.get()).status).toBe(200);
    expectLimited(await place.get());
    place.gate.rewrite(text => text.replace('"requests": 2', '"requests": "3/h"'));
    expect((await place.get()).status).toBe(200);
    expectLimited(await place.get());
    place.gate.rewrite(text => text.replace('"requests": "3/h"', '"tunnels": 9'));
    expect((await place.get()).status).toBe(200);
  });

  test('a reload that is refused changes no limit', async () => {
    const place = await open({ limits: { requests: 1 } });
    expect((await place.get()).status).toBe(200);
    const file = join(tempFolder('jwks'), 'none.json');
    const entry = { type: 'jwt', issuer: 'https://id.test', audience: 'a', jwks_file: file };
    const identity = JSON.stringify([{ ...entry, match: 'any', profile: 'default' }]);
    place.gate.rewrite(text =>
      text.replace('"requests": 1', '"requests": 9').replace('{', `{"identity": ${identity},`),
    );
    expect(place.gate.logs.at(-1)?.message).toContain('not reloaded');
    expectLimited(await place.get());
  });
});

describe('tunnels', () => {
  test('so many are open at a time, and a closed one makes room', async () => {
    const place = await open({ limits: { tunnels: 2 } });
    const first = await openTls(place.session.proxy, place.gate.ca, HOST);
    const { peer: second } = await connect(place.session.proxy, `${PINNED}:443`);
    const { peer: third, reply } = await connect(place.session.proxy, `${HOST}:443`);
    expectLimited(reply);
    first.cut();
    second.cut();
    await expect
      .poll(async () => {
        const { peer, reply: again } = await connect(place.session.proxy, `${OTHER}:443`);
        peer.cut();
        return again.status;
      })
      .toBe(200);
    third.cut();
  });

  test('all at once open no more of them than the gate lets a session have', async () => {
    const place = await open({ config: { limits: { tunnels: 2 } } });
    const made = await Promise.all(
      Array.from({ length: 8 }, () => connect(place.session.proxy, `${PINNED}:443`)),
    );
    expect(statuses(made.map(({ reply }) => reply))).toEqual({ 200: 2, 429: 6 });
    expect(place.gate.gate.openTunnels).toBe(2);
    for (const { peer } of made) peer.cut();
    expect((await place.gate.audit(8)).map(({ reason }) => reason).filter(Boolean)).toHaveLength(6);
  });

  test('a tunnel that comes to nothing is none', async () => {
    const place = await open({ limits: { tunnels: 1 } });
    place.gate.rewrite(text =>
      text.replace(/"pinned.corp.test": "127.0.0.1:\d+"/, '"pinned.corp.test": "127.0.0.1:1"'),
    );
    for (let i = 0; i < 3; i++) {
      const { peer, reply } = await connect(place.session.proxy, `${PINNED}:443`);
      expect(reply.status).toBe(502);
      peer.cut();
    }
    const early = await dial(place.session.proxy.port);
    await early.send(
      `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\nProxy-Authorization: ${place.session.proxy.authorization}\r\n\r\nearly`,
    );
    expect((await readReply(early)).status).toBe(400);
    early.cut();
    expect((await place.get()).status).toBe(200);
  });
});

describe('bytes out', () => {
  const body = (bytes: number): string => 'x'.repeat(bytes);
  const post = (place: Place, more: string, content: string) =>
    request(
      place.session.proxy,
      place.gate.ca,
      OTHER,
      `POST /up HTTP/1.1\r\nHost: ${OTHER}\r\n${more}`,
      content,
    );

  test('a body that says how long it is is refused before a byte of it goes on', async () => {
    const place = await open({ limits: { bytes_out: '10KiB' } });
    expect((await post(place, 'Content-Length: 8000', body(8000))).reply.status).toBe(200);
    expectLimited((await post(place, 'Content-Length: 8000', body(8000))).reply, 3000);
    expect(place.upstream.requests.map(one => one.body.length)).toEqual([8000]);
    expect((await post(place, 'Content-Length: 500', body(500))).reply.status).toBe(200);
  });

  test('one that does not is refused where it is too much, and nothing beyond is sent', async () => {
    const place = await open({ limits: { bytes_out: '10KiB' } });
    const peer = await openTls(place.session.proxy, place.gate.ca, RAW);
    await peer.send(`POST / HTTP/1.1\r\nHost: ${RAW}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    const served = await place.raw.next();
    for (let i = 0; i < 3; i++) await peer.send(`fa0\r\n${body(4000)}\r\n`);
    expectLimited(await readReply(peer));
    await served.end();
    expect(served.received.toString().match(/x/g)?.length).toBeLessThanOrEqual(8000);
    const [line] = await place.gate.audit(1);
    expect(line).toMatchObject({ verdict: 'deny', reason: 'rate_limited', status: 429 });
    peer.cut();
  });

  test('an answer that has begun is cut, and the audit says why', async () => {
    const place = await open({ limits: { bytes_out: '10KiB' } });
    const peer = await openTls(place.session.proxy, place.gate.ca, RAW);
    await peer.send(`POST / HTTP/1.1\r\nHost: ${RAW}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`);
    const served = await place.raw.next();
    await served.until('hello');
    await served.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n');
    await peer.until('hi\r\n');
    for (let i = 0; i < 3; i++) await peer.send(`fa0\r\n${body(4000)}\r\n`);
    await peer.end();
    expect(peer.received.toString()).not.toContain('\r\n0\r\n');
    expect((await place.gate.audit(1))[0]).toMatchObject({ reason: 'rate_limited', status: 200 });
  });

  test('heads count: a long path is a way out, too', async () => {
    const place = await open({ limits: { bytes_out: '4KiB' } });
    const get = async () =>
      (
        await request(
          place.session.proxy,
          place.gate.ca,
          OTHER,
          `GET /${body(3000)} HTTP/1.1\r\nHost: ${OTHER}`,
        )
      ).reply;
    expect((await get()).status).toBe(200);
    expectLimited(await get());
  });

  test('messages of a WebSocket count, and end it', async () => {
    const place = await open({ limits: { bytes_out: '10KiB' } });
    const peer = await openTls(place.session.proxy, place.gate.ca, RAW);
    await peer.send(handshake(RAW, '/ws'));
    const served = await place.raw.next();
    await accept(served);
    await peer.until('\r\n\r\n');
    await peer.send(frame(TEXT, body(4000), { mask: true }));
    expect((await readMessage(served)).data.toString()).toBe(body(4000));
    await peer.send(Buffer.concat([1, 2].map(() => frame(TEXT, body(4000), { mask: true }))));
    const told = await readMessage(peer);
    expect(told.opcode).toBe(CLOSE);
    expect(told.data.subarray(2).toString()).toMatch(/^rate_limited: /);
    await served.end();
    expect(served.received.length).toBeLessThan(10_000);
    expect((await place.gate.audit(1))[0]).toMatchObject({ reason: 'rate_limited', status: 101 });
    peer.cut();
  });

  test('bytes of a tunnel that nobody reads count, and end it', async () => {
    const place = await open({ limits: { bytes_out: '10KiB' } });
    const { peer, reply } = await connect(place.session.proxy, `${PINNED}:443`);
    expect(reply.status).toBe(200);
    for (let i = 0; i < 3; i++) await peer.send(body(4000));
    await peer.end();
    const [line] = await place.gate.audit(1);
    expect(line).toMatchObject({ verdict: 'tunnel', reason: 'rate_limited' });
  });
});
