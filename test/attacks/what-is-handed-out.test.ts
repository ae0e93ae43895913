import { once } from 'node:events';
import { brotliCompressSync, createGzip, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import type { AuditEvent } from '../../src/types.ts';
import { canary } from '../support/canary.ts';
import { startTestGate, type TestSession } from '../support/gate.ts';
import type { Peer } from '../support/peer.ts';
import { testCa } from '../support/pki.ts';
import { header, openTls, readReply, type Reply } from '../support/raw-client.ts';
import { type Answer, OK, startRecorder } from './recorder.ts';
import { HOSTS, openScene, type Scene } from './scene.ts';
import { readings } from './search.ts';

const [TOKEN, USE, FIELD, OPEN] = ['a.wild.test', 'a.b.wild.test', 'key.test', 'open.test'];
const SHAPE = /^gho_[A-Za-z0-9]{36}$/;

let scene: Scene;
beforeAll(async () => {
  scene = await openScene({
    captured: { user: 'github-oauth', refresh: 'ghr_{36}', brief: 'generic', role: 'aws-session' },
    rules: () => [
      {
        name: 'token',
        hosts: [TOKEN],
        inject: [
          { credential: 'refresh', as: 'form', field: 'refresh_token' },
          { credential: 'api', as: 'bearer' },
        ],
        capture: [
          { credential: 'user', at: 'json', pointer: '/access_token' },
          { credential: 'user', at: 'form', field: 'access_token' },
          { credential: 'refresh', at: 'json', pointer: '/refresh_token' },
          { credential: 'brief', at: 'json', pointer: '/brief/token', ttl: '1ms' },
        ],
      },
      {
        name: 'use',
        hosts: [USE],
        inject: [
          { credential: 'user', as: 'bearer' },
          { credential: 'brief', as: 'header', name: 'x-brief' },
        ],
      },
      {
        name: 'keys',
        hosts: ['query.test'],
        inject: [{ credential: 'api', as: 'bearer' }],
        capture: [{ credential: 'role', at: 'sts' }],
      },
      { name: 'field', hosts: [FIELD], capture: [{ credential: 'user', at: 'header', name: 'X-Token' }] },
    ],
  });
});
afterAll(() => scene.close());

interface Got {
  readonly reply: Reply;
  /** Every byte that came. */
  readonly bytes: Buffer;
  readonly line: AuditEvent;
}

/** One request in a tunnel of its own, and all that came of it. */
async function ask(
  host: string,
  answer: Answer,
  {
    head = [],
    method = 'GET',
    body = '',
    session = scene.session,
    isCut = false,
  }: Partial<{
    head: readonly string[];
    method: string;
    body: string;
    session: TestSession;
    isCut: boolean;
  }> = {},
): Promise<Got> {
  const lines = scene.gate.auditText().split('\n').length - 1;
  scene.upstream.answer = answer;
  const peer = await openTls(session.proxy, scene.gate.ca, host);
  const length =
    body === '' ? [] : [`Content-Length: ${body.length}`, 'Content-Type: application/x-www-form-urlencoded'];
  await peer.send([`${method} /t HTTP/1.1`, `Host: ${host}`, ...head, ...length, '', body].join('\r\n'));
  const reply = isCut
    ? ({ status: 0, headers: [], body: Buffer.alloc(0) } as unknown as Reply)
    : await readReply(peer, method);
  if (isCut) await peer.end();
  const [line] = (await scene.gate.audit(lines + 1)).slice(lines);
  peer.cut();
  return { reply, bytes: peer.received, line: line as AuditEvent };
}

const json = (body: string | Buffer, ...head: readonly string[]): Buffer =>
  typed('application/json', body, ...head);
const typed = (type: string, body: string | Buffer, ...head: readonly string[]): Buffer =>
  Buffer.concat([
    Buffer.from(
      [
        'HTTP/1.1 200 OK',
        `Content-Type: ${type}`,
        `Content-Length: ${Buffer.byteLength(body)}`,
        ...head,
        '',
        '',
      ].join('\r\n'),
    ),
    Buffer.from(body),
  ]);
const status = (code: number, answer: Buffer): Buffer =>
  Buffer.from(answer.toString('latin1').replace('200 OK', `${code} No`), 'latin1');
const hex = (text: string): string => Buffer.from(text).toString('hex');
const unicode = (text: string): string =>
  Array.from(text, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');

const GAUGES = { tunnels: 0, sessions: 0, stateUp: true, auditHealthy: true, auditLost: 0 };

type Make = (value: string) => Answer;

/** The value came nowhere in any spelling, and stands nowhere that the operator keeps. */
function expectNone(value: string, { bytes }: Got): void {
  expect(readings(bytes, value), bytes.toString('latin1')).toEqual([]);
  expect(readings(scene.gate.auditText(), value)).toEqual([]);
  expect(readings(JSON.stringify(scene.gate.logs), value)).toEqual([]);
}

/** What was given for it goes up as the real value. */
async function expectUsable(stub: string, value: string): Promise<void> {
  const mark = scene.upstream.mark();
  const { reply } = await ask(USE, OK, { head: [`Authorization: Bearer ${stub}`] });
  expect(reply.status, reply.body.toString()).toBe(200);
  expect(scene.upstream.since(mark)).toBe(
    `GET /t HTTP/1.1\r\nHost: ${USE}\r\nAuthorization: Bearer ${value}\r\n\r\n`,
  );
}

describe('the sandbox gets a stub in its place', () => {
  test.each<[name: string, answer: Make, body: string]>([
    [
      'as it stands',
      v => json(`{"access_token":"${v}","expires_in":3}`),
      '{"access_token":"STUB","expires_in":3}',
    ],
    [
      'with white space kept',
      v => json(`\n{ "a" : [1.0, 2e3],\t"access_token"  : "${v}" }\r\n`),
      '\n{ "a" : [1.0, 2e3],\t"access_token"  : "STUB" }\r\n',
    ],
    ['in JSON escapes', v => json(`{"access_token":"${unicode(v)}"}`), '{"access_token":"STUB"}'],
    ['under an escaped name', v => json(`{"access\\u005ftoken":"${v}"}`), '{"access\\u005ftoken":"STUB"}'],
    [
      'in two places',
      v => json(`{"access_token":"${v}","again":{"it":"${v}"}}`),
      '{"access_token":"STUB","again":{"it":"STUB"}}',
    ],
    [
      'and again in escapes',
      v => json(`{"x":"${unicode(v)}","access_token":"${v}"}`),
      '{"x":"STUB","access_token":"STUB"}',
    ],
    [
      'and again in hex',
      v => json(`{"access_token":"${v}","h":"${hex(v)}"}`),
      '{"access_token":"STUB","h":"HEX"}',
    ],
    [
      'and before it, in a name',
      v => json(`{"${v}":1,"access_token":"${v}"}`),
      '{"STUB":1,"access_token":"STUB"}',
    ],
    [
      'compressed',
      v => json(gzipSync(`{"access_token":"${v}"}`), 'Content-Encoding: gzip', 'ETag: "x"', 'Digest: x'),
      '{"access_token":"STUB"}',
    ],
    [
      'compressed twice',
      v => json(brotliCompressSync(gzipSync(`{"access_token":"${v}"}`)), 'Content-Encoding: gzip, br'),
      '{"access_token":"STUB"}',
    ],
    [
      'of a form',
      v =>
        typed('application/x-www-form-urlencoded', `access_token=${v}&scope=repo%2Cgist&token_type=bearer`),
      'access_token=STUB&scope=repo%2Cgist&token_type=bearer',
    ],
    [
      'of a form, percent-encoded',
      v => typed('application/x-www-form-urlencoded', `a=1&access_token=%${hex(v).match(/../g)?.join('%')}`),
      'a=1&access_token=STUB',
    ],
    [
      'with a vendor’s type',
      v => typed('application/vnd.oauth+json;charset=UTF-8', `{"access_token":"${v}"}`),
      '{"access_token":"STUB"}',
    ],
    [
      'of an error',
      v => status(400, json(`{"error":"x","access_token":"${v}"}`)),
      '{"error":"x","access_token":"STUB"}',
    ],
    [
      'in chunks of a byte',
      v => [
        'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
        ...Array.from(`{"access_token":"${v}"}`, c => `1\r\n${c}\r\n`),
        '0\r\n\r\n',
      ],
      '{"access_token":"STUB"}',
    ],
    [
      'and none of the trailers',
      v =>
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTrailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n${(v.length + 19).toString(16)}\r\n{"access_token":"${v}"}\r\n0\r\nX-T: ${v}\r\n\r\n`,
      '{"access_token":"STUB"}',
    ],
    [
      'until the connection closes',
      v => async (peer: Peer) => {
        await peer.send(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"access_token":"${v}"}`);
        peer.socket.end();
      },
      '{"access_token":"STUB"}',
    ],
  ])('%s', async (_, answer, body) => {
    const value = canary('gho_');
    const got = await ask(TOKEN, answer(value));
    expectNone(value, got);
    const text = got.reply.body.toString();
    const stub = /gho_\w{36}/.exec(text)?.[0] ?? '';
    expect(stub).toMatch(SHAPE);
    expect(text).toBe(body.replaceAll('STUB', stub).replaceAll('HEX', hex(stub)));
    expect(header(got.reply, 'content-length')).toBe(String(got.reply.body.length));
    for (const name of ['content-encoding', 'etag', 'digest', 'trailer'])
      expect(header(got.reply, name)).toBeUndefined();
    expect(got.line).toMatchObject({ verdict: 'allow', captured: [{ credential: 'user' }] });
    await expectUsable(stub, value);
  });

  test('in fields, status text and interim answers, too', async () => {
    const value = canary('gho_');
    const interim = `HTTP/1.1 103 Early ${value}\r\nLink: </${value}>; rel=preload\r\nX-Token: ${value}\r\n\r\n`;
    const got = await ask(
      TOKEN,
      interim +
        json(
          `{"access_token":"${value}"}`,
          `X-Echo: Bearer ${value}`,
          `Location: /?t=%${hex(value).match(/../g)?.join('%')}`,
          `Set-Cookie: t=${Buffer.from(value).toString('base64')}`,
        )
          .toString()
          .replace('200 OK', `200 ${value}`),
    );
    expectNone(value, got);
    const { access_token: stub } = JSON.parse(got.reply.body.toString()) as Record<string, string>;
    expect(got.reply.reason).toBe(stub);
    expect(header(got.reply, 'x-echo')).toBe(`Bearer ${stub}`);
    expect(header(got.reply, 'location')).toBe(`/?t=${stub}`);
    expect(got.bytes.toString()).toMatch(/^HTTP\/1\.1 103 Early Hints\r\n\r\n/);
  });

  test('and the metrics count it', async () => {
    const count = (): number =>
      Number(/^stubgate_captured_total (\d+)$/m.exec(scene.gate.gate.metrics.text(GAUGES))?.[1]);
    const before = count();
    const value = canary('gho_');
    await ask(TOKEN, json(`{"access_token":"${value}","refresh_token":"${value}r"}`));
    await ask(TOKEN, json('{"error":"slow_down"}'));
    expect(count()).toBe(before + 2);
  });

  test('of a header field', async () => {
    const value = canary('gho_');
    const got = await ask(FIELD, typed('text/html', `<p>${value}</p>`, `x-TOKEN: ${value}`));
    expectNone(value, got);
    const stub = header(got.reply, 'x-token') ?? '';
    expect(got.reply.body.toString()).toBe(`<p>${stub}</p>`);
    await expectUsable(stub, value);
  });

  test('the same for the same value, and another one for the next', async () => {
    const [one, other] = [canary('gho_'), canary('gho_')];
    const stubs: string[] = [];
    for (const value of [one, other, one])
      stubs.push(
        String(
          (
            JSON.parse(
              (await ask(TOKEN, json(`{"access_token":"${value}"}`))).reply.body.toString(),
            ) as Record<string, string>
          )['access_token'],
        ),
      );
    expect(stubs[2]).toBe(stubs[0]);
    expect(stubs[1]).not.toBe(stubs[0]);
    await expectUsable(stubs[0] as string, one);
    await expectUsable(stubs[1] as string, other);
  });
});

