import { expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import type { Endpoint } from '../../src/upstream/own.ts';
import { Resolver, type ResolverOptions } from '../../src/upstream/resolve.ts';
import { cidrs, LOOPBACK, refusal, table } from './fixture.ts';

function resolver(options: Partial<ResolverOptions> = {}): Resolver {
  return new Resolver({
    overrides: new Map(),
    allowPrivate: [],
    own: () => [],
    lookup: undefined,
    lookupMs: 5000,
    ...options,
  });
}

const answers = (...addresses: string[]) => resolver({ lookup: table({ 'a.test': [addresses] }).lookup });
const addresses = (endpoints: readonly Endpoint[]) => endpoints.map(e => e.address);
const EVERYTHING = cidrs('0.0.0.0/0', '::/0');

test('a public answer is dialled at the port that was asked for', async () => {
  await expect(answers('93.184.215.14').resolve('a.test', 8443)).resolves.toEqual([
    { address: '93.184.215.14', port: 8443 },
  ]);
});

test.each([
  ['loopback', ['127.0.0.1']],
  ['private', ['10.1.2.3']],
  ['link-local', ['169.254.1.1']],
  ['CGNAT', ['100.64.0.1']],
  ['unspecified', ['0.0.0.0']],
  ['multicast', ['224.0.0.1']],
  ['IPv4-mapped private', ['::ffff:10.0.0.1']],
  ['unique local', ['fd00::1']],
  ['public, then private', ['93.184.215.14', '10.0.0.1']],
  ['private, then public', ['10.0.0.1', '93.184.215.14']],
  ['public IPv4, private IPv6', ['93.184.215.14', 'fd00::1']],
  [
    'private beyond the addresses that would be tried',
    ['8.8.8.8', '8.8.4.4', '1.1.1.1', '1.0.0.1', '9.9.9.9', '10.0.0.1'],
  ],
  ['with a zone', ['fe80::1%eth0']],
  ['not an address', ['a.test']],
  ['empty text', ['']],
])('refuses an answer that is %s', async (_, answer) => {
  await expect(refusal(answers(...answer).resolve('a.test', 443))).resolves.toBe('forbidden_address');
});

test('allow_private permits its own range and no other', async () => {
  const { lookup } = table({ 'in.test': [['10.1.2.3']], 'out.test': [['10.2.2.3']] });
  const some = resolver({ lookup, allowPrivate: cidrs('10.1.0.0/16') });
  await expect(some.resolve('in.test', 443)).resolves.toEqual([{ address: '10.1.2.3', port: 443 }]);
  await expect(refusal(some.resolve('out.test', 443))).resolves.toBe('forbidden_address');
});

const METADATA = [
  '169.254.169.254',
  '169.254.170.2',
  'fd00:ec2::254',
  '100.100.100.200',
  '168.63.129.16',
  '::ffff:169.254.169.254',
];

test.each(METADATA)('refuses %s although everything private is allowed', async address => {
  const { lookup } = table({ 'a.test': [[address]] });
  const all = resolver({ lookup, allowPrivate: EVERYTHING });
  await expect(refusal(all.resolve('a.test', 80))).resolves.toBe('forbidden_address');
  await expect(refusal(all.resolve(address, 80))).resolves.toBe('forbidden_address');
  await expect(refusal(all.resolveParent('a.test', 80))).resolves.toBe('forbidden_address');
});

test.each(METADATA)('refuses %s although `resolve` says so', async address => {
  const told = resolver({ overrides: new Map([['a.test', { address }]]), allowPrivate: EVERYTHING });
  await expect(refusal(told.resolve('a.test', 80))).resolves.toBe('forbidden_address');
});

test('an IP literal is judged like an answer, without a question', async () => {
  const { lookup, asked } = table({});
  const some = resolver({ lookup });
  await expect(refusal(some.resolve('10.0.0.1', 443))).resolves.toBe('forbidden_address');
  await expect(some.resolve('93.184.215.14', 443)).resolves.toEqual([
    { address: '93.184.215.14', port: 443 },
  ]);
  expect(asked).toEqual([]);
});

test('`resolve` permits the address it names, at its port or the one asked for, without a question', async () => {
  const { lookup, asked } = table({});
  const overrides = new Map([
    ['a.test', { address: '127.0.0.1', port: 9443 }],
    ['b.test', { address: '10.0.0.1' }],
  ]);
  const told = resolver({ lookup, overrides });
  await expect(told.resolve('a.test', 443)).resolves.toEqual([{ address: '127.0.0.1', port: 9443 }]);
  await expect(told.resolve('b.test', 443)).resolves.toEqual([{ address: '10.0.0.1', port: 443 }]);
  await expect(refusal(told.resolve('10.0.0.1', 443))).resolves.toBe('forbidden_address');
  expect(asked).toEqual([]);
});

test.each([
  ['its name', 'gate.test', {}],
  ['its address', '127.0.0.1', {}],
  ['its address, IPv4-mapped', '::ffff:127.0.0.1', {}],
  ['`resolve`', 'told.test', { overrides: new Map([['told.test', { address: '127.0.0.1', port: 8081 }]]) }],
])('refuses our own listener by %s', async (_, host, options) => {
  const { lookup } = table({ 'gate.test': [['127.0.0.1']] });
  const own = () => [{ address: '0.0.0.0', port: 8081 }];
  const all = resolver({ lookup, own, allowPrivate: [...LOOPBACK, ...EVERYTHING], ...options });
  await expect(refusal(all.resolve(host, 8081))).resolves.toBe('forbidden_address');
  await expect(refusal(all.resolveParent(host, 8081))).resolves.toBe(
    host === 'told.test' ? 'dns_failure' : 'forbidden_address',
  );
});

test('a listener that was added later is refused too', async () => {
  const listeners: Endpoint[] = [];
  const all = resolver({ own: () => listeners, allowPrivate: LOOPBACK });
  await expect(all.resolve('127.0.0.1', 8081)).resolves.toHaveLength(1);
  listeners.push({ address: '127.0.0.1', port: 8081 });
  await expect(refusal(all.resolve('127.0.0.1', 8081))).resolves.toBe('forbidden_address');
});

test('the parent proxy may stand at a private address', async () => {
  const { lookup } = table({ 'proxy.test': [['10.0.0.1']] });
  await expect(resolver({ lookup }).resolveParent('proxy.test', 3128)).resolves.toEqual([
    { address: '10.0.0.1', port: 3128 },
  ]);
});

test.each([
  ['no such name', () => Promise.reject(Object.assign(new Error('ENOTFOUND'), { code: 'ENOTFOUND' }))],
  ['no answer', () => Promise.resolve([])],
  ['no answer in time', () => new Promise<string[]>(() => {})],
])('%s is a dns_failure', async (_, lookup) => {
  await expect(refusal(resolver({ lookup, lookupMs: 20 }).resolve('a.test', 443))).resolves.toBe(
    'dns_failure',
  );
});

test('a refusal tells the log which address it was, and the sandbox nothing of it', async () => {
  const thrown = await answers('10.9.8.7')
    .resolve('a.test', 443)
    .catch((error: unknown) => error);
  expect(thrown).toBeInstanceOf(Refusal);
  expect(String((thrown as Refusal).cause)).toContain('10.9.8.7');
  expect((thrown as Refusal).body('id')).not.toContain('10.9.8.7');
});

test('lookups of one host at the same time are one question, later ones a new one', async () => {
  const { lookup, asked } = table({ 'a.test': [['8.8.8.8'], ['8.8.4.4']], 'b.test': [['1.1.1.1']] });
  const one = resolver({ lookup });
  const together = await Promise.all([
    one.resolve('a.test', 1),
    one.resolve('a.test', 2),
    one.resolve('b.test', 3),
  ]);
  expect(together.map(addresses)).toEqual([['8.8.8.8'], ['8.8.8.8'], ['1.1.1.1']]);
  expect(asked).toEqual(['a.test', 'b.test']);
  await expect(one.resolve('a.test', 1).then(addresses)).resolves.toEqual(['8.8.4.4']);
});

test.each([
  [
    ['8.8.8.1', '8.8.8.2', '8.8.8.3', '8.8.8.4', '8.8.8.5'],
    ['8.8.8.1', '8.8.8.2', '8.8.8.3', '8.8.8.4'],
  ],
  [
    ['2600::1', '2600::2', '2600::3', '2600::4', '8.8.8.1'],
    ['2600::1', '8.8.8.1', '2600::2', '2600::3'],
  ],
  [
    ['2600::1', '8.8.8.1', '8.8.8.2', '8.8.8.3'],
    ['2600::1', '8.8.8.1', '8.8.8.2', '8.8.8.3'],
  ],
  [
    ['8.8.8.1', '2600::1'],
    ['8.8.8.1', '2600::1'],
  ],
])('of %j it tries %j', async (given, tried) => {
  await expect(
    answers(...given)
      .resolve('a.test', 443)
      .then(addresses),
  ).resolves.toEqual(tried);
});
