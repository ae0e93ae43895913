import { once } from 'node:events';
import { STATUS_CODES } from 'node:http';
import tls from 'node:tls';
import { inspect } from 'node:util';
import { expect } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import type { AuditEvent } from '../../src/types.ts';
import { Peer } from '../support/peer.ts';
import { connect, dial, header, openTls, readReply, type Reply, wrapTls } from '../support/raw-client.ts';
import { type Answer, OK } from './recorder.ts';
import type { Scene } from './scene.ts';
import { readings } from './search.ts';

/** Latin1 text in which STUB, SECRET and PROXY stand for the scene's own; or bytes; or what makes either of them. */
export type Text = string | Buffer | ((scene: Scene) => string | Buffer);

export interface ExpectedReply {
  status: number;
  /** Absent: not a refusal of the gate's. */
  reason?: Reason;
  body?: Text;
  /** Names in lower case. */
  headers?: readonly (readonly [name: string, value: Text | undefined])[];
  /** The answer does not complete: the connection breaks instead. */
  cut?: boolean;
}

export interface Case extends ExpectedReply {
  /** The behaviour, as the test's name. */
  name: string;
  /** Of the CONNECT, and of the SNI unless told otherwise. */
  host?: string;
  port?: number;
  /** `null`: none is sent. */
  sni?: string | null;
  /** `clear`: no TLS inside the tunnel; `proxy`: on the proxy's own connection, without a tunnel. */
  over?: 'tls' | 'clear' | 'proxy';
  send: Text;
  /** Offsets at which `send` is cut into packets. */
  splits?: readonly number[];
  answer?: Answer;
  /** The same, made of what only the scene knows. */
  answers?: (scene: Scene) => Answer;
  /** Replies behind the first one. */
  more?: readonly ExpectedReply[];
  /** The method that each reply answers; GET. */
  methods?: readonly string[];
  /** Every byte that the upstream receives; absent: nothing, not even a connection. A pattern: for what is cut. */
  upstream?: Text | RegExp;
  /** What the audit line says besides status, reason and verdict. */
  audit?: Partial<AuditEvent>;
  /** Names that the gate looks up; none by default. */
  lookups?: readonly string[];
  /** Audit lines, in order of the replies; default one for each. */
  lines?: number;
}

/** A message head with its empty line, and a body. */
export const message = (lines: readonly string[], body = ''): string =>
  `${lines.join('\r\n')}\r\n\r\n${body}`;

/** A request for api.test, with the stub at its place. */
export const request = (target: string, more: readonly string[] = [], method = 'GET', body = ''): string =>
  message([`${method} ${target} HTTP/1.1`, 'Host: api.test', 'Authorization: Bearer STUB', ...more], body);

export function fill(scene: Scene, text: Text): Buffer {
  const made = typeof text === 'function' ? text(scene) : text;
  if (Buffer.isBuffer(made)) return made;
  const filled = made
    .replaceAll('STUB', scene.stub)
    .replaceAll('SECRET', scene.secret)
    .replaceAll('PROXY', `Proxy-Authorization: ${scene.session.proxy.authorization}`);
  return Buffer.from(filled, 'latin1');
}

/** Where everything stood before a case. */
interface Before {
  readonly audit: number;
  readonly logs: number;
  readonly lookups: number;
  readonly upstream: ReturnType<Scene['upstream']['mark']>;
  readonly plain: ReturnType<Scene['plain']['mark']>;
}

export function before(scene: Scene): Before {
  return {
    audit: auditLines(scene).length,
    logs: scene.gate.logs.length,
    lookups: scene.lookups.length,
    upstream: scene.upstream.mark(),
    plain: scene.plain.mark(),
  };
}

function auditLines(scene: Scene): string[] {
  return scene.gate.auditText().split('\n').slice(0, -1);
}