describe('what says that it hands out nothing passes', () => {
  test.each<[name: string, answer: Buffer]>([
    ['an error with 200 (RFC 8628 as GitHub has it)', json('{"error":"authorization_pending"}')],
    ['the same as a form', typed('application/x-www-form-urlencoded', 'error=slow_down&interval=5')],
    ['an error of any type', status(503, typed('text/html', '<h1>down</h1>'))],
    ['nothing at all', typed('text/plain', '')],
    ['null', status(400, json('{"access_token":null}'))],
  ])('%s', async (_, answer) => {
    const got = await ask(TOKEN, answer);
    expect(got.reply.body.toString()).toBe(answer.toString().split('\r\n\r\n')[1]);
    expect(got.line.captured).toBeUndefined();
  });
});

const bom = (text: string): Buffer => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(text)]);

describe('what cannot be read, or not in one way only, is withheld', () => {
  test.each<[name: string, answer: Make, reason?: Reason]>([
    ['a name twice', v => json(`{"access_token":"harmless","access_token":"${v}"}`)],
    ['a name twice, once escaped', v => json(`{"access_token":"${v}","access\\u005Ftoken":"harmless-text"}`)],
    ['a name in another case', v => json(`{"Access_Token":"${v}"}`)],
    ['a list in its place', v => json(`{"access_token":["${v}"]}`)],
    ['an object in its place', v => json(`{"access_token":{"value":"${v}"}}`)],
    ['a number in its place', () => json('{"access_token":123456789012}')],
    ['an error without a name', v => json(`{"error":"","accessToken":"${v}"}`)],
    ['the same as a form', v => typed('application/x-www-form-urlencoded', `error=&accessToken=${v}`)],
    ['another name', v => json(`{"accessToken":"${v}"}`)],
    ['one level deeper', v => json(`{"data":{"access_token":"${v}"}}`)],
    ['a list around it', v => json(`[{"access_token":"${v}"}]`)],
    ['a space in it', v => json(`{"access_token":"${v} ${v}"}`)],
    ['a line break in it', v => json(`{"access_token":"${v}\\n"}`)],
    ['letters beyond ASCII', v => json(`{"access_token":"${v}é"}`)],
    ['too short to be looked for', () => json('{"access_token":"short"}')],
    ['too long for a header', v => json(`{"access_token":"${v.repeat(400)}"}`)],
    ['JSON that goes on behind its end', v => json(`{"error":"x"}{"access_token":"${v}"}`)],
    ['a comment', v => json(`{"error":"x",/*"access_token":"${v}"*/}`)],
    ['single quotes', v => json(`{'access_token':'${v}'}`)],
    ['JSONP', v => json(`f({"access_token":"${v}"})`)],
    ['a byte order mark', v => json(bom(`{"access_token":"${v}"}`))],
    ['UTF-16', v => json(Buffer.from(`{"access_token":"${v}"}`, 'utf16le'))],
    [
      'UTF-16 that says so',
      v => typed('application/json; charset=utf-16', Buffer.from(`{"access_token":"${v}"}`, 'utf16le')),
    ],
    ['bytes that are not UTF-8', v => json(Buffer.from(`{"x":"\xff","access_token":"${v}"}`, 'latin1'))],
    ['JSON that says it is text', v => typed('text/plain', `{"access_token":"${v}"}`)],
    ['JSON that says it is a page', v => typed('text/html', `{"access_token":"${v}"}`)],
    [
      'JSON of no type',
      v => Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${v.length + 19}\r\n\r\n{"access_token":"${v}"}`),
    ],
    ['two types', v => json(`{"access_token":"${v}"}`, 'Content-Type: text/html')],
    ['an error that is no text', v => json(`{"error":null,"token":"${v}"}`)],
    [
      'a form twice',
      v => typed('application/x-www-form-urlencoded', `access_token=harmless-text&access_token=${v}`),
    ],
    ['a form with a semicolon', v => typed('application/x-www-form-urlencoded', `a=1;access_token=${v}`)],
    ['a form in another case', v => typed('application/x-www-form-urlencoded', `Access_Token=${v}`)],
    ['a form that is JSON', v => typed('application/x-www-form-urlencoded', `{"access_token":"${v}"}`)],
    [
      'a redirect that holds it',
      v => `HTTP/1.1 302 Found\r\nLocation: /#access_token=${v}\r\nContent-Length: 0\r\n\r\n`,
    ],
    ['a huge body', v => json(`{"access_token":"${v}","x":"${'y'.repeat(300_000)}"}`)],
    [
      'a huge body in chunks',
      v =>
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${(300_019 + v.length).toString(16)}\r\n{"access_token":"${v}"}${' '.repeat(300_000)}\r\n0\r\n\r\n`,
    ],
    [
      'a bomb',
      v => json(gzipSync(`{"access_token":"${v}","x":"${'y'.repeat(300_000)}"}`), 'Content-Encoding: gzip'),
      'undecodable_response',
    ],
    [
      'an unknown coding',
      v => json(`{"access_token":"${v}"}`, 'Content-Encoding: aws-chunked'),
      'undecodable_response',
    ],
    [
      'a coding that lies',
      v => json(`{"access_token":"${v}"}`, 'Content-Encoding: gzip'),
      'undecodable_response',
    ],
    [
      'a coding that is cut',
      v => json(gzipSync(`{"access_token":"${v}"}`).subarray(0, -4), 'Content-Encoding: gzip'),
      'undecodable_response',
    ],
    ['a part', v => status(206, json(`"access_token":"${v}"}`, 'Content-Range: bytes 1-9/99'))],
    [
      'a length that is too large',
      v => async (peer: Peer) => {
        await peer.send(
          json(`{"access_token":"${v}"}`)
            .toString()
            .replace(/Length: \d+/, 'Length: 900'),
        );
        peer.cut();
      },
      'upstream_unreachable',
    ],
    [
      'a length that is too small',
      v =>
        json(`{"access_token":"${v}"}`)
          .toString()
          .replace(/Length: \d+/, 'Length: 30'),
    ],
    [
      'a cut in the middle of a chunk',
      v => async (peer: Peer) => {
        await peer.send(
          `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n99\r\n{"access_token":"${v}"}`,
        );
        peer.cut();
      },
      'upstream_unreachable',
    ],
    [
      'an end before the end',
      v => async (peer: Peer) => {
        await peer.send(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"access_token":"${v}"`);
        peer.socket.end();
      },
    ],
  ])('%s', async (_, answer, reason = 'capture_failed') => {
    const value = canary('gho_');
    const got = await ask(TOKEN, answer(value));
    expect(got.reply.status, got.reply.body.toString()).toBe(502);
    expect(header(got.reply, 'stubgate-reason')).toBe(reason);
    expect(got.line).toMatchObject({ verdict: 'deny', reason });
    expect(got.line.captured).toBeUndefined();
    expectNone(value, got);
  });
});

