import { createECDH, createPublicKey, randomBytes, verify } from 'node:crypto';
import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4a } from '@aws-sdk/signature-v4a';
import { describe, expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { exampleOf } from '../../src/inject/example.ts';
import { placements } from '../../src/inject/index.ts';
import { Outbound } from '../../src/inject/outbound.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { canonicalHash } from '../../src/inject/sigv4/canonical.ts';
import { MultiRegionSigner } from '../../src/inject/sigv4/multi-region.ts';
import { Signer } from '../../src/inject/sigv4/signer.ts';
import { type SigningPlacement, signs } from '../../src/inject/signing.ts';
import { Secret } from '../../src/secret.ts';
import type { RequestHead } from '../../src/types.ts';
import { type AwsKeys, dateOf, queryOf } from '../support/upstreams/aws-signed.ts';
import { headOf, keyOf, ruleOf } from './make.ts';

const ALGORITHM = 'AWS4-ECDSA-P256-SHA256';
const HOST = 'mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com';

const ids = keyOf('aws');
const stub = ids.mint(parseShape('aws'));
const mine: AwsKeys = { AccessKeyId: ids.accessKeyId(stub), SecretAccessKey: stub };
const real: AwsKeys = { AccessKeyId: 'AKIAREALREALREALREAL', SecretAccessKey: `real/${'k'.repeat(35)}` };
const withToken: AwsKeys = { ...real, SessionToken: 'realtoken/+='.repeat(9) };

function placementFor(regions: readonly string[], services = ['s3', 'events']): SigningPlacement {
  const built = placements.build('aws-sigv4', { regions, services });
  if (!signs(built)) throw new TypeError('it signs');
  return built;
}
const placement = placementFor(['*', 'us-west-2']);

/** What AWS's own code does in steps. */
interface Steps {
  getSignature(key: Uint8Array, text: string): Promise<string>;
  createCanonicalRequest(request: object, headers: Record<string, string>, payload: string): string;
  createStringToSign(time: string, scope: string, canonical: string, algorithm: string): Promise<string>;
}

/** That code, which shows its key, and what it signs. */
interface Reference {
  readonly signer: SignatureV4a;
  readonly steps: Steps;
  key: Buffer;
  text: string;
}

function reference({ AccessKeyId, SecretAccessKey }: AwsKeys, service: string, region: string): Reference {
  const signer = new SignatureV4a({
    credentials: { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey },
    region,
    service,
    sha256: Sha256,
    uriEscapePath: service !== 's3',
    applyChecksum: false,
  });
  const steps = signer as unknown as Steps;
  const made: Reference = { signer, steps, key: Buffer.alloc(0), text: '' };
  const getSignature = steps.getSignature.bind(signer);
  steps.getSignature = (key, text) => {
    [made.key, made.text] = [Buffer.from(key), text];
    return getSignature(key, text);
  };
  return made;
}

/** A public key of P-256 from the private one, by another way than the gate's. */
function publicOf(privateKey: Buffer): ReturnType<typeof createPublicKey> {
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(privateKey);
  const prefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
  return createPublicKey({
    key: Buffer.concat([prefix, curve.getPublicKey()]),
    format: 'der',
    type: 'spki',
  });
}

interface Request {
  readonly method: string;
  readonly target: string;
  /** Lower case; with `host`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What AWS signs of a request, in the reference's words; its key. */
async function signedBy(
  keys: AwsKeys,
  service: string,
  region: string,
  { method, target, headers, body }: Request,
  time: string,
): Promise<{ key: Buffer; text: string; authorization: string }> {
  const shown = reference(keys, service, region);
  const made = await shown.signer.sign(
    {
      method,
      protocol: 'https:',
      hostname: headers['host'] ?? '',
      path: target.split('?')[0] ?? '',
      query: queryOf(target),
      headers: { ...headers },
      body: body === '' ? undefined : body,
    },
    { signingDate: dateOf(time) },
  );
  return { key: shown.key, text: shown.text, authorization: made.headers['authorization'] ?? '' };
}

const now = (offset = 0): string =>
  new Date(Date.now() + offset * 1000).toISOString().replace(/[-:]|\.\d{3}/g, '');

interface Wanted {
  readonly service?: string;
  readonly region?: string;
  readonly method?: string;
  readonly target?: string;
  readonly body?: string;
  readonly payload?: string;
  readonly keys?: AwsKeys;
  readonly time?: string;
}

/** Signed by the reference, in the header. */
async function signed(wanted: Wanted = {}): Promise<Request> {
  const { service = 's3', region = '*', method = 'GET', target = '/', body = '', keys = mine } = wanted;
  const { payload = service === 's3' ? 'UNSIGNED-PAYLOAD' : undefined, time = now() } = wanted;
  const headers: Record<string, string> = {
    host: HOST,
    'x-amz-date': time,
    'x-amz-region-set': region,
    ...(payload !== undefined && { 'x-amz-content-sha256': payload }),
  };
  const request = { method, target, headers, body };
  const { authorization } = await signedBy(keys, service, region, request, time);
  return { ...request, headers: { ...headers, authorization } };
}

function outOf({ method, target, headers, body }: Request): Outbound {
  const fields = Object.entries(headers).flat();
  const head: RequestHead = { ...headOf(target, fields, method), length: body.length };
  const out = Outbound.from(head, target, ruleOf([]));
  if (body !== '') out.body = { kind: 'signed', content: Buffer.from(body) };
  return out;
}

function resigned(out: Outbound, keys: AwsKeys): Request {
  placement.inject(out, stub, new Secret('aws', JSON.stringify(keys)));
  const [line = '', ...lines] = out.render().slice(0, -2).split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const headers = Object.fromEntries(
    lines.filter(Boolean).map(field => {
      const [name = '', value = ''] = field.split(/: (.*)/s);
      return [name.toLowerCase(), value];
    }),
  );
  return { method, target, headers, body: String(out.body?.content ?? '') };
}

/** Whether the reference would have signed that with those keys. */
async function isRight(request: Request, service: string, keys: AwsKeys): Promise<boolean> {
  const { authorization = '', ...headers } = request.headers;
  const [, credential, names = '', signature = ''] =
    /^AWS4-ECDSA-P256-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]+)$/.exec(
      authorization,
    ) ?? [];
  const time = headers['x-amz-date'] ?? '';
  expect(credential).toBe(`${keys.AccessKeyId}/${time.slice(0, 8)}/${service}/aws4_request`);
  expect(names.split(';')).toEqual(Object.keys(headers).toSorted());
  expect(headers['x-amz-security-token']).toBe(keys.SessionToken);
  const { key, text } = await signedBy(
    keys,
    service,
    headers['x-amz-region-set'] ?? '',
    { ...request, headers },
    time,
  );
  return verify('sha256', Buffer.from(text), publicOf(key), Buffer.from(signature, 'hex'));
}

