import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { expect, onTestFinished, test } from 'vitest';
import { startAdmin } from '../../src/admin/server.ts';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import { adminToken } from '../../src/intercept/ca.ts';
import { canary, leaks } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { openH2 } from '../support/h2.ts';
import { connect, dial, header, openTls, readReply, request, type Reply } from '../support/raw-client.ts';
import { hasRedis, startRedis, until } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpUpstream, startHttp, startRaw } from '../support/upstream.ts';
import { accept, frame, handshake, readMessage, TEXT } from '../support/websocket.ts';
import { closing, enter } from './scene.ts';

const HOST = 'api.corp.test';
const RAW = 'raw.corp.test';
const HOOKS = 'hooks.corp.test';
const KEY = 'a key of a signature, as a canary: 7f3a9c';

interface Place {
  readonly gate: LocalGate;
  readonly session: TestSession;
  readonly secret: string;
  readonly stub: string;
  readonly hooks: HttpUpstream;
  readonly raw: Awaited<ReturnType<typeof startRaw>>;
}

type Answer = (response: ServerResponse, nth: number) => void;
const fine: Answer = response => void response.writeHead(204).end();

async function open(
  alarms: Readonly<Record<string, unknown>>,
  { answer = fine, profile = {}, config = {} }: { answer?: Answer; profile?: object; config?: object } = {},
): Promise<Place> {
  const secret = canary('key-');
  let nth = 0;
  const hooks = closing(await startHttp({ hosts: [HOOKS] }, (_, response) => answer(response, ++nth)));
  const raw = closing(await startRaw({ hosts: [HOST, RAW] }));
  const keyFile = join(tempFolder('alarms'), 'key');
  writeFileSync(keyFile, `${KEY.replaceAll(' ', '-')}\n`, { mode: 0o600 });
  const setup = {
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [
      { name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] },
      { name: 'raw', hosts: [RAW] },
    ],
    profiles: { default: { rules: ['api', 'raw'], ...profile }, calm: { rules: ['api'], on_alarm: 'log' } },
    upstreams: { [HOST]: raw, [RAW]: raw, [HOOKS]: hooks },
    config: { alarms: { webhook: `https://${HOOKS}/alarms`, secret_file: keyFile, ...alarms }, ...config },
  };
  const { gate, session } = await enter(await startTestGate(setup));
  return { gate, session, secret, stub: session.stubs['API_KEY'] ?? '', hooks, raw };
}

/** Carries the stub to where it does not belong. */
async function misplace({ gate, session, stub }: Place, path = ''): Promise<Reply> {
  const head = `GET /${path} HTTP/1.1\r\nHost: ${RAW}\r\nX-Note: ${stub}`;
  return (await request(session.proxy, gate.ca, RAW, head)).reply;
}

const metric = ({ gate }: Place): string =>
  gate.gate.metrics.text({ tunnels: 0, sessions: 0, stateUp: true, auditHealthy: true, auditLost: 0 });

test('an alarm is told to the webhook, signed, and holds neither stub nor secret', async () => {
  const place = await open({});
  const { gate, session, hooks, secret, stub } = place;
  expect((await misplace(place, 'a/b')).status).toBe(403);
  const head = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${secret}`;
  // The gate knows a secret once a request has needed it.
  const warm = await openTls(session.proxy, gate.ca, HOST);
  await warm.send(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${stub}\r\n\r\n`);
  await (await place.raw.next()).send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  await readReply(warm);
  warm.cut();
  expect((await request(session.proxy, gate.ca, HOST, head)).reply.status).toBe(403);
  await until('both came', () => hooks.requests.length === 2);
  const lines = await gate.audit(3);
  for (const [i, [code, line]] of [
    ['stub_misplaced', lines[0]] as const,
    ['secret_in_request', lines[2]] as const,
  ].entries()) {
    const { body, headers, method, url } = hooks.requests[i] as HttpUpstream['requests'][0];
    expect([method, url, headers['content-type']]).toEqual(['POST', '/alarms', 'application/json']);
    const signature = createHmac('sha256', KEY.replaceAll(' ', '-')).update(body).digest('hex');
    expect(headers['stubgate-signature']).toBe(`sha256=${signature}`);
    expect(headers['stubgate-delivery']).toMatch(/^[0-9a-f-]{36}$/);
    expect(JSON.parse(body.toString())).toEqual({
      time: line?.time,
      code,
      session: session.id,
      profile: 'default',
      sub: 'octo',
      act: 'test-agent',
      labels: { run: '7' },
      host: line?.host,
      rule: line?.rule,
      request_id: line?.request_id,
      revoked: false,
      count: 1,
    });
    expect([leaks(body, secret), leaks(body, stub)]).toEqual([[], []]);
  }
  expect(metric(place)).toContain('stubgate_alarms_total{code="stub_misplaced"} 1\n');
  expect(metric(place)).toContain('stubgate_alarms_total{code="secret_in_request"} 1\n');
  await until('both count', () =>
    metric(place).includes('stubgate_alarm_deliveries_total{result="delivered"} 2\n'),
  );
  // Nothing is done to the session.
  expect((await misplace(place)).status).toBe(403);
});