describe('a stub is worth something where it was given for, only', () => {
  const stubOf = async (value: string, session?: TestSession): Promise<string> => {
    const { reply } = await ask(
      TOKEN,
      json(`{"access_token":"${value}","refresh_token":"${value}r"}`),
      session && { session },
    );
    return String((JSON.parse(reply.body.toString()) as Record<string, string>)['access_token']);
  };
  const bearer = (stub: string): { head: string[] } => ({ head: [`Authorization: Bearer ${stub}`] });
  const refused = async (
    reason: Reason,
    host: string,
    ...more: Parameters<typeof ask>[2][]
  ): Promise<void> => {
    const mark = scene.upstream.mark();
    const got = await ask(host, OK, ...more);
    expect(header(got.reply, 'stubgate-reason'), got.reply.body.toString()).toBe(reason);
    expect(scene.upstream.since(mark)).toBe('');
  };

  test.each(['api.test', OPEN, 'basic.test'])('not at %s', async host =>
    refused('stub_misplaced', host, bearer(await stubOf(canary('gho_')))),
  );
  test('not at another place of its host', async () =>
    refused('stub_misplaced', USE, { head: [`X-Other: ${await stubOf(canary('gho_'))}`] }));
  test('not twice', async () => {
    const stub = await stubOf(canary('gho_'));
    await refused('stub_misplaced', USE, { head: [`Authorization: Bearer ${stub}`, `X-Other: ${stub}`] });
  });
  test('not in base64, cut short or in another credential’s place', async () => {
    const stub = await stubOf(canary('gho_'));
    await refused('stub_misplaced', USE, {
      head: [`Authorization: Basic ${Buffer.from(stub).toString('base64')}`],
    });
    await refused('stub_misplaced', USE, bearer(stub.slice(0, -2)));
    await refused('stub_misplaced', USE, { head: [`X-Brief: ${stub}`] });
    await refused('stub_misplaced', TOKEN, { method: 'POST', body: `refresh_token=${stub}` });
  });
  test('not for another session, which gets one of its own for the same value', async () => {
    const value = canary('gho_');
    const stub = await stubOf(value);
    const session = await scene.gate.session();
    await refused('stub_misplaced', USE, { ...bearer(stub), session });
    const theirs = await stubOf(value, session);
    expect(theirs).not.toBe(stub);
    await refused('stub_misplaced', USE, { ...bearer(stub), session });
    await expectUsable(stub, value);
  });
  test('nor after the end of its session', async () => {
    const session = await scene.gate.session();
    const stub = await stubOf(canary('gho_'), session);
    await scene.gate.revoke(session.id);
    await refused('stub_misplaced', USE, bearer(stub));
  });
  test('nor beyond its time', async () => {
    const { reply } = await ask(TOKEN, json(`{"brief":{"token":"${canary('b-')}"}}`));
    const { brief } = JSON.parse(reply.body.toString()) as { brief: { token: string } };
    expect(brief.token).toMatch(/^sgs_/);
    const over = Date.now() + 2;
    while (Date.now() < over) await new Promise(setImmediate);
    await refused('credential_unavailable', USE, { head: [`X-Brief: ${brief.token}`] });
  });
  test('a real value in a request is an alarm, in the session that may not have it', async () => {
    const value = canary('gho_');
    await stubOf(value);
    await refused('secret_in_request', USE, bearer(value));
    await refused('secret_in_request', OPEN, { head: [`X-A: ${Buffer.from(value).toString('base64')}`] });
  });
  test('a refresh goes up with the real one, and gives the next', async () => {
    const value = canary('gho_');
    const { reply } = await ask(TOKEN, json(`{"access_token":"${value}","refresh_token":"${value}r"}`));
    const { refresh_token: stub } = JSON.parse(reply.body.toString()) as Record<string, string>;
    const mark = scene.upstream.mark();
    const next = canary('ghr_');
    const got = await ask(TOKEN, json(`{"access_token":"${next}a","refresh_token":"${next}"}`), {
      method: 'POST',
      body: `refresh_token=${stub}`,
    });
    expect(scene.upstream.since(mark).split('\r\n\r\n')[1]).toBe(`refresh_token=${value}r`);
    expectNone(next, got);
    expect((JSON.parse(got.reply.body.toString()) as Record<string, string>)['refresh_token']).toMatch(
      /^ghr_\w{36}$/,
    );
  });
});

