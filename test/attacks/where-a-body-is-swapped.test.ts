import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Reason, REASONS } from '../../src/errors.ts';
import { canary } from '../support/canary.ts';
import { openTls, readReply } from '../support/raw-client.ts';
import { before, type Case, checkAround, fill, message, play, type Text } from './case.ts';
import { OK } from './recorder.ts';
import { openScene, type Scene } from './scene.ts';

const HOST = 'a.wild.test';
const JSON_TYPE = 'application/json';
const FORM_TYPE = 'application/x-www-form-urlencoded';
const LIMIT = 512;
const OK_BODY = { status: 200, body: 'ok' } as const;
const second = canary('second-');

const json = { credential: 'api', as: 'json', pointer: '/auth/client_secret', max_body: `${LIMIT}B` };
const form = { credential: 'api', as: 'form', field: 'client_secret', max_body: `${LIMIT}B` };
const RULES: readonly (readonly [path: string, ...inject: Readonly<Record<string, unknown>>[]])[] = [
  ['/json', json],
  ['/form', form],
  ['/both', json, form],
  ['/required', { ...json, required: true }],
  ['/always', { ...json, when: 'always' }],
  ['/pass', { ...json, foreign: 'pass' }],
  [
    '/two',
    json,
    { credential: 'second', as: 'json', pointer: '/auth/2' },
    { credential: 'api', as: 'bearer' },
  ],
];

let scene: Scene;
let other: string;
beforeAll(async () => {
  scene = await openScene({
    rules: () =>
      RULES.map(([path, ...inject], i) => ({ name: `body${i}`, hosts: [HOST], paths: [path], inject })),
    credentials: { second: { secret: second, env: 'SECOND' } },
  });
  other = (await scene.gate.session()).stubs['API_KEY'] ?? '';
});
afterAll(() => scene.close());

const u = (text: string): string =>
  text
    .split('')
    .map(c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
const percent = (text: string): string =>
  text
    .split('')
    .map(c => `%${c.charCodeAt(0).toString(16)}`)
    .join('');

interface Sent {
  /** Names the rule. */
  path?: string;
  type?: string;
  lines?: readonly string[];
  /** HERE stands for the stub at its place, and STUB for one elsewhere. */
  body: string | Buffer;
  /** How the stub at its place is written. */
  spell?: (stub: string) => string;
}

const bodyOf = (s: Scene, { body }: Sent, here: string): Buffer =>
  Buffer.isBuffer(body) ? body : fill(s, body.replaceAll('HERE', here));
const headOf = (
  s: Scene,
  { path = '/json', type = JSON_TYPE, lines = [] }: Sent,
  framing: string,
): Buffer => {
  const typed = type === '' ? [] : [`Content-Type: ${type}`];
  return fill(s, message([`POST ${path} HTTP/1.1`, `Host: ${HOST}`, ...typed, ...lines, framing]));
};
const chunk = (part: Buffer): Buffer =>
  part.length === 0
    ? part
    : Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]);
const sentBody = (s: Scene, sent: Sent): Buffer => bodyOf(s, sent, (sent.spell ?? String)(s.stub));

const whole =
  (sent: Sent): Text =>
  s => {
    const body = sentBody(s, sent);
    return Buffer.concat([headOf(s, sent, `Content-Length: ${body.length}`), body]);
  };
const chunked =
  (sent: Sent, trailers = ''): Text =>
  s =>
    Buffer.concat([
      headOf(s, sent, 'Transfer-Encoding: chunked'),
      chunk(sentBody(s, sent)),
      Buffer.from(`0\r\n${trailers}\r\n`),
    ]);
/** What the upstream receives: the secret in the place of the stub, and no other byte changed. */
const arrives =
  (sent: Sent, here = 'SECRET'): Text =>
  s => {
    const body = bodyOf(s, sent, here);
    return Buffer.concat([headOf(s, sent, `content-length: ${body.length}`), body]);
  };

const at = (sent: Sent): string =>
  sent.type === FORM_TYPE ? 'form client_secret' : 'json /auth/client_secret';
