import { describe, expect, it } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import type { Outbound } from '../../src/inject/outbound.ts';
import { Secret } from '../../src/secret.ts';
import type { Placement } from '../../src/types.ts';
import { base64, outbound, percent } from './make.ts';

const STUB = 'ghp_stub';
const SECRET = new Secret('github', 'ghp_s3cret/+&=', '7');

/** What goes on the wire after an injection, without the request line's method and version. */
function sent(placement: Placement, out: Outbound, stub: string | undefined = STUB): string[] {
  const placed = placement.inject(out, stub, SECRET);
  expect(placed.at).toBe(placement.slot);
  expect(placed.wire.name).toBe('github');
  const lines = out.render().split('\r\n').slice(0, -1);
  // What is to be scrubbed is what was sent.
  expect(lines.join('\n')).toContain(placed.wire.reveal());
  return [lines[0]?.slice(4, -9) ?? '', ...lines.slice(1)];
}

describe('bearer', () => {
  const bearer = placements.build('bearer', {});

  it.each([
    ['Bearer ghp_stub', 'Bearer ghp_s3cret/+&='],
    ['bearer ghp_stub', 'bearer ghp_s3cret/+&='],
    ['BEARER   ghp_stub', 'BEARER ghp_s3cret/+&='],
    ['token ghp_stub', 'token ghp_s3cret/+&='],
    ['Token ghp_stub', 'Token ghp_s3cret/+&='],
  ])('swaps %j', (value, result) => {
    const out = outbound('/', ['authorization', value]);
    expect(bearer.find(out)).toEqual([STUB]);
    expect(sent(bearer, out)).toEqual(['/', `authorization: ${result}`]);
  });

  it.each([
    'Digest username="x"',
    'Basic Z2hwX3N0dWI6',
    'Bearer',
    'Bearer ghp_stub extra',
    'Bearer\tghp_stub',
    'Bearerghp_stub',
    'XBearer ghp_stub',
    '',
    'ghp_stub',
  ])('gives %j as something that is no stub', value => {
    expect(bearer.find(outbound('/', ['Authorization', value]))).toEqual([` ${value}`]);
  });

  it('finds nothing where there is nothing', () => {
    expect(bearer.find(outbound('/', ['X-Authorization', 'Bearer ghp_stub']))).toEqual([]);
  });

  it('adds the field where there was none', () => {
    expect(sent(bearer, outbound('/', ['Host', 'a']), undefined)).toEqual([
      '/',
      'Host: a',
      'Authorization: Bearer ghp_s3cret/+&=',
    ]);
  });

  it('finds two fields and leaves one', () => {
    const out = outbound('/', ['Authorization', 'Bearer other', 'AUTHORIZATION', 'token ghp_stub']);
    expect(bearer.find(out)).toEqual(['other', STUB]);
    expect(sent(bearer, out)).toEqual(['/', 'Authorization: token ghp_s3cret/+&=']);
  });
});