describe('nobody gets a stub for a secret that is bound elsewhere', () => {
  const mine = (): { head: string[] } => ({ head: [`Authorization: Bearer ${scene.stub}`] });

  test('an echo of an injected credential stays what it is', async () => {
    const got = await ask(TOKEN, json(`{"access_token":"${scene.secret}"}`), mine());
    expect(got.reply.body.toString()).toBe(`{"access_token":"${scene.stub}"}`);
    expect(got.line.captured).toBeUndefined();
    expectNone(scene.secret, got);
  });
  test.each<[string, (secret: string) => string]>([
    ['with something before it', s => `x${s}`],
    ['with something behind it', s => `${s}x`],
    ['in base64 with a user', s => Buffer.from(`user:${s}`).toString('base64')],
  ])('nor made of one, %s', async (_, make) => {
    const got = await ask(TOKEN, json(`{"access_token":"${make(scene.secret)}"}`), mine());
    expect(header(got.reply, 'stubgate-reason')).toBe('capture_failed');
    expectNone(scene.secret, got);
  });
  test('nor what the upstream was told to repeat of a stub', async () => {
    const got = await ask(TOKEN, json(`{"access_token":"${scene.stub}"}`), mine());
    expect(header(got.reply, 'stubgate-reason')).toBe('capture_failed');
  });
});