test('the key on P-256 is the one that AWS derives', async () => {
  const scope = { time: now(), region: '', regionSet: ['*'], service: 's3' };
  for (let i = 0; i < 40; i++) {
    const keys = { AccessKeyId: `AKIA${i}`, SecretAccessKey: randomBytes(30 + i).toString('base64') };
    const { key } = await signedBy(
      keys,
      's3',
      '*',
      { method: 'GET', target: '/', headers: {}, body: '' },
      scope.time,
    );
    const signature = new MultiRegionSigner(keys.AccessKeyId, keys.SecretAccessKey, scope).request('hash');
    const text = Buffer.from(`${ALGORITHM}\n${scope.time}\n${scope.time.slice(0, 8)}/s3/aws4_request\nhash`);
    expect(verify('sha256', text, publicOf(key), Buffer.from(signature, 'hex'))).toBe(true);
  }
});

describe('what the sandbox signed with its stub is signed anew with the real keys', () => {
  test.each<[what: string, wanted: Wanted, keys: AwsKeys]>([
    ['an object', { target: '/a%20b/c%2Fd?versionId=1&partNumber=2' }, real],
    ['with a session token', { target: '/x' }, withToken],
    ['an upload', { method: 'PUT', target: '/up', body: 'content' }, real],
    ['an upload with its hash', { method: 'PUT', body: 'content', payload: sha('content') }, real],
    ['in one region', { region: 'us-west-2' }, real],
    ['in several', { region: 'us-west-2,*' }, real],
    ['of another service', { service: 'events', method: 'POST', body: '{"Entries":[]}' }, withToken],
  ])('%s', async (_, wanted, keys) => {
    const out = outOf(await signed(wanted));
    expect(placement.find(out)).toEqual([mine.AccessKeyId]);
    expect(placement.verify(out, stub, ids)).toBe(true);
    expect(await isRight(resigned(out, keys), wanted.service ?? 's3', keys)).toBe(true);
  });

  test('in a presigned URL', async () => {
    const time = now(-10);
    const unsigned = `/key?a=b&X-Amz-Algorithm=${ALGORITHM}&X-Amz-Credential=${mine.AccessKeyId}%2F${time.slice(0, 8)}%2Fs3%2Faws4_request&X-Amz-Date=${time}&X-Amz-Region-Set=%2A&X-Amz-Expires=300&X-Amz-SignedHeaders=host`;
    const out = outOf(await presigned(unsigned, mine, time));
    expect(placement.verify(out, stub, ids)).toBe(true);
    const again = resigned(out, withToken);
    expect(again.headers['authorization']).toBeUndefined();
    const { target } = again;
    const query = queryOf(target);
    expect(query).toMatchObject({
      a: ['b'],
      'X-Amz-Algorithm': [ALGORITHM],
      'X-Amz-Region-Set': ['*'],
      'X-Amz-Credential': [`${real.AccessKeyId}/${query['X-Amz-Date']?.[0]?.slice(0, 8)}/s3/aws4_request`],
      'X-Amz-Security-Token': [withToken.SessionToken],
      'X-Amz-SignedHeaders': ['host'],
    });
    const [, signature = ''] = /&X-Amz-Signature=([0-9a-f]+)$/.exec(target) ?? [];
    const { key, text } = await canonical(
      target.replace(/&X-Amz-Signature=.*/, ''),
      withToken,
      `${query['X-Amz-Date']?.[0]}`,
    );
    expect(verify('sha256', Buffer.from(text), publicOf(key), Buffer.from(signature, 'hex'))).toBe(true);
  });
});

