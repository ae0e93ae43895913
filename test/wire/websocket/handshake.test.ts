import { describe, expect, test } from 'vitest';
import { CHUNKED, type RequestHead, type ResponseHead } from '../../../src/types.ts';
import { answerFields, checkAnswer, newKey, offerOf } from '../../../src/wire/websocket/handshake.ts';
import { ACCEPT, acceptOf, KEY } from '../../support/websocket.ts';

const FIELDS = [
  'Upgrade',
  'websocket',
  'Connection',
  'Upgrade',
  'Sec-WebSocket-Key',
  KEY,
  'Sec-WebSocket-Version',
  '13',
];

function asked(headers: readonly string[] = FIELDS, more: Partial<RequestHead> = {}): RequestHead {
  const rest = {
    length: 0,
    expectContinue: false,
    keepAlive: false,
    bytes: Buffer.alloc(0),
    text: '',
    starts: [],
  };
  return { method: 'GET', target: '/', minor: 1, headers, ...rest, ...more };
}

const replaced = (name: string, ...values: string[]): string[] => {
  const kept = FIELDS.flatMap((field, i) =>
    i % 2 === 0 && field !== name ? [field, FIELDS[i + 1] as string] : [],
  );
  return [...kept, ...values.flatMap(value => [name, value])];
};