describe('basic', () => {
  const kept = placements.build('basic', {});
  const named = placements.build('basic', { username: 'x-access-token' });
  const basic = (pair: string): string => `Authorization: Basic ${base64(pair)}`;

  it.each([
    ['user:ghp_stub', 'user:ghp_s3cret/+&='],
    [':ghp_stub', ':ghp_s3cret/+&='],
    ['ghp_stub:', 'ghp_s3cret/+&=:'],
    ['ghp_stub:x-oauth-basic', 'ghp_s3cret/+&=:x-oauth-basic'],
    ['ghp_stub:a:b', 'ghp_s3cret/+&=:a:b'],
  ])('swaps the half that is the stub in %j', (pair, result) => {
    const out = outbound('/', ['Authorization', `Basic ${base64(pair)}`]);
    expect(kept.find(out)).toContain(STUB);
    expect(sent(kept, out)).toEqual(['/', basic(result)]);
  });

  it.each(['user:ghp_stub', 'ghp_stub:', ':ghp_stub'])('sets its own user name in %j', pair => {
    const out = outbound('/', ['Authorization', `bAsIc ${base64(pair)}`]);
    expect(named.find(out)).toContain(STUB);
    expect(sent(named, out)).toEqual(['/', basic('x-access-token:ghp_s3cret/+&=')]);
  });

  it.each(['utf8', 'latin1'] as const)('keeps the bytes of a user name in %s', encoding => {
    const pair = Buffer.from('jörg:ghp_stub', encoding).toString('base64');
    const result = Buffer.from('jörg:ghp_s3cret/+&=', encoding).toString('base64');
    expect(sent(kept, outbound('/', ['Authorization', `Basic ${pair}`]))).toEqual([
      '/',
      `Authorization: Basic ${result}`,
    ]);
  });

  it('writes a credential outside ASCII as UTF-8', () => {
    const { wire } = named.inject(outbound('/', []), undefined, new Secret('github', 'pässword'));
    expect(wire.reveal()).toBe(Buffer.from('x-access-token:pässword', 'utf8').toString('base64'));
  });

  it.each([
    ['no padding', base64('u:ghp_stub').replace(/=+$/, '')],
    ['bits that no encoder sets', 'dTpnaHBfc3R1Yh=='],
    ['base64url', 'dTp-fn5-Z2hw_3R1Yg=='],
    ['a space inside', 'dTpnaHBf c3R1Yg=='],
    ['no colon', base64('ghp_stub')],
    ['the stub itself', STUB],
    ['nothing', ''],
  ])('gives a value with %s as something that is no stub', (_, value) => {
    expect(kept.find(outbound('/', ['Authorization', `Basic ${value}`]))).toEqual([` Basic ${value}`]);
  });

  it('adds the field where there was none', () => {
    expect(sent(named, outbound('/', []), undefined)).toEqual(['/', basic('x-access-token:ghp_s3cret/+&=')]);
    expect(sent(kept, outbound('/', []), undefined)).toEqual(['/', basic(':ghp_s3cret/+&=')]);
  });

  it('overwrites what is not Basic', () => {
    const out = outbound('/', ['Authorization', 'Digest x']);
    expect(sent(named, out, undefined)).toEqual(['/', basic('x-access-token:ghp_s3cret/+&=')]);
  });

  it.each(['a:b', 'a\n', 'é', 'x'.repeat(129)])('refuses the user name %j', username => {
    expect(() => placements.build('basic', { username })).toThrow('RFC 7617');
  });
});

describe('header', () => {
  const plain = placements.build('header', { name: 'X-Api-Key' });
  const prefixed = placements.build('header', { name: 'Authorization', prefix: 'Splunk ' });

  it('swaps the value in the client’s spelling of the name', () => {
    const out = outbound('/', ['x-api-KEY', STUB]);
    expect(plain.find(out)).toEqual([STUB]);
    expect(sent(plain, out)).toEqual(['/', 'x-api-KEY: ghp_s3cret/+&=']);
  });

  it('swaps what stands after the prefix', () => {
    const out = outbound('/', ['authorization', 'Splunk ghp_stub']);
    expect(prefixed.find(out)).toEqual([STUB]);
    expect(sent(prefixed, out)).toEqual(['/', 'authorization: Splunk ghp_s3cret/+&=']);
  });

  it('gives other values as they are', () => {
    expect(prefixed.find(outbound('/', ['Authorization', 'Bearer ghp_stub']))).toEqual([' Bearer ghp_stub']);
    expect(prefixed.find(outbound('/', ['Authorization', STUB]))).toEqual([` ${STUB}`]);
    expect(plain.find(outbound('/', ['X-Api-Key', `${STUB} `, 'X-API-KEY', 'x']))).toEqual([`${STUB} `, 'x']);
  });

  it('adds the field in the operator’s spelling', () => {
    expect(sent(plain, outbound('/', []), undefined)).toEqual(['/', 'X-Api-Key: ghp_s3cret/+&=']);
  });

  it('has one slot for one field, whatever the case', () => {
    expect(placements.build('header', { name: 'AUTHORIZATION' }).slot).toBe(
      placements.build('bearer', {}).slot,
    );
  });

  it.each([
    'Host',
    'content-length',
    'Transfer-Encoding',
    'Connection',
    'Proxy-Authorization',
    'TE',
    'Upgrade',
    'Accept-Encoding',
    'Range',
    'Expect',
    'x key',
    'x:key',
    'x\r\ny',
    '',
    ':authority',
  ])('refuses the name %j', name => {
    expect(() => placements.build('header', { name })).toThrow(/must be a header name|gate itself/);
  });

  it.each(['', ' x', 'a\r\n', 'é'])('refuses the prefix %j', prefix => {
    expect(() => placements.build('header', { name: 'x', prefix })).toThrow('printable ASCII');
  });
});

