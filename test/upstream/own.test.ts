import { networkInterfaces } from 'node:os';
import { expect, test } from 'vitest';
import { isOwn } from '../../src/upstream/own.ts';

const localAddresses = Object.values(networkInterfaces()).flatMap(list =>
  (list ?? []).map(own => own.address),
);

test.each([
  // listener, dialled
  ['127.0.0.1', '127.0.0.1', true],
  ['127.0.0.1', '::ffff:127.0.0.1', true],
  ['127.0.0.1', '::ffff:7f00:1', true],
  ['::ffff:127.0.0.1', '127.0.0.1', true],
  ['127.0.0.1', '0.0.0.0', true],
  ['127.0.0.1', '::', true],
  ['127.0.0.1', '::ffff:0.0.0.0', true],
  ['127.0.0.1', '127.0.0.2', false],
  ['127.0.0.1', '::1', false],
  ['::1', '::1', true],
  ['::1', '0:0:0:0:0:0:0:1', true],
  ['::1', '127.0.0.1', false],
  ['192.0.2.7', '192.0.2.7', true],
  ['192.0.2.7', '192.0.2.8', false],
  ['0.0.0.0', '127.0.0.1', true],
  ['0.0.0.0', '127.8.9.10', true],
  ['0.0.0.0', '::1', true],
  ['0.0.0.0', '192.0.2.7', false],
  ['::', '127.0.0.1', true],
  ['::', '::ffff:127.0.0.1', true],
  ['::', '2001:db8::1', false],
  ['127.0.0.1', 'no address', true],
  ['no address', '127.0.0.1', true],
])('listener %s, dialled %s: %s', (address, dialled, expected) => {
  expect(isOwn({ address: dialled, port: 8080 }, [{ address, port: 8080 }])).toBe(expected);
});

test.each(['0.0.0.0', '::'])('a listener on %s is met at every address of this machine', address => {
  const met = localAddresses.map(own => isOwn({ address: own, port: 8080 }, [{ address, port: 8080 }]));
  expect(met).toEqual(localAddresses.map(() => true));
});

test('another port is not ours', () => {
  expect(isOwn({ address: '127.0.0.1', port: 8081 }, [{ address: '127.0.0.1', port: 8080 }])).toBe(false);
});

test('any of several listeners counts', () => {
  const listeners = [
    { address: '127.0.0.1', port: 8080 },
    { address: '127.0.0.1', port: 8081 },
  ];
  expect(isOwn({ address: '127.0.0.1', port: 8081 }, listeners)).toBe(true);
});