const swapped = (name: string, sent: Sent, seen = 1): Case => ({
  name,
  host: HOST,
  send: whole(sent),
  ...OK_BODY,
  upstream: arrives(sent),
  audit: {
    stubs_seen: seen,
    injected: [{ credential: 'api', placement: at(sent), version: expect.any(String) as string }],
  },
});
/** `seen`: stubs in the body, where it was received. */
const refused = (name: string, sent: Sent, reason: Reason, seen = 0): Case => ({
  name,
  host: HOST,
  send: whole(sent),
  status: REASONS[reason].status,
  reason,
  audit: { stubs_seen: seen, injected: [] },
});
const passes = (name: string, sent: Sent, seen = 0): Case => ({
  name,
  host: HOST,
  send: whole(sent),
  ...OK_BODY,
  upstream: arrives(sent, 'STUB'),
  audit: { stubs_seen: seen, injected: [] },
});
const named = (cases: readonly Case[]): [string, Case][] => cases.map(c => [c.name, c]);

const PLAIN = '{"auth":{"client_secret":"HERE"}}';
const FORM: Sent = { path: '/form', type: FORM_TYPE, body: 'client_secret=HERE' };

describe('a stub at its place in a body is swapped, and no other byte', () => {
  test.each(
    named([
      swapped('in JSON', { body: PLAIN }),
      swapped('in \\u escapes', { body: '{"auth":{"client_\\u0073ecret":"HERE"}}', spell: u }),
      swapped('partly in \\u escapes', { body: PLAIN, spell: stub => u(stub.slice(0, 9)) + stub.slice(9) }),
      swapped(
        'among odd spaces, numbers and copies that are inert',
        {
          body: ' {"n" : -0.10e+2 ,\t"auth":{"x":"STUB","client_secret"\n:\r"HERE" } ,"\xc3\xa9":"\\/\\u00e9"}\n',
        },
        2,
      ),
      swapped(
        'beside duplicates elsewhere',
        { body: '{"a":1,"a":"STUB","auth":{"client_secret":"HERE"}}' },
        2,
      ),
      swapped('in a vendor’s type', { type: 'application/vnd.api+json; charset=UTF-8', body: PLAIN }),
      swapped('in a form', { ...FORM, body: 'a=+%20&client_secret=HERE&b&=c;d' }),
      swapped(
        'percent-encoded in a form',
        { ...FORM, body: 'client%5Fsecret=HERE&a=STUB', spell: percent },
        2,
      ),
      swapped('in a form where JSON may come too', { ...FORM, path: '/both' }),
      swapped('in JSON where a form may come too', { path: '/both', body: PLAIN }),
      swapped('as required', { path: '/required', body: PLAIN }),
      { ...swapped('in one chunk', { body: PLAIN }), send: chunked({ body: PLAIN }) },
      {
        ...swapped('without the fields that described what was sent', { body: PLAIN, lines: ['X-Y: z'] }),
        send: whole({
          body: PLAIN,
          lines: ['Content-MD5: x', 'Digest: y', 'X-Y: z', 'Content-Digest: z', 'Repr-Digest: z'],
        }),
      },
    ]),
  )('%s', (_, c) => play(scene, c));

  test('together with another, and with one in the head', () =>
    play(scene, {
      name: '',
      host: HOST,
      send: s => {
        const body = fill(s, `{"auth":{"client_secret":"STUB","2":"${s.session.stubs['SECOND']}"}}`);
        return Buffer.concat([
          fill(s, message(TWO.map(line => line.replace('LENGTH', `Content-Length: ${body.length}`)))),
          body,
        ]);
      },
      ...OK_BODY,
      upstream: s => {
        const body = fill(s, `{"auth":{"client_secret":"SECRET","2":"${second}"}}`);
        const lines = TWO.map(line => line.replace('LENGTH', `content-length: ${body.length}`));
        return Buffer.concat([fill(s, message(lines).replace('STUB', 'SECRET')), body]);
      },
      audit: {
        stubs_seen: 3,
        injected: [
          { credential: 'api', placement: 'header authorization', version: expect.any(String) as string },
          { credential: 'api', placement: 'json /auth/client_secret', version: expect.any(String) as string },
          { credential: 'second', placement: 'json /auth/2', version: expect.any(String) as string },
        ],
      },
    }));
  const TWO = [
    'POST /two HTTP/1.1',
    `Host: ${HOST}`,
    'Authorization: Bearer STUB',
    'Content-Type: application/json',
    'LENGTH',
  ];

  test.each([
    ['JSON', { body: '{"auth":{"client_secret":"HERE"},"x":"STUB"}' }],
    ['a form', { ...FORM, body: 'client_secret=HERE&x=STUB' }],
  ] satisfies [string, Sent][])('in %s, split over chunks at every byte', async (_, sent) => {
    const peer = await openTls(scene.session.proxy, scene.gate.ca, HOST);
    const start = before(scene);
    const body = sentBody(scene, sent);
    scene.upstream.answer = OK;
    for (let split = 1; split < body.length; split++) {
      await peer.send(headOf(scene, sent, 'Transfer-Encoding: chunked'));
      await peer.sendSplit(
        Buffer.concat([
          chunk(body.subarray(0, split)),
          chunk(body.subarray(split)),
          Buffer.from('0\r\n\r\n'),
        ]),
        [split + 2],
      );
      expect((await readReply(peer)).status).toBe(200);
    }
    const count = body.length - 1;
    const lines = await scene.gate.audit(start.audit + count);
    expect(lines.slice(start.audit).map(line => line.stubs_seen)).toEqual(Array<number>(count).fill(2));
    const once = fill(scene, arrives(sent)).toString('latin1');
    await checkAround(scene, start, { received: [peer], lines: count, upstream: once.repeat(count) });
    peer.cut();
  });

  test('a byte at a time, each in a chunk of its own', () =>
    play(scene, {
      ...swapped('', { body: PLAIN }),
      send: s => {
        const bytes = [...sentBody(s, { body: PLAIN })].map(byte => chunk(Buffer.from([byte])));
        return Buffer.concat([
          headOf(s, { body: PLAIN }, 'Transfer-Encoding: chunked'),
          ...bytes,
          Buffer.from('0\r\n\r\n'),
        ]);
      },
      splits: Array.from({ length: 100 }, (_, i) => 120 + 3 * i),
    }));
});