/** String to sign of a presigned URL, of whose making the reference has no function; in its own words all the same. */
async function canonical(
  target: string,
  keys: AwsKeys,
  time: string,
): Promise<{ key: Buffer; text: string }> {
  const { steps } = reference(keys, 's3', '*');
  const request = { method: 'GET', path: target.split('?')[0], query: queryOf(target), headers: {} };
  const lines = steps.createCanonicalRequest(request, { host: HOST }, 'UNSIGNED-PAYLOAD');
  const scope = `${time.slice(0, 8)}/s3/aws4_request`;
  const text = await steps.createStringToSign(time, scope, lines, ALGORITHM);
  const { key } = await signedBy(
    keys,
    's3',
    '*',
    { method: 'GET', target: '/', headers: {}, body: '' },
    time,
  );
  return { key, text };
}

async function presigned(target: string, keys: AwsKeys, time: string): Promise<Request> {
  const { key, text } = await canonical(target, keys, time);
  const signature = await reference(keys, 's3', '*').steps.getSignature(key, text);
  return {
    method: 'GET',
    target: `${target}&X-Amz-Signature=${signature}`,
    headers: { host: HOST },
    body: '',
  };
}

function sha(text: string): string {
  const hash = new Sha256();
  hash.update(text);
  return Buffer.from(hash.digestSync()).toString('hex');
}

type Change = (request: Request) => Request;
const withField =
  (name: string, change: (value: string) => string): Change =>
  request => ({
    ...request,
    headers: { ...request.headers, [name]: change(request.headers[name] ?? '') },
  });
const without =
  (field: string): Change =>
  request => ({
    ...request,
    headers: Object.fromEntries(Object.entries(request.headers).filter(([name]) => name !== field)),
  });
const inAuthorization = (from: string | RegExp, to: string): Change =>
  withField('authorization', value => value.replace(from, to));