test('an answer that began before the value was known is scrubbed of it from then on', async () => {
  const value = canary('gho_');
  let go: (() => Promise<void>) | undefined;
  const started = new Promise<void>(resolve => {
    scene.upstream.answer = async (peer: Peer) => {
      await peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n');
      const ended = new Promise<void>(done => {
        go = async () => {
          await peer.send(`${value.length.toString(16)}\r\n${value}\r\n0\r\nX-T: ${value}\r\n\r\n`);
          done();
        };
      });
      resolve();
      await ended;
    };
  });
  const peer = await openTls(scene.session.proxy, scene.gate.ca, OPEN);
  await peer.send(`GET / HTTP/1.1\r\nHost: ${OPEN}\r\n\r\n`);
  await started;
  const { reply } = await ask(TOKEN, json(`{"access_token":"${value}"}`));
  const { access_token: stub } = JSON.parse(reply.body.toString()) as Record<string, string>;
  await go?.();
  const slow = await readReply(peer);
  expect(slow.body.toString()).toBe(`first${stub}`);
  expect(readings(peer.received, value)).toEqual([]);
  peer.cut();
});

test('a session holds 64, and is refused before it asks for more', async () => {
  const session = await scene.gate.session();
  for (let i = 0; i < 32; i++) {
    const value = canary('gho_');
    await ask(TOKEN, json(`{"access_token":"${value}","refresh_token":"${value}r"}`), { session });
  }
  const mark = scene.upstream.mark();
  const got = await ask(TOKEN, OK, { session });
  expect(header(got.reply, 'stubgate-reason')).toBe('rate_limited');
  expect(scene.upstream.since(mark)).toBe('');
}, 30_000);

