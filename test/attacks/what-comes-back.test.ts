import { once } from 'node:events';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Env, cleanEnv } from '../support/clients.ts';
import type { Peer } from '../support/peer.ts';
import { header, openTls, readReply } from '../support/raw-client.ts';
import { before, type Case, checkAround, fill, message, play, request } from './case.ts';
import type { Answer } from './recorder.ts';
import { openScene, type Scene } from './scene.ts';
import { readings } from './search.ts';

let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
});
afterAll(() => scene.close());

const SENT = request('/x').replace('STUB', 'SECRET');
const latin1 = (bytes: Buffer): string => bytes.toString('latin1');
const chars = (text: string, spell: (code: number) => string): string =>
  text
    .split('')
    .map(c => spell(c.charCodeAt(0)))
    .join('');
const hex2 = (code: number): string => code.toString(16).padStart(2, '0');
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const base64url = (text: string): string => Buffer.from(text, 'latin1').toString('base64url');

type Spell = (text: string) => string;
/** What the sandbox is to read instead of a spelled secret: the stub in the same spelling, or plain. */
type Instead = 'same' | 'plain' | 'any';
const SPELLINGS: readonly (readonly [name: string, spell: Spell, instead: Instead])[] = [
  ['as it is', text => text, 'plain'],
  ['in hex', text => Buffer.from(text).toString('hex'), 'same'],
  ['in HEX', text => Buffer.from(text).toString('hex').toUpperCase(), 'same'],
  ['in base64', base64, 'any'],
  ['in base64 behind one byte', text => base64(`a${text}`), 'any'],
  ['in base64 behind two bytes', text => base64(`ab${text}`), 'any'],
  ['in base64 before other text', text => base64(`{"a":"${text}"}`), 'any'],
  ['in base64url', base64url, 'any'],
  ['in base64url behind one byte', text => base64url(`\xff${text}\xff`), 'any'],
  ['as a Basic credential', text => `Basic ${base64(`x-access-token:${text}`)}`, 'any'],
  ['percent-encoded', text => chars(text, code => `%${hex2(code)}`), 'plain'],
  ['PERCENT-ENCODED', text => chars(text, code => `%${hex2(code).toUpperCase()}`), 'plain'],
  ['partly percent-encoded', text => text.replace(/[aeiou-]/g, c => `%${hex2(c.charCodeAt(0))}`), 'plain'],
  ['percent-encoded twice', text => chars(text, code => `%25${hex2(code)}`), 'plain'],
  ['in JSON escapes', text => chars(text, code => `\\u00${hex2(code)}`), 'plain'],
  ['partly in JSON escapes', text => text.replace(/[0-9-]/g, c => `\\u00${hex2(c.charCodeAt(0))}`), 'plain'],
  ['in JSON inside JSON', text => chars(text, code => `\\\\u00${hex2(code)}`), 'any'],
  ['in JavaScript escapes', text => chars(text, code => `\\x${hex2(code)}`), 'plain'],
  ['in decimal HTML entities', text => chars(text, code => `&#${code};`), 'plain'],
  ['in hexadecimal HTML entities', text => chars(text, code => `&#x${hex2(code)};`), 'plain'],
  ['in HTML entities with zeros', text => chars(text, code => `&#00${code};`), 'plain'],
  ['in UTF-16LE', text => latin1(Buffer.from(text, 'utf16le')), 'same'],
  ['in UTF-16BE', text => latin1(Buffer.from(text, 'utf16le').swap16()), 'same'],
  ['twice', text => `${text} ${text}`, 'plain'],
  ['twice without a gap', text => text + text, 'plain'],
];

/** How a body is framed: with what is to be sent instead of `body` and whether the end is the connection's. */
type Frame = (head: readonly string[], body: Buffer) => Answer;
const withLength: Frame = (head, body) =>
  Buffer.concat([Buffer.from(message(['HTTP/1.1 200 OK', ...head, `Content-Length: ${body.length}`])), body]);
