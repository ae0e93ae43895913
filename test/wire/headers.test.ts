import { expect, test } from 'vitest';
import { Names } from '../../src/fields.ts';
import { endToEnd, refuseUpgrade } from '../../src/wire/headers.ts';

const headers = ['Host', 'a', 'X-Y', '1', 'x-y', '2', 'X-Empty', ''];

test('forwards neither hop-by-hop fields, nor framing, nor what Connection names', () => {
  const hopByHop = [
    'Connection',
    'keep-alive',
    'connection',
    'X-Hop, close,X-Y',
    'Keep-Alive',
    'timeout=5',
    'Proxy-Connection',
    'keep-alive',
    'Proxy-Authorization',
    'Basic x',
    'Proxy-Authenticate',
    'Basic',
    'TE',
    'trailers',
    'Trailer',
    'x',
    'Transfer-Encoding',
    'chunked',
    'Content-Length',
    '3',
    'Upgrade',
    'h2c',
    'HTTP2-Settings',
    'AA',
    'x-hop',
    '1',
  ];
  expect(endToEnd([...headers, ...hopByHop, 'Accept', '*/*'])).toEqual([
    'Host',
    'a',
    'X-Empty',
    '',
    'Accept',
    '*/*',
  ]);
});

test('leaves out every field of the given names', () => {
  expect(endToEnd(headers, new Names('x-y', 'x-z'))).toEqual(['Host', 'a', 'X-Empty', '']);
});

test.each(['h2c', 'H2C', 'TLS/1.2', 'TLS/1.0, h2c'])('an offer to upgrade to %s is ignored', upgrade => {
  expect(() => refuseUpgrade(['Upgrade', upgrade])).not.toThrow();
});

test.each(['websocket', 'WebSocket', 'h2c, websocket', 'h2', 'x'])('an upgrade to %s is refused', upgrade => {
  expect(() => refuseUpgrade(['Upgrade', upgrade])).toThrow(
    expect.objectContaining({ code: 'upgrade_refused' }),
  );
});