describe('AWS keys', () => {
  const xml = (id: string, secret: string, token: string): Buffer =>
    typed(
      'text/xml',
      `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>${secret}</SecretAccessKey><SessionToken>${token}</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
      `X-Copy: ${secret}`,
    );

  test('become stubs, all three, wherever they stand', async () => {
    const [id, secret, token] = [canary('ASIA'), canary('k'), canary('t')];
    const got = await ask('query.test', xml(id, secret, token));
    for (const part of [id, secret, token]) expectNone(part, got);
    expect(got.reply.body.toString()).toMatch(
      /<AccessKeyId>AKIA[A-Z2-7]{16}<.*<SecretAccessKey>\w{40}<.*<SessionToken>IQoJ/,
    );
    expect(got.reply.body.toString()).toContain(`<SecretAccessKey>${header(got.reply, 'x-copy')}<`);
  });
  test('of which one is known are withheld, or the others would pass', async () => {
    const [secret, token] = [canary('k'), canary('t')];
    const got = await ask('query.test', xml(scene.secret, secret, token));
    expect(header(got.reply, 'stubgate-reason')).toBe('capture_failed');
    for (const part of [scene.secret, secret, token]) expectNone(part, got);
  });
});

test('a WebSocket is not opened where answers are captured', async () => {
  const mark = scene.upstream.mark();
  const got = await ask(TOKEN, OK, {
    head: [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}`,
    ],
  });
  expect(header(got.reply, 'stubgate-reason')).toBe('upgrade_refused');
  expect(scene.upstream.since(mark)).toBe('');
});