describe('a stub in a body where it does not belong is refused at the place, and inert elsewhere', () => {
  test.each(
    named([
      refused('within a longer text', { body: PLAIN, spell: stub => `Bearer ${stub}` }, 'stub_misplaced', 1),
      refused('twice', { body: PLAIN, spell: stub => stub + stub }, 'stub_misplaced', 2),
      refused('in base64', { body: PLAIN, spell: stub => btoa(stub) }, 'stub_misplaced', 1),
      refused('percent-encoded in JSON', { body: PLAIN, spell: percent }, 'stub_misplaced'),
      refused('in a list', { body: '{"auth":{"client_secret":["HERE"]}}' }, 'stub_misplaced', 1),
      refused('in an object', { body: '{"auth":{"client_secret":{"a":"HERE"}}}' }, 'stub_misplaced', 1),
      refused('another session’s', { body: PLAIN, spell: () => other }, 'stub_misplaced', 1),
      refused(
        'encoded twice in a form',
        { ...FORM, spell: stub => percent(percent(stub)) },
        'stub_misplaced',
      ),
      refused('where it is required', { path: '/required', body: '{"x":"HERE"}' }, 'stub_missing', 1),
      refused('where there is no place for it', { path: '/always', body: '["HERE"]' }, 'stub_missing', 1),
      passes('under another name', { body: '{"auth":{"client_secret2":"HERE"}}' }, 1),
      passes('one level up', { body: '{"client_secret":"HERE"}' }, 1),
      passes('one level down', { body: '{"auth":{"a":{"client_secret":"HERE"}}}' }, 1),
      passes('as a name', { body: '{"auth":{"HERE":"client_secret"}}' }, 1),
      passes('in a list on the way', { body: '{"auth":[{"client_secret":"HERE"}]}' }, 1),
      passes('in another field of a form', { ...FORM, body: 'a=client_secret&HERE=client_secret' }, 1),
    ]),
  )('%s', (_, c) => play(scene, c));
});