describe('query', () => {
  const query = placements.build('query', { name: 'key' });
  const odd = placements.build('query', { name: 'api&key[]' });
  const wire = encodeURIComponent(SECRET.reveal());

  it.each([
    ['/p?key=ghp_stub', `/p?key=${wire}`],
    ['/p?a=%20b&key=ghp_stub&c=d+e&&=f', `/p?a=%20b&key=${wire}&c=d+e&&=f`],
    [`/p?key=${percent('ghp_stub')}`, `/p?key=${wire}`],
    ['/p?k%65y=ghp%5Fstub', `/p?k%65y=${wire}`],
    ['/p?key=other&x=1&key=ghp_stub&key=more', `/p?x=1&key=${wire}`],
    ['/p?key&key=ghp_stub', `/p?key=${wire}`],
    ['/p?a=b?key=x&key=ghp_stub', `/p?a=b?key=x&key=${wire}`],
    ['/?key=ghp_stub&Key=x&keys=y', `/?key=${wire}&Key=x&keys=y`],
  ])('rewrites one pair of %j and no other byte', (target, result) => {
    const out = outbound(target, []);
    expect(query.find(out)).toContain(STUB);
    expect(sent(query, out)).toEqual([result]);
  });

  it.each([
    ['/p', []],
    ['/key=ghp_stub', []],
    ['/p?Key=ghp_stub', []],
    ['/p?xkey=ghp_stub', []],
    ['/p?key%3Dghp_stub', []],
    ['/p?key', ['']],
    ['/p?key=', ['']],
    ['/p?key=a+b', ['a b']],
    ['/p?key=%', ['%']],
    ['/p?key=%zz%4', ['%zz%4']],
    [`/p?key=${percent('x', 2)}`, [percent('x')]],
    ['/p?key=a=b', ['a=b']],
    ['/p?key=1&key=2', ['1', '2']],
  ])('reads %j', (target, texts) => {
    expect(query.find(outbound(target, []))).toEqual(texts);
  });

  it.each([
    ['/p', `/p?key=${wire}`],
    ['/p?', `/p?key=${wire}`],
    ['/p?a=b', `/p?a=b&key=${wire}`],
    ['/p?key=x&a=b', `/p?key=${wire}&a=b`],
  ])('sets the pair in %j without a stub', (target, result) => {
    expect(sent(query, outbound(target, []), undefined)).toEqual([result]);
  });

  it('writes two credentials into one target', () => {
    const out = outbound('/?key=ghp_stub&cx=other', []);
    placements.build('query', { name: 'cx' }).inject(out, 'other', new Secret('cx', 'second-secret'));
    expect(sent(query, out)).toEqual([`/?key=${wire}&cx=second-secret`]);
  });

  it('spells its own name safely', () => {
    expect(sent(odd, outbound('/', []), undefined)).toEqual([`/?api%26key%5B%5D=${wire}`]);
  });

  it('refuses a credential that is not Unicode text', () => {
    const lone = new Secret('github', 'sesame\ud800');
    expect(() => query.inject(outbound('/', []), undefined, lone)).toThrow(
      expect.objectContaining({ code: 'credential_unavailable' }),
    );
  });
});

describe('the registry', () => {
  it.each([
    ['bearer', { extra: 1 }],
    ['basic', { user: 'x' }],
    ['header', {}],
    ['header', { name: 'x', Prefix: 'y' }],
    ['query', {}],
    ['query', { name: 'a b' }],
  ])('refuses options of %s that it does not know: %j', (type, options) => {
    expect(() => placements.build(type, options)).toThrow();
  });

  it('names what there is', () => {
    expect(() => placements.build('bear', {})).toThrow(
      'one of bearer, basic, header, query, path, cookie, json, form',
    );
  });
});