describe('a request', () => {
  test('for a WebSocket is answered to its key', () => {
    expect(offerOf(asked())).toEqual({ accept: ACCEPT, isHttp2: false, protocols: [] });
  });

  test('in HTTP/2 needs no key, and is answered to one that it has', () => {
    const bare = replaced('Sec-WebSocket-Key');
    expect(offerOf(asked(bare), true)).toEqual({ accept: undefined, isHttp2: true, protocols: [] });
    expect(offerOf(asked(), true)?.accept).toBe(ACCEPT);
    for (const key of [['x'], [KEY, KEY]])
      expect(() => offerOf(asked(replaced('Sec-WebSocket-Key', ...key)), true)).toThrow(
        expect.objectContaining({ code: 'malformed_request' }),
      );
    // Nobody asks by an extended CONNECT for what may be ignored in HTTP/1.1.
    expect(() => offerOf(asked(['Upgrade', 'h2c']), true)).toThrow(
      expect.objectContaining({ code: 'upgrade_refused' }),
    );
  });

  test('without an upgrade is none', () => {
    expect(offerOf(asked(['Sec-WebSocket-Key', KEY]))).toBeUndefined();
    expect(offerOf(asked(['Upgrade', 'h2c']))).toBeUndefined();
  });

  test.each([
    [
      'names in another case',
      ['upgrade', 'WebSocket', 'CONNECTION', 'keep-alive, upgrade', ...FIELDS.slice(4)],
    ],
    ['two Connection fields', [...FIELDS, 'Connection', 'keep-alive']],
  ])('with %s is one', (_, fields) => {
    expect(offerOf(asked(fields))?.accept).toBe(ACCEPT);
  });

  test('offers subprotocols in its order', () => {
    const fields = [...FIELDS, 'Sec-WebSocket-Protocol', 'chat.v2, chat', 'sec-websocket-protocol', 'x'];
    expect(offerOf(asked(fields))?.protocols).toEqual(['chat.v2', 'chat', 'x']);
  });

  test.each(['h2', 'websocket, h2c', 'websocket/13', 'h2c, websocket', 'TLS/1.0, x'])(
    'for %s is refused',
    upgrade => {
      expect(() => offerOf(asked(replaced('Upgrade', upgrade)))).toThrow(
        expect.objectContaining({ code: 'upgrade_refused' }),
      );
    },
  );

  test.each<[string, RequestHead, RegExp]>([
    ['POST', asked(FIELDS, { method: 'POST' }), /is GET/],
    ['HTTP/1.0', asked(FIELDS, { minor: 0 }), /HTTP\/1\.1/],
    ['a body', asked(FIELDS, { length: 1 }), /no body/],
    ['a body in chunks', asked(FIELDS, { length: CHUNKED }), /no body/],
    ['Expect', asked(FIELDS, { expectContinue: true }), /no body/],
    ['no Connection', asked(replaced('Connection')), /Connection: Upgrade/],
    [
      'a Connection that says something else',
      asked(replaced('Connection', 'keep-alive')),
      /Connection: Upgrade/,
    ],
    ['no version', asked(replaced('Sec-WebSocket-Version')), /Version: 13/],
    ['an older version', asked(replaced('Sec-WebSocket-Version', '8')), /Version: 13/],
    ['two versions', asked(replaced('Sec-WebSocket-Version', '13', '13')), /Version: 13/],
    ['no key', asked(replaced('Sec-WebSocket-Key')), /one Sec-WebSocket-Key/],
    ['two keys', asked(replaced('Sec-WebSocket-Key', KEY, KEY)), /one Sec-WebSocket-Key/],
    [
      'a key of 15 bytes',
      asked(replaced('Sec-WebSocket-Key', Buffer.alloc(15).toString('base64'))),
      /16 bytes/,
    ],
    [
      'a key of 17 bytes',
      asked(replaced('Sec-WebSocket-Key', Buffer.alloc(17).toString('base64'))),
      /16 bytes/,
    ],
    ['a key with loose bits', asked(replaced('Sec-WebSocket-Key', `${KEY.slice(0, 21)}R==`)), /16 bytes/],
    ['a key in base64url', asked(replaced('Sec-WebSocket-Key', `${'_'.repeat(21)}w==`)), /16 bytes/],
    ['a subprotocol that is no token', asked([...FIELDS, 'Sec-WebSocket-Protocol', 'a b']), /tokens/],
    ['an empty subprotocol', asked([...FIELDS, 'Sec-WebSocket-Protocol', 'a,,b']), /tokens/],
  ])('with %s is refused', (_, head, message) => {
    expect(() => offerOf(head)).toThrow(
      expect.objectContaining({
        code: 'malformed_request',
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});

test('a key is 16 random bytes', () => {
  expect(Buffer.from(newKey(), 'base64')).toHaveLength(16);
  expect(newKey()).not.toBe(newKey());
});

describe('an answer', () => {
  const key = newKey();
  const good = ['Upgrade', 'WebSocket', 'Connection', 'upgrade', 'Sec-WebSocket-Accept', acceptOf(key)];
  const head = (headers: readonly string[]): ResponseHead => {
    const rest = { bytes: Buffer.alloc(0), text: '', starts: [] };
    return { status: 101, reason: '', headers, length: 0, ...rest };
  };

  test('to our key is taken', () => {
    expect(() => checkAnswer(head(good), key)).not.toThrow();
  });

  test.each([
    ['no Upgrade', good.slice(2)],
    ['another protocol', ['Upgrade', 'h2c', ...good.slice(2)]],
    ['two protocols', [...good, 'Upgrade', 'websocket']],
    ['no Connection', [...good.slice(0, 2), ...good.slice(4)]],
    ['no accept', good.slice(0, 4)],
    ['the accept of another key', [...good.slice(0, 5), ACCEPT]],
    ['two accepts', [...good, 'Sec-WebSocket-Accept', acceptOf(key)]],
    ['an extension', [...good, 'Sec-WebSocket-Extensions', 'permessage-deflate']],
    ['an empty extension', [...good, 'Sec-WebSocket-Extensions', '']],
  ])('with %s is refused', (_, fields) => {
    expect(() => checkAnswer(head(fields), key)).toThrow(
      expect.objectContaining({ code: 'upstream_malformed' }),
    );
  });

  const offer = { accept: ACCEPT, isHttp2: false, protocols: ['chat', 'x'] };

  test('goes on with the accept of the client’s key, and without the fields of the other leg', () => {
    const fields = [...good, 'Sec-WebSocket-Protocol', 'x', 'Set-Cookie', 'a=b', 'Keep-Alive', '5'];
    expect(answerFields(fields, offer)).toEqual([
      'Set-Cookie',
      'a=b',
      'Upgrade',
      'websocket',
      'Connection',
      'Upgrade',
      'Sec-WebSocket-Accept',
      ACCEPT,
      'Sec-WebSocket-Protocol',
      'x',
    ]);
  });

  test.each([['y'], ['Chat'], ['chat, x'], ['']])(
    'with the subprotocol %j, not offered, is refused',
    protocol => {
      expect(() => answerFields([...good, 'Sec-WebSocket-Protocol', protocol], offer)).toThrow(
        expect.objectContaining({ code: 'upstream_malformed' }),
      );
    },
  );

  test('in HTTP/2 goes on without what only HTTP/1.1 says', () => {
    const fields = [...good, 'Sec-WebSocket-Protocol', 'x', 'Set-Cookie', 'a=b'];
    const rest = ['Sec-WebSocket-Protocol', 'x'];
    expect(answerFields(fields, { ...offer, accept: undefined, isHttp2: true })).toEqual([
      'Set-Cookie',
      'a=b',
      ...rest,
    ]);
    expect(answerFields(fields, { ...offer, isHttp2: true })).toEqual([
      'Set-Cookie',
      'a=b',
      'Sec-WebSocket-Accept',
      ACCEPT,
      ...rest,
    ]);
  });

  test('from an upstream in HTTP/2 says nothing of a key', () => {
    const plain = head(['Set-Cookie', 'a=b']);
    expect(() => checkAnswer(plain, undefined)).not.toThrow();
    expect(() => checkAnswer(head(['Sec-WebSocket-Extensions', 'x']), undefined)).toThrow(
      expect.objectContaining({ code: 'upstream_malformed' }),
    );
  });

  test('with two subprotocols is refused', () => {
    const fields = [...good, 'Sec-WebSocket-Protocol', 'x', 'Sec-WebSocket-Protocol', 'x'];
    expect(() => answerFields(fields, offer)).toThrow(
      expect.objectContaining({ code: 'upstream_malformed' }),
    );
  });
});