test('a receiver that fails, or hangs, is asked again; nobody waits for it', async () => {
  const place = await open(
    { timeout: '300ms' },
    {
      answer: (response, nth) => {
        if (nth === 1) response.writeHead(500).end('no');
        else if (nth > 2) response.writeHead(200).end();
      },
    },
  );
  const from = performance.now();
  expect((await misplace(place)).status).toBe(403);
  expect(performance.now() - from).toBeLessThan(1000);
  await until('the third', () => place.hooks.requests.length === 3, 10_000);
  const ids = place.hooks.requests.map(({ headers }) => headers['stubgate-delivery']);
  expect(new Set(ids).size).toBe(1);
  expect(new Set(place.hooks.requests.map(({ body }) => body.toString())).size).toBe(1);
  const causes = place.gate.logs.filter(({ message }) => message === 'an alarm is not delivered yet');
  expect(causes.map(({ fields }) => fields['cause'])).toEqual([
    'it answered 500',
    expect.stringContaining('no answer'),
  ]);
});

test('a flood is told in two: the first, and how many followed', async () => {
  const place = await open({});
  await Promise.all(Array.from({ length: 40 }, () => misplace(place)));
  await until('one came', () => place.hooks.requests.length === 1);
  await place.gate.stop();
  expect(
    place.hooks.requests.map(({ body }) => (JSON.parse(body.toString()) as { count: number }).count),
  ).toEqual([1, 39]);
});

test('a redirect is not followed, and the log tells no URL that may be a secret', async () => {
  const target = closing(await startHttp({}, (_, response) => void response.end()));
  const file = join(tempFolder('alarms'), 'url');
  writeFileSync(file, `https://${HOOKS}/T0/B0?sig=not-for-the-log`, { mode: 0o600 });
  const place = await open(
    { webhook: undefined, webhook_file: file },
    {
      answer: response =>
        void response.writeHead(307, { location: `http://127.0.0.1:${target.port}/` }).end(),
    },
  );
  await misplace(place);
  await until('it was asked', () => place.hooks.requests.length >= 1);
  await until('it is told', () =>
    place.gate.logs.some(({ message }) => message.startsWith('an alarm is not')),
  );
  expect(place.hooks.requests[0]?.url).toBe('/T0/B0?sig=not-for-the-log');
  expect(target.requests).toEqual([]);
  expect(JSON.stringify(place.gate.logs)).not.toContain('not-for-the-log');
  expect(JSON.stringify(place.gate.logs)).not.toContain(KEY);
});

test('a webhook that may not be dialled is not', async () => {
  const place = await open({ webhook: 'https://169.254.169.254/latest' });
  await misplace(place);
  await until('it is told', () =>
    place.gate.logs.some(({ message }) => message.startsWith('an alarm is not')),
  );
  expect(JSON.stringify(place.gate.logs)).toContain('no answer: forbidden_address');
  expect(JSON.stringify(place.gate.logs)).not.toContain(place.stub);
});

test('a key that cannot be read is told at the start, and nothing goes unsigned', async () => {
  const place = await open({ secret_file: '/nowhere/key' });
  await until('it is told', () =>
    place.gate.logs.some(({ message }) => message === 'alarms cannot be delivered'),
  );
  await misplace(place);
  await until('it is not sent', () =>
    place.gate.logs.some(({ message }) => message.startsWith('an alarm is not')),
  );
  expect(place.hooks.requests).toEqual([]);
});

