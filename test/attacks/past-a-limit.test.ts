import http2 from 'node:http2';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { ask, collect, openH2 } from '../support/h2.ts';
import { connect, dial, header, openTls, readReply, wrapTls } from '../support/raw-client.ts';
import { until } from '../support/redis.ts';
import { acceptOf, frame, handshake, PING, readMessage } from '../support/websocket.ts';
import { type Recorder, startRecorder } from './recorder.ts';

const HOST = 'api.test';
const PLAIN = 'plain.test';

interface Place {
  readonly gate: LocalGate;
  readonly session: TestSession;
  readonly upstream: Recorder;
  readonly plain: Recorder;
  /** Requests that any upstream received. */
  readonly served: () => number;
}

async function open(limits: object, credential?: object): Promise<Place> {
  const upstream = await startRecorder({ hosts: [HOST] });
  const plain = await startRecorder({});
  const gate = await startTestGate({
    credentials: {
      api: { secret: canary('key-'), env: 'API_KEY', ...(credential && { limits: { ...credential } }) },
    },
    rules: [
      { name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] },
      { name: 'plain', hosts: [PLAIN], schemes: ['http'] },
    ],
    profiles: {
      default: { rules: ['api', 'plain'], limits },
      twin: { rules: ['api', 'plain'], limits },
    },
    upstreams: { [HOST]: upstream, [PLAIN]: plain },
  });
  onTestFinished(async () => {
    await gate.stop();
    await Promise.all([upstream.close(), plain.close()]);
  });
  const marks = [upstream.mark(), plain.mark()] as const;
  const served = () =>
    (upstream.since(marks[0]) + plain.since(marks[1])).match(/ HTTP\/1\.1\r\n/g)?.length ?? 0;
  return { gate, session: await gate.session(), upstream, plain, served };
}

const HEAD = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n`;

/** What each request in one tunnel is answered. */
async function askAll(
  { gate, session }: Pick<Place, 'gate' | 'session'>,
  heads: readonly string[],
): Promise<string[]> {
  const peer = await openTls(session.proxy, gate.ca, HOST);
  await peer.send(heads.map(head => `${HEAD}${head}\r\n`).join(''));
  const answers: string[] = [];
  for (const _ of heads) {
    const reply = await readReply(peer);
    answers.push(header(reply, 'stubgate-reason') ?? `${reply.status}`);
  }
  peer.cut();
  return answers;
}

describe('past a limit on requests', () => {
  test('by requests sent in one write', async () => {
    const place = await open({ requests: 3 });
    expect(await askAll(place, ['', '', '', '', ''])).toEqual([
      '200',
      '200',
      '200',
      'rate_limited',
      'rate_limited',
    ]);
    expect(place.served()).toBe(3);
  });

  test('by what a client says of itself', async () => {
    const place = await open({ requests: 1 });
    const other = await place.gate.session();
    expect(await askAll(place, [''])).toEqual(['200']);
    const claims = [
      'X-Forwarded-For: 203.0.113.7\r\n',
      'Forwarded: for=203.0.113.7\r\n',
      `Proxy-Authorization: ${other.proxy.authorization}\r\n`,
      `Authorization: Bearer ${other.token}\r\n`,
      'User-Agent: other\r\nX-Request-Id: 1\r\n',
    ];
    for (const claim of claims) {
      const [answer] = await askAll(place, [claim]);
      expect(answer, claim).toMatch(/^(rate_limited|foreign_credential)$/);
    }
    expect(place.served()).toBe(1);
  });

  test('by another way to say who one is, or another kind of request', async () => {
    const place = await open({ requests: 1 });
    expect(await askAll(place, [''])).toEqual(['200']);
    const bearer = { ...place.session.proxy, authorization: `Bearer ${place.session.token}` };
    expect(await askAll({ ...place, session: { ...place.session, proxy: bearer } }, [''])).toEqual([
      'rate_limited',
    ]);
    const outer = await dial(place.session.proxy.port);
    await outer.send(
      `GET http://${PLAIN}/ HTTP/1.1\r\nHost: ${PLAIN}\r\nProxy-Authorization: ${place.session.proxy.authorization}\r\n\r\n`,
    );
    expect((await readReply(outer)).status).toBe(429);
    outer.cut();
    const h2 = await openH2(place.session.proxy, place.gate.ca, HOST);
    expect((await ask(h2, { ':path': '/', ':authority': HOST })).status).toBe(429);
    h2.destroy();
    expect(place.served()).toBe(1);
  });

  test('by another profile, where the limit is the credential’s', async () => {
    const place = await open({ requests: 100 }, { requests: '2/h' });
    const twin = await place.gate.session({ profile: 'twin' });
    const stub = ({ stubs }: TestSession) => `Authorization: Bearer ${stubs['API_KEY']}\r\n`;
    expect(await askAll(place, [stub(place.session)])).toEqual(['200']);
    expect(await askAll({ ...place, session: twin }, [stub(twin), stub(twin)])).toEqual([
      '200',
      'rate_limited',
    ]);
    expect(place.served()).toBe(2);
  });

  test('by giving requests up before they are answered', async () => {
    const place = await open({ requests: 2 });
    place.upstream.answer = () => undefined;
    for (let i = 0; i < 2; i++) {
      const peer = await openTls(place.session.proxy, place.gate.ca, HOST);
      await peer.send(`${HEAD}\r\n`);
      await until('it is there', () => place.served() === i + 1);
      peer.cut();
    }
    expect(await askAll(place, [''])).toEqual(['rate_limited']);
  });

  test('by streams that are reset at once', async () => {
    const place = await open({ requests: 3 });
    const h2 = await openH2(place.session.proxy, place.gate.ca, HOST);
    onTestFinished(() => h2.destroy());
    for (let i = 0; i < 30; i++) {
      const stream = h2.request({ ':path': '/', ':authority': HOST });
      stream.on('error', () => undefined);
      stream.close(http2.constants.NGHTTP2_CANCEL);
    }
    const reply = await ask(h2, { ':path': '/', ':authority': HOST });
    expect([200, 429]).toContain(reply.status);
    expect(place.served()).toBeLessThanOrEqual(3);
  });

  test('by asking again and again: a refusal puts nothing off', async () => {
    const place = await open({ requests_per_second: 5, burst: 1 });
    const answers: string[] = [];
    const from = performance.now();
    while (performance.now() - from < 1100) answers.push(...(await askAll(place, ['', ''])));
    const passed = answers.filter(answer => answer === '200').length;
    expect(passed).toBeGreaterThanOrEqual(2);
    expect(passed).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - from) / 200));
    expect(place.served()).toBe(passed);
  });
});

