import { expect, test } from 'vitest';
import { endToEnd, fieldLines, get, has, refuseUpgrade, without } from '../../src/wire/headers.ts';

const headers = ['Host', 'a', 'X-Y', '1', 'x-y', '2', 'X-Empty', ''];

test('finds the first value of a field in any case', () => {
  expect(get(headers, 'host')).toBe('a');
  expect(get(headers, 'x-y')).toBe('1');
  expect(get(headers, 'x-empty')).toBe('');
  expect(get(headers, 'x-z')).toBeUndefined();
  expect(has(headers, 'x-empty')).toBe(true);
  expect(has(headers, 'a')).toBe(false);
});

test('leaves out every field of the given names', () => {
  expect(without(headers, new Set(['x-y', 'x-z']))).toEqual(['Host', 'a', 'X-Empty', '']);
});

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

test.each(['h2c', 'H2C', 'TLS/1.2', 'TLS/1.0, h2c'])('an offer to upgrade to %s is ignored', upgrade => {
  expect(() => refuseUpgrade(['Upgrade', upgrade])).not.toThrow();
});

test.each(['websocket', 'WebSocket', 'h2c, websocket', 'h2', 'x'])('an upgrade to %s is refused', upgrade => {
  expect(() => refuseUpgrade(['Upgrade', upgrade])).toThrow(
    expect.objectContaining({ code: 'upgrade_refused' }),
  );
});

test('writes one line per field', () => {
  expect(fieldLines(['Host', 'a', 'x', ''])).toBe('Host: a\r\nx: \r\n');
});