describe('an answer that is still coming', () => {
  /** Sends a part, and the rest once that is asked for. */
  const slow = (value: string): { answer: Answer; started: Promise<void>; go: () => void } => {
    let go = (): void => {};
    let begun = (): void => {};
    const started = new Promise<void>(resolve => (begun = resolve));
    const gone = new Promise<void>(resolve => (go = resolve));
    const answer = async (peer: Peer): Promise<void> => {
      const [part, rest] = [`{"access_token":"${value}`, '"}'];
      await peer.send(
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${part.length + rest.length}\r\n\r\n${part}`,
      );
      begun();
      await gone;
      await peer.send(rest);
    };
    return { answer, started, go };
  };

  test('gives nothing, and no stub, to a session that ended meanwhile', async () => {
    const value = canary('gho_');
    const session = await scene.gate.session();
    const lines = scene.gate.auditText().split('\n').length - 1;
    const { answer, started, go } = slow(value);
    scene.upstream.answer = answer;
    const peer = await openTls(session.proxy, scene.gate.ca, TOKEN);
    await peer.send(`GET / HTTP/1.1\r\nHost: ${TOKEN}\r\n\r\n`);
    await started;
    await scene.gate.revoke(session.id);
    go();
    await peer.end();
    const [line] = (await scene.gate.audit(lines + 1)).slice(lines);
    expect(line?.captured).toBeUndefined();
    expect(readings(peer.received, value)).toEqual([]);
  });

  test('gives nothing to a session that raised an alarm meanwhile, though its tunnels are still open', async () => {
    const upstream = await startRecorder({ hosts: HOSTS });
    const gate = await startTestGate({
      captured: { user: 'github-oauth' },
      rules: [
        {
          name: 'token',
          hosts: [TOKEN],
          capture: [{ credential: 'user', at: 'json', pointer: '/access_token' }],
        },
      ],
      config: {
        alarms: { on_alarm: 'revoke' },
        upstream: {
          ca_file: (await testCa()).file,
          resolve: Object.fromEntries(HOSTS.map(host => [host, upstream.address])),
        },
      },
    });
    onTestFinished(async () => {
      await gate.stop();
      await upstream.close();
    });
    const { proxy } = await gate.session();
    const [peer, other] = [await openTls(proxy, gate.ca, TOKEN), await openTls(proxy, gate.ca, TOKEN)];
    upstream.answer = json(`{"access_token":"${canary('gho_')}"}`);
    await other.send(`GET / HTTP/1.1\r\nHost: ${TOKEN}\r\n\r\n`);
    const [stub = ''] = /gho_\w+/.exec((await readReply(other)).body.toString()) ?? [];
    const value = canary('gho_');
    const { answer, started, go } = slow(value);
    upstream.answer = answer;
    await peer.send(`GET / HTTP/1.1\r\nHost: ${TOKEN}\r\n\r\n`);
    await started;
    await other.send(`GET / HTTP/1.1\r\nHost: ${TOKEN}\r\nX-Note: ${stub}\r\n\r\n`);
    expect(header(await readReply(other), 'stubgate-reason')).toBe('stub_misplaced');
    go();
    await peer.end();
    expect(peer.received.toString()).not.toContain('gho_');
    expect((await gate.audit(3)).filter(({ captured }) => captured)).toHaveLength(1);
    other.cut();
  });

  test('is not waited for if it says that it is too long', async () => {
    const value = canary('gho_');
    const got = await ask(
      TOKEN,
      Buffer.from(
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 262145\r\n\r\n{"access_token":"${value}"`,
      ),
    );
    expect(header(got.reply, 'stubgate-reason')).toBe('capture_failed');
    expect(got.line).toMatchObject({ verdict: 'deny', reason: 'capture_failed' });
    expectNone(value, got);
  });

  test('is given up when its client leaves', async () => {
    const value = canary('gho_');
    const lines = scene.gate.auditText().split('\n').length - 1;
    const { answer, started, go } = slow(value);
    scene.upstream.answer = answer;
    const peer = await openTls(scene.session.proxy, scene.gate.ca, TOKEN);
    await peer.send(`GET / HTTP/1.1\r\nHost: ${TOKEN}\r\n\r\n`);
    await started;
    peer.cut();
    const [line] = (await scene.gate.audit(lines + 1)).slice(lines);
    expect(line).toMatchObject({ verdict: 'allow', status: 0 });
    go();
    expect(peer.received.toString()).toBe('');
    await expectUsableAgain();
  });

  const expectUsableAgain = async (): Promise<void> => {
    const value = canary('gho_');
    const { reply } = await ask(TOKEN, json(`{"access_token":"${value}"}`));
    await expectUsable(
      String((JSON.parse(reply.body.toString()) as Record<string, string>)['access_token']),
      value,
    );
  };
});