export async function open(
  scene: Scene,
  { host = 'api.test', port = 443, sni, over }: Partial<Case>,
): Promise<Peer> {
  const { proxy } = scene.session;
  if (over === 'proxy') return dial(proxy.port);
  if (over === undefined && sni === undefined) return openTls(proxy, scene.gate.ca, host, port);
  const { peer, reply } = await connect(proxy, `${host}:${port}`);
  expect(reply.status).toBe(200);
  if (over === 'clear') return peer;
  return sni === undefined ? wrapTls(peer, { ca: scene.gate.ca, servername: host }) : wrapAs(peer, sni);
}

/** TLS with a name of the attacker's choice, who does not mind whose certificate comes. */
async function wrapAs(peer: Peer, sni: string | null): Promise<Peer> {
  peer.socket.removeAllListeners('data');
  const secure = tls.connect({
    socket: peer.socket,
    rejectUnauthorized: false,
    ...(sni !== null && { servername: sni }),
  });
  const wrapped = new Peer(secure);
  await once(secure, 'secureConnect');
  return wrapped;
}

/** Plays one case against the running gate and checks everything that anybody saw of it. */
export async function play(scene: Scene, c: Case): Promise<void> {
  const start = before(scene);
  scene.upstream.answer = c.answers?.(scene) ?? c.answer ?? OK;
  scene.plain.answer = scene.upstream.answer;
  const peer = await open(scene, c);
  await peer.sendSplit(fill(scene, c.send), c.splits ?? []);
  const expected = [c, ...(c.more ?? [])];
  const replies: Reply[] = [];
  for (const [i, one] of expected.entries()) {
    const reply = await receive(peer, one, c.methods?.[i] ?? methodOf(fill(scene, c.send)));
    checkReply(scene, reply, one);
    replies.push(reply);
  }
  await checkAround(scene, start, {
    received: [peer, ...replies.map(reply => reply.body)],
    replies: expected.map((one, i) => [one, replies[i] as Reply]),
    lines: c.lines ?? expected.length,
    ...(c.upstream !== undefined && { upstream: c.upstream }),
    ...(c.audit && { audit: c.audit }),
    ...(c.lookups && { lookups: c.lookups }),
  });
  // Whatever the gate still had to say has come by now.
  const last = replies.at(-1) as Reply;
  const untilClose =
    header(last, 'content-length') === undefined && header(last, 'transfer-encoding') === undefined;
  if (!c.cut) expect(peer.rest.toString('latin1')).toBe(untilClose ? last.body.toString('latin1') : '');
  peer.cut();
}

function methodOf(bytes: Buffer): string {
  return bytes.toString('latin1', 0, Math.max(bytes.indexOf(' '), 0));
}

async function receive(peer: Peer, { cut }: ExpectedReply, method: string): Promise<Reply> {
  if (!cut) return readReply(peer, method);
  await peer.end();
  const text = peer.rest.toString('latin1');
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
  const [head = '', body = ''] = text.split(/\r\n\r\n(.*)/s);
  if (/^transfer-encoding/im.test(head)) expect(body).not.toMatch(/(^|\r\n)0\r\n\r\n$/);
  const length = /^content-length: (\d+)/im.exec(head)?.[1];
  if (length !== undefined) expect(body.length).toBeLessThan(Number(length));
  return { status, reason: '', headers: [], body: Buffer.from(body, 'latin1'), trailers: [] };
}

/** A refusal is checked to its last byte, an answer as far as the case tells. */
function checkReply(scene: Scene, reply: Reply, expected: ExpectedReply): void {
  const { status, reason, body, headers = [] } = expected;
  const shown = `${reply.status} ${header(reply, 'stubgate-reason') ?? ''} ${reply.body.toString('latin1', 0, 300)}`;
  expect({ status: reply.status, reason: header(reply, 'stubgate-reason') }, shown).toEqual({
    status,
    reason,
  });
  if (body !== undefined) expect(reply.body.toString('latin1')).toBe(fill(scene, body).toString('latin1'));
  for (const [name, value] of headers) {
    expect(header(reply, name), name).toBe(
      value === undefined ? undefined : fill(scene, value).toString('latin1'),
    );
  }
  if (reason !== undefined) checkRefusal(reply, reason);
}