test('on_alarm: revoke ends the session within a second, its tunnels of every kind, and the request reads why', async () => {
  const place = await open({}, { profile: { on_alarm: 'revoke' } });
  const { gate, session, raw } = place;
  const idle = await openTls(session.proxy, gate.ca, RAW);
  const socket = await openTls(session.proxy, gate.ca, RAW);
  await socket.send(handshake(RAW, '/ws'));
  const served = await raw.next();
  await accept(served);
  await socket.until('\r\n\r\n');
  await socket.send(frame(TEXT, 'still open', { mask: true }));
  expect((await readMessage(served)).data.toString()).toBe('still open');
  const h2 = await openH2(session.proxy, gate.ca, RAW);
  const bystander = await gate.session();
  const other = await openTls(bystander.proxy, gate.ca, RAW);
  const from = performance.now();
  const refused = await misplace(place);
  expect([refused.status, header(refused, 'stubgate-reason')]).toEqual([403, 'stub_misplaced']);
  // Refused at once, though its connections are still there.
  await idle.send(`GET / HTTP/1.1\r\nHost: ${RAW}\r\n\r\n`);
  expect(header(await readReply(idle), 'stubgate-reason')).toBe('session_revoked');
  await Promise.all([idle.end(), socket.end(), served.end(), once(h2, 'close')]);
  expect(performance.now() - from).toBeLessThan(1000);
  const { reply } = await connect(session.proxy, `${RAW}:443`);
  expect(header(reply, 'stubgate-reason')).toBe('session_revoked');
  await until('it is told', () => place.hooks.requests.length === 1);
  expect(JSON.parse((place.hooks.requests[0]?.body ?? '').toString())).toMatchObject({ revoked: true });
  await other.send(`GET / HTTP/1.1\r\nHost: ${RAW}\r\n\r\n`);
  await (await raw.next()).until('GET /');
  other.cut();
});

test('what a profile says of alarms goes before what all say', async () => {
  const place = await open({ on_alarm: 'revoke' });
  const calm = await place.gate.session({ profile: 'calm' });
  const inCalm = { ...place, session: calm, stub: calm.stubs['API_KEY'] ?? '' };
  expect((await misplace(inCalm)).status).toBe(403);
  expect((await misplace(inCalm)).status).toBe(403);
  expect((await misplace(place)).status).toBe(403);
  expect((await connect(place.session.proxy, `${RAW}:443`)).reply.status).toBe(407);
});

test.skipIf(!hasRedis)('on_alarm: revoke ends the session at every gate', async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const keys = tempFolder('fleet-key');
  writeFileSync(join(keys, 'key'), 'a key that all gates share, and Redis has not'.replaceAll(' ', '-'), {
    mode: 0o600,
  });
  const config = { state: { url: redis.url, key_file: join(keys, 'key') } };
  const one = await open({}, { profile: { on_alarm: 'revoke' }, config });
  const other = await open({}, { profile: { on_alarm: 'revoke' }, config });
  const there = { ...one.session.proxy, port: other.gate.proxyPort };
  const open1 = await openTls(there, other.gate.ca, RAW);
  const from = performance.now();
  expect((await misplace(one)).status).toBe(403);
  await open1.end();
  expect(performance.now() - from).toBeLessThan(1000);
});

/** The control plane of a gate: what asks it for its events. */
async function watcherOf({ gate }: Place): Promise<(authorization?: string) => Promise<IncomingMessage>> {
  const admin = await startAdmin(
    gate.gate,
    writeTrustFiles(gate.gate.caFile, gate.gate.bundleFile),
    gate.log,
  );
  onTestFinished(() => admin.close());
  const token = adminToken(gate.files.caDir);
  return async (authorization = `Bearer ${token}`) => {
    const asked = httpRequest(`http://${admin.address}/v1/events`, { headers: { authorization } });
    asked.on('error', () => undefined);
    asked.end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.on('error', () => undefined);
    return answer;
  };
}