test('without any other secret, a compressed answer that began before is searched, too', async () => {
  const upstream = await startRecorder({ hosts: HOSTS });
  const gate = await startTestGate({
    captured: { user: 'github-oauth' },
    rules: [
      {
        name: 'token',
        hosts: [TOKEN],
        capture: [{ credential: 'user', at: 'json', pointer: '/access_token' }],
      },
      { name: 'open', hosts: [OPEN] },
    ],
    config: {
      upstream: {
        ca_file: (await testCa()).file,
        resolve: Object.fromEntries(HOSTS.map(host => [host, upstream.address])),
      },
    },
  });
  onTestFinished(async () => {
    await gate.stop();
    await upstream.close();
  });
  const { proxy } = await gate.session();
  const value = canary('gho_');
  const gzip = createGzip();
  const chunks: Buffer[] = [];
  gzip.on('data', (chunk: Buffer) => chunks.push(chunk));
  const flushed = (): Promise<Buffer> =>
    new Promise(resolve => gzip.flush(() => resolve(Buffer.concat(chunks.splice(0)))));
  let go: (() => Promise<void>) | undefined;
  upstream.answer = async (peer: Peer) => {
    await peer.send('HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n');
    gzip.write('x'.repeat(70_000));
    await peer.send(await flushed());
    await new Promise<void>(done => {
      go = async () => {
        gzip.write(value);
        await peer.send(await flushed());
        const ended = once(gzip, 'end');
        gzip.end();
        await ended;
        await peer.send(Buffer.concat(chunks.splice(0)));
        peer.socket.end();
        done();
      };
    });
  };
  const stream = await openTls(proxy, gate.ca, OPEN);
  await stream.send(`GET / HTTP/1.1\r\nHost: ${OPEN}\r\n\r\n`);
  await stream.until('xxx');
  upstream.answer = json(`{"access_token":"${value}"}`);
  const other = await openTls(proxy, gate.ca, TOKEN);
  await other.send(`GET / HTTP/1.1\r\nHost: ${TOKEN}\r\n\r\n`);
  const { access_token: stub = '' } = JSON.parse((await readReply(other)).body.toString()) as Record<
    string,
    string
  >;
  expect(stub).toMatch(SHAPE);
  await go?.();
  await stream.until(stub);
  expect(readings(stream.received, value)).toEqual([]);
  stream.cut();
  other.cut();
});