const chunk = (part: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]);
const LAST_CHUNK = Buffer.from('0\r\n\r\n');
const chunked: Frame = (head, body) => {
  const half = body.length >> 1;
  const parts = [body.subarray(0, half), body.subarray(half)].map(chunk);
  return [message(['HTTP/1.1 200 OK', ...head, 'Transfer-Encoding: chunked']), ...parts, LAST_CHUNK];
};
const untilClose: Frame = (head, body) => async (peer: Peer) => {
  await peer.send(message(['HTTP/1.1 200 OK', ...head]));
  await peer.send(body);
  peer.finish();
};
const FRAMES: readonly (readonly [name: string, frame: Frame])[] = [
  ['with its length', withLength],
  ['in chunks', chunked],
  ['until the end', untilClose],
];

describe.each(FRAMES)('a secret in a body %s', (_, frame) => {
  test.each(SPELLINGS)('%s', async (name, spell, instead) => {
    const body = (text: string): Buffer => Buffer.from(`<p>${spell(text)}</p>`, 'latin1');
    await play(scene, {
      name,
      send: request('/x'),
      answers: s => frame(['Content-Type: text/plain'], body(s.secret)),
      status: 200,
      headers: [['content-type', 'text/plain']],
      ...(instead === 'any'
        ? {}
        : { body: (s: Scene) => (instead === 'same' ? body(s.stub) : plainly(name, s.stub)) }),
      upstream: SENT,
    });
    const [line] = (await scene.gate.audit(1)).slice(-2);
    expect(line?.scrubbed).toBeGreaterThan(0);
  });
});

function plainly(name: string, stub: string): Buffer {
  const text = name === 'twice' ? `${stub} ${stub}` : name === 'twice without a gap' ? stub + stub : stub;
  return Buffer.from(`<p>${text}</p>`, 'latin1');
}