describe('a body that servers may read in different ways is refused', () => {
  const gzipped = gzipSync(PLAIN);
  test.each(
    named([
      refused(
        'a name twice',
        { body: '{"auth":{"client_secret":"HERE","client_secret":"x"}}' },
        'stub_misplaced',
        1,
      ),
      refused(
        'a name twice, once in escapes',
        { body: '{"auth":{"client_secret":"x","client_\\u0073ecret":"y"}}' },
        'malformed_request',
      ),
      refused(
        'a name twice on the way',
        { body: '{"auth":{"client_secret":"HERE"},"auth":{}}' },
        'stub_misplaced',
        1,
      ),
      refused('a name in another case', { body: '{"auth":{"Client_Secret":"mine"}}' }, 'malformed_request'),
      refused('a field twice', { ...FORM, body: 'client_secret=HERE&client_secret=x' }, 'stub_misplaced', 1),
      refused('a field behind a semicolon', { ...FORM, body: 'a=b;client_secret=mine' }, 'malformed_request'),
      refused('a byte order mark', { body: `\xef\xbb\xbf${PLAIN}` }, 'stub_misplaced', 1),
      refused(
        'what is not UTF-8',
        { body: '{"x":"\xe9","auth":{"client_secret":"HERE"}}' },
        'stub_misplaced',
        1,
      ),
      refused('what is not UTF-8, in a form', { ...FORM, body: 'x=\xff' }, 'malformed_request'),
      refused('a comment', { body: `${PLAIN}//` }, 'stub_misplaced', 1),
      refused('what is not JSON', { body: 'client_secret: mine' }, 'malformed_request'),
      refused(
        'what is not JSON, where the stub is required',
        { path: '/required', body: '{' },
        'stub_missing',
      ),
      refused('nothing, in one chunk too many', { body: ' ' }, 'malformed_request'),
      refused('another type', { type: 'text/plain', body: PLAIN }, 'malformed_request'),
      refused('no type', { type: '', body: PLAIN }, 'malformed_request'),
      refused(
        'multipart',
        { ...FORM, type: 'multipart/form-data; boundary=b', body: '--b--' },
        'malformed_request',
      ),
      refused(
        'a form where JSON is meant',
        { type: FORM_TYPE, body: 'client_secret=HERE' },
        'malformed_request',
      ),
      refused(
        'another charset',
        { type: 'application/json; charset=utf-16', body: PLAIN },
        'malformed_request',
      ),
      refused('a compressed one', { lines: ['Content-Encoding: gzip'], body: gzipped }, 'malformed_request'),
      refused(
        'a compressed one, where the stub is required',
        { path: '/required', lines: ['Content-Encoding: gzip'], body: gzipped },
        'stub_missing',
      ),
      refused(
        'a compressed one, where a credential is always set',
        { path: '/always', lines: ['Content-Encoding: br'], body: gzipped },
        'malformed_request',
      ),
    ]),
  )('%s', (_, c) => play(scene, c));

  test.each(
    named([
      refused('not with a stub in it', { path: '/pass', body: `${PLAIN}//` }, 'stub_misplaced', 1),
      passes('what is not JSON', { path: '/pass', body: 'client_secret: mine' }),
      passes(
        'another type, which flows unread',
        { path: '/pass', type: 'text/plain', body: `STUB${'x'.repeat(2 * LIMIT)}` },
        1,
      ),
      passes('a compressed one', { path: '/pass', lines: ['Content-Encoding: gzip'], body: gzipped }),
      passes('a foreign credential', { path: '/pass', body: '{"auth":{"client_secret":"mine"}}' }),
    ]),
  )('unless the rule lets anything pass: %s', (_, c) => play(scene, c));
});

describe('a credential that is not the session’s stub', () => {
  const known = (s: Scene): Promise<void> => play(s, { ...swapped('known', { body: PLAIN }), host: HOST });
  test.each(
    named([
      refused('is refused in JSON', { body: '{"auth":{"client_secret":"mine"}}' }, 'foreign_credential'),
      refused('is refused in a form', { ...FORM, body: 'client_secret=mine' }, 'foreign_credential'),
      refused('is refused as null', { body: '{"auth":{"client_secret":null}}' }, 'foreign_credential'),
      {
        ...swapped('is overwritten', { path: '/always', body: PLAIN }, 0),
        send: whole({ path: '/always', body: '{"auth":{"client_secret":["mine"]}}' }),
      },
      {
        ...swapped('is added', { path: '/always', body: '{"auth":{"a":1,"client_secret":"HERE"}}' }, 0),
        send: whole({ path: '/always', body: '{"auth":{"a":1}}' }),
      },
    ]),
  )('%s', (_, c) => play(scene, c));

  test.each(
    named([
      refused('anywhere in the body', { body: '{"x":"SECRET"}' }, 'secret_in_request'),
      refused('at the place', { body: '{"auth":{"client_secret":"SECRET"}}' }, 'secret_in_request'),
      refused('in a body that cannot be read', { body: 'SECRET' }, 'secret_in_request'),
      refused(
        'beside the stub, in escapes',
        { body: '{"auth":{"client_secret":"STUB","x":"SECRET"}}' },
        'secret_in_request',
        1,
      ),
    ]),
  )('is an alarm if it is the real one: %s', async (_, c) => {
    await known(scene);
    await play(scene, c);
    expect(
      scene.gate.logs.some(({ message: told, fields }) => told === 'alarm' && fields['code'] === c.reason),
    ).toBe(true);
  });
});