describe('past a limit on bytes', () => {
  test('by a body of a stream of HTTP/2 that does not say how long it is', async () => {
    const place = await open({ bytes_out: '8KiB' });
    const h2 = await openH2(place.session.proxy, place.gate.ca, HOST);
    onTestFinished(() => h2.destroy());
    const stream = h2.request({ ':method': 'POST', ':path': '/', ':authority': HOST });
    const reply = collect(stream);
    for (let i = 0; i < 20; i++) stream.write('x'.repeat(1000));
    expect((await reply).headers['stubgate-reason']).toBe('rate_limited');
    expect(place.upstream.since({ chunks: 0, connections: 0 }).match(/x/g)?.length ?? 0).toBeLessThan(8192);
    expect((await ask(h2, { ':path': '/', ':authority': HOST })).status).toBe(200);
  });

  test('by many small bodies, on many connections', async () => {
    const place = await open({ bytes_out: '4KiB' });
    const heads = Array.from({ length: 100 }, () => '');
    const answers = (await Promise.all([1, 2, 3].map(() => askAll(place, heads)))).flat();
    const bytes = place.upstream.since({ chunks: 0, connections: 0 }).length;
    expect(bytes).toBeLessThanOrEqual(4096);
    expect(answers.filter(answer => answer === '200').length).toBe(place.served());
    expect(new Set(answers)).toEqual(new Set(['200', 'rate_limited']));
  });

  test('by pings of a WebSocket', async () => {
    const place = await open({ bytes_out: '2KiB' });
    place.upstream.answer = async (peer, request) => {
      await peer.send(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(/^sec-websocket-key: (.*)\r$/im.exec(request)?.[1] ?? '')}\r\n\r\n`,
      );
      await peer.end();
    };
    const peer = await openTls(place.session.proxy, place.gate.ca, HOST);
    await peer.send(handshake(HOST, '/ws'));
    await peer.until('\r\n\r\n');
    await peer.send(
      Buffer.concat(Array.from({ length: 40 }, () => frame(PING, 'p'.repeat(125), { mask: true }))),
    );
    const told = await readMessage(peer);
    expect(told.data.subarray(2).toString()).toMatch(/^rate_limited: /);
    peer.cut();
  });

  test('by a length that is never kept: it is refused at once, and nobody else pays', async () => {
    const place = await open({ per: 'profile', bytes_out: '8KiB/h' });
    const peer = await openTls(place.session.proxy, place.gate.ca, HOST);
    await peer.send(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 9000000\r\n\r\n`);
    expect((await readReply(peer)).status).toBe(429);
    peer.cut();
    expect(await askAll({ ...place, session: await place.gate.session() }, [''])).toEqual(['200']);
  });
});

test('past a limit on tunnels, by closing them halfway', async () => {
  const place = await open({ tunnels: 3 });
  const opened = await Promise.all(
    Array.from({ length: 20 }, () => connect(place.session.proxy, `${HOST}:443`)),
  );
  expect(opened.filter(({ reply }) => reply.status === 200)).toHaveLength(3);
  const [first] = opened.filter(({ reply }) => reply.status === 200);
  if (first) await wrapTls(first.peer, { ca: place.gate.ca, servername: HOST });
  expect((await connect(place.session.proxy, `${HOST}:443`)).reply.status).toBe(429);
  for (const { peer } of opened) peer.cut();
});