describe('a secret outside the body', () => {
  const OK_LENGTH = 'Content-Length: 2';
  type Place = readonly [name: string, answer: (text: string) => string, see: (s: Scene) => Partial<Case>];
  const places: readonly Place[] = [
    [
      'a header',
      text => message(['HTTP/1.1 200 OK', `X-Echo: a ${text} b`, OK_LENGTH], 'ok'),
      s => ({ headers: [['x-echo', `a ${s.stub} b`]] }),
    ],
    [
      'the name of a header',
      text => message(['HTTP/1.1 200 OK', `${text}: a`, OK_LENGTH], 'ok'),
      s => ({ headers: [[s.stub.toLowerCase(), 'a']] }),
    ],
    ['the status text', text => message([`HTTP/1.1 200 Hello ${text}`, OK_LENGTH], 'ok'), () => ({})],
    [
      'Location',
      text => message(['HTTP/1.1 302 Found', `Location: https://evil.test/?t=${text}`, OK_LENGTH], 'ok'),
      s => ({ status: 302, headers: [['location', `https://evil.test/?t=${s.stub}`]] }),
    ],
    [
      'Set-Cookie',
      text => message(['HTTP/1.1 200 OK', `Set-Cookie: t=${text}; Secure`, OK_LENGTH], 'ok'),
      s => ({ headers: [['set-cookie', `t=${s.stub}; Secure`]] }),
    ],
    [
      'ETag',
      text => message(['HTTP/1.1 200 OK', `ETag: "${text}"`, OK_LENGTH], 'ok'),
      s => ({ headers: [['etag', `"${s.stub}"`]] }),
    ],
    [
      'ETag of a 304',
      text => message(['HTTP/1.1 304 Not Modified', `ETag: "${text}"`]),
      s => ({ status: 304, body: '', headers: [['etag', `"${s.stub}"`]] }),
    ],
    [
      'WWW-Authenticate',
      text => message(['HTTP/1.1 403 No', `WWW-Authenticate: Bearer error="${text}"`, OK_LENGTH], 'ok'),
      s => ({ status: 403, headers: [['www-authenticate', `Bearer error="${s.stub}"`]] }),
    ],
    [
      'Content-Disposition',
      text =>
        message(
          ['HTTP/1.1 200 OK', `Content-Disposition: inline; filename*=UTF-8''${text}`, OK_LENGTH],
          'ok',
        ),
      s => ({ headers: [['content-disposition', `inline; filename*=UTF-8''${s.stub}`]] }),
    ],
    [
      'an error',
      text => message(['HTTP/1.1 500 Oops', 'Content-Length: 57'], `bad token ${text}`.padEnd(57)),
      () => ({ status: 500 }),
    ],
    [
      '103 Early Hints',
      text =>
        message(['HTTP/1.1 103 Early Hints', `Link: </${text}>`]) +
        message(['HTTP/1.1 200 OK', OK_LENGTH], 'ok'),
      () => ({}),
    ],
    [
      'the status text of 103',
      text => message([`HTTP/1.1 103 ${text}`]) + message(['HTTP/1.1 200 OK', OK_LENGTH], 'ok'),
      () => ({}),
    ],
    [
      '100 Continue',
      text =>
        message(['HTTP/1.1 100 Continue', `X-Echo: ${text}`]) + message(['HTTP/1.1 200 OK', OK_LENGTH], 'ok'),
      () => ({}),
    ],
    [
      'a trailer',
      text =>
        message(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'], `2\r\nok\r\n0\r\nX-Echo: ${text}\r\n\r\n`),
      () => ({}),
    ],
    [
      'the name of a trailer',
      text =>
        message(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'], `2\r\nok\r\n0\r\n${text}: a\r\n\r\n`),
      () => ({}),
    ],
    [
      'a header named by Connection',
      text => message(['HTTP/1.1 200 OK', 'Connection: x-echo', `X-Echo: ${text}`, OK_LENGTH], 'ok'),
      () => ({ headers: [['x-echo', undefined]] }),
    ],
    [
      'Keep-Alive',
      text => message(['HTTP/1.1 200 OK', `Keep-Alive: ${text}`, OK_LENGTH], 'ok'),
      () => ({ headers: [['keep-alive', undefined]] }),
    ],
    [
      'Trailer',
      text => message(['HTTP/1.1 200 OK', `Trailer: ${text}`, OK_LENGTH], 'ok'),
      () => ({ headers: [['trailer', undefined]] }),
    ],
    ['Connection', text => message(['HTTP/1.1 200 OK', `Connection: ${text}`, OK_LENGTH], 'ok'), () => ({})],
    [
      'Upgrade',
      text => message(['HTTP/1.1 200 OK', `Upgrade: ${text}`, OK_LENGTH], 'ok'),
      () => ({ headers: [['upgrade', undefined]] }),
    ],
    [
      'Sec-WebSocket-Protocol',
      text => message(['HTTP/1.1 200 OK', `Sec-WebSocket-Protocol: ${text}`, OK_LENGTH], 'ok'),
      s => ({ headers: [['sec-websocket-protocol', s.stub]] }),
    ],
    [
      'what is refused: an unknown coding',
      text => message(['HTTP/1.1 200 OK', `Content-Encoding: ${text}`, OK_LENGTH], 'ok'),
      () => ({ status: 502, reason: 'undecodable_response' }),
    ],
    [
      'what is refused: a bad status line',
      text => message([`HTTP/9 ${text}`, OK_LENGTH], 'ok'),
      () => ({ status: 502, reason: 'upstream_malformed' }),
    ],
    [
      'what is refused: a bad length',
      text => message(['HTTP/1.1 200 OK', `Content-Length: ${text}`]),
      () => ({ status: 502, reason: 'upstream_malformed' }),
    ],
    [
      'what is refused: a bad header',
      text => message(['HTTP/1.1 200 OK', `X y: ${text}`]),
      () => ({ status: 502, reason: 'upstream_malformed' }),
    ],
    [
      'what is refused: a bad transfer coding',
      text => message(['HTTP/1.1 200 OK', `Transfer-Encoding: ${text}`]),
      () => ({ status: 502, reason: 'upstream_malformed' }),
    ],
  ];
  test.each(places)('in %s', async (name, answer, see) => {
    await play(scene, {
      name,
      send: request('/x'),
      status: 200,
      answers: s => answer(s.secret),
      ...see(scene),
      upstream: SENT,
    });
  });

  test.each(SPELLINGS.filter(([name]) => !name.includes('UTF-16')))(
    'in a header, %s',
    async (name, spell) => {
      await play(scene, {
        name,
        send: request('/x'),
        status: 200,
        answers: s => message(['HTTP/1.1 200 OK', `X-Echo: ${spell(s.secret)}`, OK_LENGTH], 'ok'),
        upstream: SENT,
      });
    },
  );

  test('in the head of an answer to HEAD', async () => {
    await play(scene, {
      name: '',
      send: request('/x', [], 'HEAD'),
      methods: ['HEAD'],
      answers: s =>
        message([
          'HTTP/1.1 200 OK',
          `X-Echo: ${s.secret}`,
          `ETag: ${base64(s.secret)}`,
          'Content-Length: 1000',
        ]),
      status: 200,
      body: '',
      headers: [
        ['x-echo', s => s.stub],
        ['content-length', '1000'],
      ],
      upstream: SENT.replace('GET', 'HEAD'),
    });
  });

  test('to a client of HTTP/1.0, which gets neither chunks nor trailers nor interim answers', async () => {
    await play(scene, {
      name: '',
      send: request('/x').replace('HTTP/1.1', 'HTTP/1.0'),
      answers: s => [
        message(['HTTP/1.1 103 Early Hints', `Link: ${s.secret}`]),
        message(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked']),
        chunk(Buffer.from(s.secret)),
        `0\r\nX-Echo: ${s.secret}\r\n\r\n`,
      ],
      status: 200,
      body: s => s.stub,
      headers: [
        ['transfer-encoding', undefined],
        ['connection', 'close'],
      ],
      upstream: SENT,
    });
  });

  test('that is Basic as it was sent', async () => {
    const pair = (token: string): string => base64(`me:${token}`);
    const get = (token: string): string =>
      message(['GET /x HTTP/1.1', 'Host: basic.test', `Authorization: Basic ${pair(token)}`]);
    await play(scene, {
      name: '',
      host: 'basic.test',
      send: s => get(s.stub),
      answers: s =>
        message(
          ['HTTP/1.1 200 OK', `X-Echo: Basic ${pair(s.secret)}`, `Content-Length: ${pair(s.secret).length}`],
          pair(s.secret),
        ),
      status: 200,
      upstream: s => get(s.secret),
    });
  });

  test('on a host that injects nothing', async () => {
    const get = message(['GET /x HTTP/1.1', 'Host: open.test']);
    await play(scene, {
      name: '',
      host: 'open.test',
      send: get,
      answers: s => withLength([], Buffer.from(s.secret)),
      status: 200,
      body: s => s.stub,
      upstream: get,
    });
  });
});

type Code = (body: Buffer) => Buffer;
const CODINGS: readonly (readonly [name: string, coding: string, encode: Code])[] = [
  ['gzip', 'gzip', gzipSync],
  ['x-gzip in capitals', 'X-GZIP', gzipSync],
  ['deflate', 'deflate', deflateSync],
  ['raw deflate', 'deflate', deflateRawSync],
  ['br', 'br', brotliCompressSync],
  ['zstd', 'zstd', zstdCompressSync],
  ['identity', 'identity', body => body],
  [
    'two members of gzip',
    'gzip',
    body => Buffer.concat([gzipSync(body.subarray(0, 5)), gzipSync(body.subarray(5))]),
  ],
  ['gzip in gzip', 'gzip, gzip', body => gzipSync(gzipSync(body))],
  ['gzip in br', 'gzip, br', body => brotliCompressSync(gzipSync(body))],
  ['deflate in gzip in zstd', 'deflate, gzip, zstd', body => zstdCompressSync(gzipSync(deflateSync(body)))],
];

describe.each(FRAMES)('a coded body %s', (frameName, frame) => {
  test.each(CODINGS)('%s', async (name, coding, encode) => {
    await play(scene, {
      name: `${frameName} ${name}`,
      send: request('/x', ['Accept-Encoding: gzip, deflate, br, zstd']),
      answers: s =>
        frame(
          [`Content-Encoding: ${coding}`, 'Content-MD5: x'],
          encode(Buffer.from(`you sent ${s.secret}!`)),
        ),
      status: 200,
      body: s => `you sent ${s.stub}!`,
      headers:
        coding === 'identity'
          ? []
          : [
              ['content-encoding', undefined],
              ['content-md5', undefined],
            ],
      upstream: request('/x', ['Accept-Encoding: gzip, deflate, br, zstd']).replace('STUB', 'SECRET'),
    });
  });
});

describe('a body that cannot be read is withheld', () => {
  const text = 'you sent SECRET, and more of it to fill a block';
  const withheld: readonly (readonly [name: string, coding: string, encode: Code])[] = [
    ['an unknown coding', 'sdch', body => body],
    ['compress', 'compress', body => body],
    ['a dictionary coding', 'dcb', body => body],
    ['four codings', 'gzip, gzip, gzip, gzip', body => gzipSync(gzipSync(gzipSync(gzipSync(body))))],
    ['a coding with a parameter', 'gzip;q=1', gzipSync],
    ['an empty member of a list', 'gzip,,', gzipSync],
    ['gzip that is none', 'gzip', body => body],
    ['br that is gzip', 'br', gzipSync],
    ['zstd that is br', 'zstd', brotliCompressSync],
    ['deflate that is plain', 'deflate', body => body],
    ['gzip twice that is once', 'gzip, gzip', gzipSync],
    ['gzip with plain text behind', 'gzip', body => Buffer.concat([gzipSync('hello'), body])],
    ['zstd with plain text behind', 'zstd', body => Buffer.concat([zstdCompressSync('hello'), body])],
  ];
  test.each(withheld)('%s', async (name, coding, encode) => {
    await play(scene, {
      name,
      send: request('/x'),
      answers: s => withLength([`Content-Encoding: ${coding}`], encode(fill(s, text))),
      status: 502,
      reason: 'undecodable_response',
      upstream: SENT,
    });
  });

  /** What was readable is out already: the rest is withheld by a break. */
  const broken: readonly (readonly [name: string, coding: string, encode: Code])[] = [
    ['deflate with plain text behind', 'deflate', body => Buffer.concat([deflateSync('hello'), body])],
    ['br with plain text behind', 'br', body => Buffer.concat([brotliCompressSync('hello'), body])],
    ['gzip without its end', 'gzip', body => gzipSync(body).subarray(0, -6)],
  ];
  test.each(broken)('%s: broken off', async (name, coding, encode) => {
    await play(scene, {
      name,
      send: request('/x'),
      answers: s => withLength([`Content-Encoding: ${coding}`], encode(fill(s, text))),
      status: 200,
      cut: true,
      upstream: SENT,
    });
  });

  test('a body that yields much passes in bounded memory, searched to its end', async () => {
    const size = 24 * 1024 * 1024;
    const start = before(scene);
    scene.upstream.answer = withLength(
      ['Content-Encoding: gzip'],
      gzipSync(Buffer.concat([Buffer.alloc(size, 'x'), Buffer.from(scene.secret)])),
    );
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    const heap = process.memoryUsage().rss;
    await peer.send(fill(scene, request('/x')));
    await peer.head();
    let received = 0;
    let tail = Buffer.alloc(0);
    peer.socket.removeAllListeners('data');
    await new Promise<void>(resolve => {
      peer.socket.on('data', (part: Buffer) => {
        received += part.length;
        tail = Buffer.concat([tail, part]).subarray(-200);
        if (latin1(tail).endsWith('0\r\n\r\n')) resolve();
      });
      peer.socket.resume();
    });
    expect(received).toBeGreaterThan(size - 4 * 1024 * 1024);
    expect(process.memoryUsage().rss - heap).toBeLessThan(size);
    expect(latin1(tail)).toContain(scene.stub);
    await checkAround(scene, start, { received: [tail], lines: 1, upstream: SENT });
    peer.cut();
  });

  test.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
  ] as const)('a bomb in %s is cut', async (coding, encode) => {
    const size = 96 * 1024 * 1024;
    const start = before(scene);
    scene.upstream.answer = withLength([`Content-Encoding: ${coding}`], encode(Buffer.alloc(size)));
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    await peer.send(fill(scene, request('/x')));
    const head = await peer.head();
    let received = 0;
    let tail = Buffer.alloc(0);
    peer.socket.removeAllListeners('data');
    peer.socket.on('data', (part: Buffer) => {
      received += part.length;
      tail = Buffer.concat([tail, part]).subarray(-200);
    });
    peer.socket.resume();
    await once(peer.socket, 'close');
    expect(head).toContain(' 200 ');
    expect(received).toBeLessThan(size / 2);
    expect(latin1(tail)).not.toContain('0\r\n\r\n');
    await checkAround(scene, start, { received: [tail], lines: 1, upstream: SENT });
  });
});

describe('wherever a secret is split', () => {
  const every: [name: string, body: (s: Scene) => Buffer, coding?: string][] = [
    ['as it is', s => Buffer.from(`<${s.secret}>`)],
    ['in base64', s => Buffer.from(`<${base64(`a${s.secret}`)}>`)],
    ['in hex', s => Buffer.from(`<${Buffer.from(s.secret).toString('hex')}>`)],
    ['in JSON escapes', s => Buffer.from(`<${chars(s.secret, code => `\\u00${hex2(code)}`)}>`)],
    ['percent-encoded', s => Buffer.from(`<${chars(s.secret, code => `%${hex2(code)}`)}>`)],
    ['in HTML entities', s => Buffer.from(`<${chars(s.secret, code => `&#${code};`)}>`)],
    ['in UTF-16', s => Buffer.from(`<${s.secret}>`, 'utf16le')],
    ['in gzip', s => gzipSync(`<${s.secret}>`), 'gzip'],
    ['in br', s => brotliCompressSync(`<${s.secret}>`), 'br'],
    ['in zstd', s => zstdCompressSync(`<${s.secret}>`), 'zstd'],
  ];
  for (const framing of ['chunks', 'TLS records']) {
    test.each(every)(`%s, over ${framing}`, async (_, make, coding) => {
      const start = before(scene);
      const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
      const body = make(scene);
      const head = coding === undefined ? [] : [`Content-Encoding: ${coding}`];
      for (let at = 1; at < body.length; at++) {
        const parts = [body.subarray(0, at), body.subarray(at)];
        scene.upstream.answer =
          framing === 'chunks'
            ? [
                message(['HTTP/1.1 200 OK', ...head, 'Transfer-Encoding: chunked']),
                ...parts.map(chunk),
                LAST_CHUNK,
              ]
            : [message(['HTTP/1.1 200 OK', ...head, `Content-Length: ${body.length}`]), ...parts];
        await peer.send(fill(scene, request('/x')));
        const reply = await readReply(peer);
        expect(reply.status).toBe(200);
        expect(readings(reply.body, scene.secret), `at ${at}`).toEqual([]);
      }
      await checkAround(scene, start, { received: [peer], lines: body.length - 1, upstream: /^/ });
      peer.cut();
    });
  }

  test('one byte in each chunk', async () => {
    await play(scene, {
      name: '',
      send: request('/x'),
      answers: s => [
        message(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked']),
        ...`<${s.secret}>`.split('').map(c => chunk(Buffer.from(c))),
        LAST_CHUNK,
      ],
      status: 200,
      body: s => `<${s.stub}>`,
      upstream: SENT,
    });
  });

  test('over the events of a stream, which goes on streaming', async () => {
    const start = before(scene);
    const next: (() => void)[] = [];
    scene.upstream.answer = async (up: Peer) => {
      await up.send(
        message(['HTTP/1.1 200 OK', 'Content-Type: text/event-stream', 'Transfer-Encoding: chunked']),
      );
      await up.send(chunk(Buffer.from('data: one\n\n')));
      await new Promise<void>(resolve => next.push(resolve));
      const { secret } = scene;
      for (const part of [`data: ${secret.slice(0, 20)}`, `${secret.slice(20)}\n\n`, `data: ${secret}\n\n`]) {
        await up.send(chunk(Buffer.from(part)));
      }
      await up.send(LAST_CHUNK);
    };
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
    await peer.send(fill(scene, request('/x')));
    await peer.until('data: one\n\n');
    next[0]?.();
    await peer.until('0\r\n\r\n');
    expect(latin1(peer.received).split(scene.stub)).toHaveLength(3);
    await checkAround(scene, start, { received: [peer], lines: 1, upstream: SENT, audit: { scrubbed: 2 } });
    peer.cut();
  });

  test('over a body that breaks in the middle: half a secret at most', async () => {
    await play(scene, {
      name: '',
      send: request('/x'),
      answers: s => async (peer: Peer) => {
        await peer.send(
          message(
            ['HTTP/1.1 200 OK', 'Content-Length: 1000'],
            `abc ${s.secret} def ${s.secret.slice(0, 20)}`,
          ),
        );
        peer.cut();
      },
      status: 200,
      cut: true,
      upstream: SENT,
    });
  });
});

describe('several secrets', () => {
  const second = 'second-secret-of-the-session-0123456789';
  test('every one of the session’s is taken out, whichever was injected; while the first is still read, too', async () => {
    const both = await openScene({
      rules: () => [
        { name: 'two', hosts: ['a.b.wild.test'], inject: [{ credential: 'second', as: 'bearer' }] },
      ],
      credentials: { second: { secret: second, env: 'SECOND' } },
    });
    const get = (): Promise<Buffer> => ask(both);
    both.upstream.answer = withLength([], Buffer.from(`${both.secret} ${second}`));
    // All at once, on a gate that has read neither.
    const bodies = await Promise.all([get(), get(), get(), get()]);
    for (const body of bodies) {
      expect(body.toString()).toBe(`${both.stub} ${both.session.stubs['SECOND'] ?? ''}`);
    }
    await both.close();
  });

  async function ask(s: Scene): Promise<Buffer> {
    const peer = await openTls(s.session.proxy, s.gate.ca, 'open.test');
    await peer.send(message(['GET /x HTTP/1.1', 'Host: open.test']));
    const { body } = await readReply(peer);
    peer.cut();
    return body;
  }
});

test('the gate’s environment for a sandbox holds stubs and no secret', () => {
  const env: Env = cleanEnv(scene.session.env);
  expect(readings(JSON.stringify(env), scene.secret)).toEqual([]);
  expect(env['API_KEY']).toBe(scene.stub);
});

test('a refusal does not repeat what the upstream said', async () => {
  const start = before(scene);
  scene.upstream.answer = message(
    ['HTTP/1.1 200 OK', `Content-Encoding: ${scene.secret}`, 'Content-Length: 2'],
    'ok',
  );
  const peer = await openTls(scene.session.proxy, scene.gate.ca, 'api.test');
  await peer.send(fill(scene, request('/x')));
  const reply = await readReply(peer);
  expect(header(reply, 'stubgate-reason')).toBe('undecodable_response');
  expect(header(reply, 'content-encoding')).toBeUndefined();
  await checkAround(scene, start, { received: [peer], lines: 1, upstream: SENT });
  peer.cut();
});

describe('what only the gate may say', () => {
  const coded = gzipSync('hello');
  test.each<[string, Answer]>([
    [
      'in an answer',
      withLength(
        ['Stubgate-Reason: no_rule', 'stubgate-reason: x', 'Alt-Svc: h3=":1"'],
        Buffer.from('hello'),
      ),
    ],
    [
      'in a coded answer',
      withLength(['STUBGATE-REASON: no_rule', 'ALT-SVC: clear', 'Content-Encoding: gzip'], coded),
    ],
  ])('is dropped %s', async (name, answer) => {
    await play(scene, {
      name,
      send: request('/x'),
      answer,
      status: 200,
      body: 'hello',
      headers: [
        ['stubgate-reason', undefined],
        ['alt-svc', undefined],
      ],
      upstream: SENT,
    });
  });
});