describe('how a body is received', () => {
  const large = '{"x":"'.padEnd(LIMIT, 'x').concat('"}');

  test.each(
    named([
      refused('not past the limit', { body: large }, 'body_too_large'),
      {
        ...refused('not past the limit, in chunks', { body: large }, 'body_too_large'),
        send: chunked({ body: large }),
      },
      {
        ...refused('not past the limit, however much is announced', { body: '' }, 'body_too_large'),
        send: s => headOf(s, { body: '' }, 'Content-Length: 99999999999'),
      },
      {
        ...refused('not with trailers', { body: PLAIN }, 'malformed_request'),
        send: chunked({ body: PLAIN }, 'X: y\r\n'),
      },
      {
        ...refused('not in broken chunks', { body: PLAIN }, 'malformed_request'),
        send: s =>
          Buffer.concat([headOf(s, { body: '' }, 'Transfer-Encoding: chunked'), Buffer.from('zz\r\n')]),
      },
      {
        ...passes('nor at all where there is none', { body: '' }),
        send: whole({ body: '' }),
        upstream: arrives({ body: '' }),
      },
      {
        ...refused(
          'nor if it is empty, where a stub is required',
          { path: '/required', body: '' },
          'stub_missing',
        ),
      },
      {
        ...refused(
          'nor if it is empty, where a credential is always set',
          { path: '/always', body: '' },
          'stub_missing',
        ),
      },
      {
        ...passes('empty, in chunks', { ...FORM, body: '' }),
        send: chunked({ ...FORM, body: '' }),
      },
    ]),
  )('%s', (_, c) => play(scene, c));

  test('after 100 Continue, for which the upstream is not asked again', async () => {
    const sent: Sent = { body: PLAIN };
    const start = before(scene);
    const body = sentBody(scene, sent);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, HOST);
    await peer.send(
      headOf(scene, { ...sent, lines: ['Expect: 100-continue'] }, `Content-Length: ${body.length}`),
    );
    expect(await peer.head()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    expect(scene.upstream.since(start.upstream)).toBe('');
    await peer.send(body);
    expect((await readReply(peer)).status).toBe(200);
    await checkAround(scene, start, { received: [peer], lines: 1, upstream: arrives(sent) });
    peer.cut();
  });

  test.each(
    named([
      refused(
        'for a body that is too large',
        { body: large, lines: ['Expect: 100-continue'] },
        'body_too_large',
      ),
      refused(
        'for one that is compressed',
        { body: PLAIN, lines: ['Expect: 100-continue', 'Content-Encoding: gzip'] },
        'malformed_request',
      ),
    ]),
  )('without 100 Continue %s', async (_, c) => {
    const start = before(scene);
    const bytes = fill(scene, c.send);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, HOST);
    await peer.send(bytes.subarray(0, bytes.indexOf('\r\n\r\n') + 4));
    expect(await peer.head()).toContain(`HTTP/1.1 ${c.status} `);
    await peer.end();
    await checkAround(scene, start, { received: [peer], lines: 1 });
  });

  test('not to its end by a client that leaves: one line tells of it', async () => {
    const start = before(scene);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, HOST);
    await peer.send(headOf(scene, { body: PLAIN }, 'Content-Length: 100'));
    await peer.send('{"auth":');
    peer.cut();
    const [line] = (await scene.gate.audit(start.audit + 1)).slice(start.audit);
    expect(line).toMatchObject({ status: 0, injected: [] });
    await checkAround(scene, start, { received: [peer], lines: 1 });
  });
});