function checkRefusal(reply: Reply, code: Reason): void {
  expect(reply.reason).toBe(STATUS_CODES[reply.status]);
  expect(reply.headers.filter(([name]) => name !== 'connection')).toEqual([
    ['content-type', 'application/json'],
    ['stubgate-reason', code],
    ['cache-control', 'no-store'],
    ...(reply.status === 407 ? [['proxy-authenticate', 'Basic realm="stubgate"']] : []),
    ...(reply.status === 429 ? [['retry-after', expect.stringMatching(/^[1-9]\d*$/) as string]] : []),
    ['content-length', String(reply.body.length)],
  ]);
  expect(JSON.parse(reply.body.toString())).toEqual({
    error: {
      code,
      message: expect.any(String) as string,
      hint: expect.any(String) as string,
      request_id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    },
  });
}

export interface Around {
  /** All that came out on the sandbox's side. */
  received: readonly (Peer | Buffer)[];
  replies?: readonly (readonly [ExpectedReply, Reply])[];
  lines: number;
  upstream?: Text | RegExp;
  audit?: Partial<AuditEvent>;
  /** Names that the gate looks up; none by default. */
  lookups?: readonly string[];
}

/** What the upstream received, the audit, the logs, and that the gate goes on serving. */
export async function checkAround(scene: Scene, start: Before, around: Around): Promise<void> {
  const { received, replies = [], lines, upstream, audit = {} } = around;
  const events = (await scene.gate.audit(start.audit + lines)).slice(start.audit);
  const sent = scene.upstream.since(start.upstream) + scene.plain.since(start.plain);
  if (upstream instanceof RegExp) expect(sent).toMatch(upstream);
  else expect(sent).toBe(fill(scene, upstream ?? '').toString('latin1'));
  if (upstream === undefined) {
    expect(scene.upstream.openedSince(start.upstream) + scene.plain.openedSince(start.plain)).toBe(0);
  }
  expect(scene.lookups.slice(start.lookups)).toEqual(around.lookups ?? []);
  for (const [i, [{ status, reason = null }, reply]] of replies.slice(0, lines).entries()) {
    const event = events[i] as AuditEvent;
    expect(event).toMatchObject({ status, reason });
    if (reason === null) expect(event.verdict).not.toBe('deny');
    else {
      expect(event.verdict).toBe('deny');
      expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { request_id: event.request_id } });
    }
  }
  if (lines > 0) expect(events[0]).toMatchObject(audit);
  await expectServing(scene);
  const told = auditLines(scene).slice(start.audit);
  expect(told.length, told.join('\n')).toBe(lines + 1);
  for (const part of received) {
    expect(readings(Buffer.isBuffer(part) ? part : part.received, scene.secret)).toEqual([]);
  }
  expectDiscreet(scene, told.slice(0, lines), inspect(scene.gate.logs.slice(start.logs), { depth: 12 }));
}

/** Neither the secret, nor a whole stub, nor the session's token stands in what the operator keeps. */
function expectDiscreet(scene: Scene, told: readonly string[], logs: string): void {
  for (const text of [told.join('\n'), logs]) {
    expect(readings(text, scene.secret), text).toEqual([]);
    for (const value of [scene.stub, scene.session.token]) expect(readings(text, value), text).toEqual([]);
    expect(text.toLowerCase()).not.toContain(scene.stub.toLowerCase());
  }
}

const GOOD = 'GET /good HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer ';

/** A good request of another client is served as ever. */
export async function expectServing(scene: Scene): Promise<void> {
  const mark = scene.upstream.mark();
  const lines = auditLines(scene).length;
  const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
  await peer.send(`${GOOD}${scene.stub}\r\n\r\n`);
  const reply = await readReply(peer);
  await scene.gate.audit(lines + 1);
  peer.cut();
  expect([reply.status, reply.body.toString('latin1')]).toEqual([200, 'ok']);
  expect(scene.upstream.since(mark)).toBe(`${GOOD}${scene.secret}\r\n\r\n`);
}