test('who watches /v1/events hears of alarms, sessions and refusals', async () => {
  const place = await open({}, { profile: { on_alarm: 'revoke' } });
  const { gate } = place;
  const watch = await watcherOf(place);
  expect((await watch('Bearer wrong')).statusCode).toBe(401);
  const watching = await watch();
  expect([watching.statusCode, watching.headers['content-type']]).toEqual([
    200,
    'text/event-stream; charset=utf-8',
  ]);
  let text = '';
  watching.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  watching.on('error', () => undefined);
  await until('it watches', () => text.includes(': watching\n\n'));
  const made = await gate.session({ sub: 'ann' });
  await misplace(place);
  await until('all came', () => /event: refusals\n/.test(text) && /event: session.ended\n/.test(text));
  const events = [...text.matchAll(/event: (\S+)\ndata: (.*)\n\n/g)].map(([, type, data]) => [
    type,
    JSON.parse(data ?? '') as unknown,
  ]);
  expect(events).toEqual([
    ['session.created', expect.objectContaining({ session: made.id, sub: 'ann', profile: 'default' })],
    ['alarm', expect.objectContaining({ code: 'stub_misplaced', session: place.session.id, revoked: true })],
    ['session.ended', expect.objectContaining({ session: place.session.id, reason: 'revoked' })],
    ['refusals', expect.objectContaining({ by_reason: { stub_misplaced: 1 } })],
  ]);
  expect([leaks(text, place.stub), leaks(text, made.token)]).toEqual([[], []]);
  watching.destroy();
});

test('so many may watch at a time, and who has left makes room', async () => {
  const place = await open({});
  const watch = await watcherOf(place);
  const all = await Promise.all(Array.from({ length: 32 }, () => watch()));
  expect(all.map(({ statusCode }) => statusCode)).toEqual(Array.from({ length: 32 }, () => 200));
  expect((await watch()).statusCode).toBe(429);
  for (const one of all) one.destroy();
  await until('there is room', async () => {
    const again = await watch();
    again.destroy();
    return again.statusCode === 200;
  });
});

test('one who does not read holds up nobody, and hears how much was missed', async () => {
  const place = await open({});
  const watch = await watcherOf(place);
  const watching = await watch();
  let text = '';
  watching.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await until('it watches', () => text.includes(': watching\n\n'));
  watching.pause();
  const labels = { note: 'x'.repeat(250) };
  for (let i = 0; i < 20_000; i++)
    place.gate.gate.events.tell({ type: 'session.created', data: sessionEvent(labels) });
  watching.resume();
  await until('it hears', () => text.includes('event: missed\n'));
  expect(Number(/event: missed\ndata: \{"count":(\d+)\}/.exec(text)?.[1])).toBeGreaterThan(10_000);
});

const sessionEvent = (labels: Readonly<Record<string, string>>) => ({
  time: '2026-01-01T00:00:00.000Z',
  session: 's_1',
  profile: 'default',
  sub: null,
  act: null,
  labels,
});

test('an alarm at CONNECT ends the session, too, and is answered', async () => {
  const place = await open({ on_alarm: 'revoke' });
  const peer = await dial(place.session.proxy.port);
  await peer.send(
    `CONNECT ${RAW}:443 HTTP/1.1\r\nHost: ${RAW}:443\r\nX-Note: ${place.stub}\r\nProxy-Authorization: ${place.session.proxy.authorization}\r\n\r\n`,
  );
  expect(header(await readReply(peer), 'stubgate-reason')).toBe('stub_misplaced');
  peer.cut();
  expect((await connect(place.session.proxy, `${RAW}:443`)).reply.status).toBe(407);
});

test('a real secret is told of though the request is past a limit', async () => {
  const place = await open({}, { profile: { limits: { requests: 1 } } });
  const head = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${place.stub}\r\n\r\n`;
  const peer = await openTls(place.session.proxy, place.gate.ca, HOST);
  await peer.send(head);
  await (await place.raw.next()).send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  expect((await readReply(peer)).status).toBe(200);
  await peer.send(head + head.replace(place.stub, place.secret));
  expect(header(await readReply(peer), 'stubgate-reason')).toBe('rate_limited');
  expect(header(await readReply(peer), 'stubgate-reason')).toBe('secret_in_request');
  peer.cut();
});