describe('is refused', () => {
  test.each<[what: string, wanted: Wanted, change: Change, code: string]>([
    [
      'the stub’s id with another key',
      { keys: { ...mine, SecretAccessKey: 'x'.repeat(40) } },
      r => r,
      'invalid_signature',
    ],
    [
      'a key derived for another id',
      { keys: { ...mine, AccessKeyId: 'AKIAOTHEROTHEROTHERO' } },
      inAuthorization('AKIAOTHEROTHEROTHERO', mine.AccessKeyId),
      'invalid_signature',
    ],
    ['another path', {}, r => ({ ...r, target: '/other' }), 'invalid_signature'],
    ['another method', {}, r => ({ ...r, method: 'DELETE' }), 'invalid_signature'],
    [
      'another region set',
      { region: 'us-west-2' },
      withField('x-amz-region-set', () => '*'),
      'invalid_signature',
    ],
    ['a region set that the rule has not', { region: 'eu-west-1' }, r => r, 'rule_denies'],
    ['one region too many', { region: 'us-west-2,eu-west-1' }, r => r, 'rule_denies'],
    ['a wildcard that the rule has not', { region: 'us-*' }, r => r, 'rule_denies'],
    ['another service', { service: 'iam' }, r => r, 'rule_denies'],
    ['an empty region set', { region: '' }, r => r, 'invalid_signature'],
    ['a list with a hole', { region: '*,' }, r => r, 'invalid_signature'],
    ['no region set', {}, without('x-amz-region-set'), 'invalid_signature'],
    ['a region in the scope', {}, inAuthorization('/s3/', '/us-west-2/s3/'), 'invalid_signature'],
    ['a region set that is not signed', {}, inAuthorization(';x-amz-region-set', ''), 'invalid_signature'],
    [
      'a signature that is no DER',
      {},
      inAuthorization(/Signature=.*/, `Signature=30${'00'.repeat(70)}`),
      'invalid_signature',
    ],
    [
      'an endless signature',
      {},
      inAuthorization(/Signature=.*/, `Signature=30${'00'.repeat(90)}`),
      'invalid_signature',
    ],
    ['a signature cut short', {}, inAuthorization(/(Signature=.*)....$/, '$1'), 'invalid_signature'],
    ['a signature with more behind it', {}, inAuthorization(/(Signature=.*)$/, '$1ab'), 'invalid_signature'],
    ['the algorithm of version 4', {}, inAuthorization(ALGORITHM, 'AWS4-HMAC-SHA256'), 'invalid_signature'],
    ['no algorithm that there is', {}, inAuthorization(ALGORITHM, 'AWS4-X'), 'invalid_signature'],
    ['what is too old', { time: now(-16 * 60) }, r => r, 'invalid_signature'],
    [
      'signed chunks',
      { method: 'PUT', body: 'x', payload: 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD' },
      r => r,
      'invalid_signature',
    ],
    [
      'chunks signed as in version 4',
      { method: 'PUT', body: 'x', payload: 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' },
      r => r,
      'invalid_signature',
    ],
    [
      'another body',
      { method: 'PUT', body: 'content', payload: sha('content') },
      r => ({ ...r, body: 'CONTENT' }),
      'invalid_signature',
    ],
    [
      'a region set in the query, too',
      {},
      r => ({ ...r, target: '/?X-Amz-Region-Set=%2A' }),
      'invalid_signature',
    ],
  ])('%s', async (_, wanted, change, code) => {
    const out = outOf(change(await signed(wanted)));
    let thrown: unknown;
    try {
      expect(placement.verify(out, stub, ids)).toBe(true);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(Refusal);
    expect((thrown as Refusal).code).toBe(code);
  });

  test.each<[string, (url: string) => string, Readonly<Record<string, string>>]>([
    ['a presigned URL with a second region set in its head', url => url, { 'x-amz-region-set': 'us-west-2' }],
    ['a presigned URL with two', url => `${url}&X-Amz-Region-Set=us-west-2`, {}],
    ['a presigned URL without', url => url.replace('&X-Amz-Region-Set=%2A', ''), {}],
    ['a presigned URL whose algorithm is an object’s', url => url.replace(ALGORITHM, 'constructor'), {}],
    ['a presigned URL of version 4 with a region set', url => url.replace(ALGORITHM, 'AWS4-HMAC-SHA256'), {}],
  ])('%s', async (_, change, more) => {
    const time = now();
    const url = `/key?X-Amz-Algorithm=${ALGORITHM}&X-Amz-Credential=${mine.AccessKeyId}%2F${time.slice(0, 8)}%2Fs3%2Faws4_request&X-Amz-Date=${time}&X-Amz-Region-Set=%2A&X-Amz-Expires=300&X-Amz-SignedHeaders=${Object.keys({ host: 1, ...more }).join('%3B')}`;
    const request = await presigned(change(url), mine, time);
    const out = outOf({ ...request, headers: { ...request.headers, ...more } });
    expect(() => placement.verify(out, stub, ids)).toThrow(Refusal);
  });
});

test('two region sets are refused, though one signature is right for both and for their join', async () => {
  const request = await signed({ region: '*,us-west-2' });
  expect(placement.verify(outOf(request), stub, ids)).toBe(true);
  const two = { ...request.headers, 'x-amz-region-set': '*', 'X-Amz-Region-Set': 'us-west-2' };
  expect(() => placement.verify(outOf({ ...request, headers: two }), stub, ids)).toThrow(
    'no X-Amz-Region-Set in the documented form',
  );
});

test('a presigned URL is refused with another region set in its head, though both are signed', () => {
  const time = now();
  const signer = new MultiRegionSigner(mine.AccessKeyId, stub, {
    time,
    region: '',
    regionSet: ['*'],
    service: 's3',
  });
  const verified = (more: Readonly<Record<string, string>>): boolean => {
    const headers = { host: HOST, ...more };
    const signedHeaders = Object.keys(headers);
    const target = `/key?X-Amz-Algorithm=${ALGORITHM}&X-Amz-Credential=${mine.AccessKeyId}%2F${time.slice(0, 8)}%2Fs3%2Faws4_request&X-Amz-Date=${time}&X-Amz-Region-Set=%2A&X-Amz-Expires=300&X-Amz-SignedHeaders=${signedHeaders.join('%3B')}`;
    const canon = { service: 's3', signedHeaders, payload: 'UNSIGNED-PAYLOAD' };
    const hash = canonicalHash({ method: 'GET', target, headers: Object.entries(headers).flat() }, canon);
    const full = `${target}&X-Amz-Signature=${signer.request(hash)}`;
    return placement.verify(outOf({ method: 'GET', target: full, headers, body: '' }), stub, ids);
  };
  expect(verified({})).toBe(true);
  expect(verified({ 'x-amz-acl': 'private' })).toBe(true);
  expect(() => verified({ 'x-amz-region-set': 'eu-west-1' })).toThrow('no X-Amz-Region-Set');
});

test('a presigned URL of version 4 is refused with a region set, though it is signed', () => {
  const time = now();
  const scope = { time, region: 'us-west-2', service: 's3' };
  const url = `/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${mine.AccessKeyId}%2F${time.slice(0, 8)}%2Fus-west-2%2Fs3%2Faws4_request&X-Amz-Date=${time}&X-Amz-Expires=300&X-Amz-SignedHeaders=host`;
  const verified = (target: string): boolean => {
    const canon = { service: 's3', signedHeaders: ['host'], payload: 'UNSIGNED-PAYLOAD' };
    const hash = canonicalHash({ method: 'GET', target, headers: ['host', HOST] }, canon);
    const full = `${target}&X-Amz-Signature=${new Signer(stub, scope).request(hash)}`;
    const request = { method: 'GET', target: full, headers: { host: HOST }, body: '' };
    return placement.verify(outOf(request), stub, ids);
  };
  expect(verified(url)).toBe(true);
  expect(() => verified(`${url}&X-Amz-Region-Set=us-west-2`)).toThrow('X-Amz-Region-Set without');
});

test.each([[['*']], [['us-*', 'eu-west-1']]])(
  'the example of a rule for %j is one that it takes',
  async regions => {
    const of = placementFor(regions);
    const wanted = { method: 'GET', authority: HOST, path: '/', stub, ids };
    const { target, headers } = exampleOf(of, wanted) as NonNullable<ReturnType<typeof exampleOf>>;
    const fields = Object.fromEntries([['Host', HOST], ...headers]) as Record<string, string>;
    const out = outOf({ method: 'GET', target, headers: fields, body: '' });
    expect(fields['Authorization']?.startsWith(ALGORITHM)).toBe(regions.length === 1);
    expect(of.find(out)).toEqual([mine.AccessKeyId]);
    expect(of.verify(out, stub, ids)).toBe(true);
  },
);
