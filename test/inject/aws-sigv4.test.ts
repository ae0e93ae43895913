import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { canonicalHash } from '../../src/inject/sigv4/canonical.ts';
import { timeText } from '../../src/inject/sigv4/authorization.ts';
import { scopeText, Signer } from '../../src/inject/sigv4/signer.ts';
import { signs } from '../../src/inject/signing.ts';
import { Outbound } from '../../src/inject/outbound.ts';
import { Refusal } from '../../src/errors.ts';
import { Secret } from '../../src/secret.ts';
import type { RequestHead } from '../../src/types.ts';
import { REGION, type Signed, signAs, type Unsigned } from '../support/aws-client.ts';
import { awsFault, ChunkSigner } from '../support/upstreams/aws-signed.ts';
import { headOf, keyOf, ruleOf } from './make.ts';

const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const S3 = { time: '20130524T000000Z', region: 'us-east-1', service: 's3' };
const BUCKET = ['Host', 'examplebucket.s3.amazonaws.com', 'x-amz-date', '20130524T000000Z'];

/** Published by AWS: S3 API, "Signature Calculations for the Authorization Header"; General Reference, "Signing". */
const VECTORS = [
  {
    name: 'GET Object',
    target: '/test.txt',
    headers: [...BUCKET, 'Range', 'bytes=0-9', 'x-amz-content-sha256', EMPTY],
    signedHeaders: ['host', 'range', 'x-amz-content-sha256', 'x-amz-date'],
    signature: 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  },
  {
    name: 'PUT Object',
    method: 'PUT',
    target: '/test%24file.text',
    payload: '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
    headers: [
      ...BUCKET,
      'Date',
      'Fri, 24 May 2013 00:00:00 GMT',
      'x-amz-storage-class',
      'REDUCED_REDUNDANCY',
      'x-amz-content-sha256',
      '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
    ],
    signedHeaders: ['date', 'host', 'x-amz-content-sha256', 'x-amz-date', 'x-amz-storage-class'],
    signature: '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  },
  {
    name: 'GET Bucket Lifecycle',
    target: '/?lifecycle',
    headers: [...BUCKET, 'x-amz-content-sha256', EMPTY],
    signedHeaders: ['host', 'x-amz-content-sha256', 'x-amz-date'],
    signature: 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  },
  {
    name: 'Get Bucket (List Objects)',
    target: '/?max-keys=2&prefix=J',
    headers: [...BUCKET, 'x-amz-content-sha256', EMPTY],
    signedHeaders: ['host', 'x-amz-content-sha256', 'x-amz-date'],
    signature: '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  },
  {
    name: 'a presigned URL',
    target:
      '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=ignored',
    payload: 'UNSIGNED-PAYLOAD',
    headers: BUCKET.slice(0, 2),
    signedHeaders: ['host'],
    signature: 'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  },
  {
    name: 'IAM ListUsers',
    target: '/?Action=ListUsers&Version=2010-05-08',
    secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
    scope: { time: '20150830T123600Z', region: 'us-east-1', service: 'iam' },
    headers: [
      'Host',
      'iam.amazonaws.com',
      'Content-Type',
      'application/x-www-form-urlencoded; charset=utf-8',
      'X-Amz-Date',
      '20150830T123600Z',
    ],
    signedHeaders: ['content-type', 'host', 'x-amz-date'],
    signature: '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
  },
];

describe('the signatures that AWS published are computed', () => {
  test.each(VECTORS)('$name', vector => {
    const { method = 'GET', target, headers, signedHeaders, signature } = vector;
    const { payload = EMPTY, secret = SECRET, scope = S3 } = vector;
    const hash = canonicalHash(
      { method, target, headers },
      { service: scope.service, signedHeaders, payload },
    );
    expect(new Signer(secret, scope).request(hash)).toBe(signature);
  });

  const chunks = [Buffer.alloc(65_536, 'a'), Buffer.alloc(1024, 'a'), Buffer.alloc(0)];
  test.each([
    [
      'chunks',
      '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
      [
        'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
        '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
        'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
      ],
      undefined,
    ],
    [
      'chunks and a trailer',
      '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e',
      [
        'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2',
        '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
        '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992',
      ],
      'd81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435',
    ],
  ])('%s', (_, seed, signatures, trailer) => {
    for (const signer of [
      new Signer(SECRET, S3, seed),
      new ChunkSigner(SECRET, S3.time, S3.region, S3.service, seed),
    ]) {
      expect(chunks.map(data => signer.chunk(data))).toEqual(signatures);
      if (trailer !== undefined) expect(signer.trailer('x-amz-checksum-crc32c:sOO8/Q==\n')).toBe(trailer);
    }
  });
});

const key = keyOf('aws');
const stub = key.mint(parseShape('aws'));
const mine = { AccessKeyId: key.accessKeyId(stub), SecretAccessKey: stub };
const real = { AccessKeyId: 'AKIAREALREALREALREAL', SecretAccessKey: `real/${'k'.repeat(35)}` };
const services = ['s3', 'execute-api', 'dynamodb'];
const built = placements.build('aws-sigv4', { regions: [REGION], services, max_body: '1MiB' });
if (!signs(built)) throw new TypeError('it signs');
const placement = built;

function outOf({ method, target, headers, body }: Signed): Outbound {
  const head: RequestHead = { ...headOf(target, headers, method), length: body.length };
  const out = Outbound.from(head, target, ruleOf([]));
  if (body.length > 0) out.body = { kind: 'signed', content: body };
  return out;
}

function resigned(out: Outbound, secret: Secret): Parameters<typeof awsFault>[0] {
  placement.inject(out, stub, secret);
  const [line = '', ...lines] = out.render().slice(0, -2).split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const headers = lines.flatMap(field => field.split(/: (.*)/s).slice(0, 2));
  const body = out.body?.content;
  return { method, target, headers, body: Buffer.isBuffer(body) ? body : Buffer.alloc(0) };
}

const segment = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 8 })
  .filter(text => text.isWellFormed() && !/^\.\.?$/.test(text));
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
const request = fc.record({
  service: fc.constantFrom(...services),
  method: fc.constantFrom('GET', 'PUT', 'POST', 'DELETE'),
  path: fc.array(segment, { maxLength: 4 }),
  isFolder: fc.boolean(),
  query: fc.dictionary(segment, segment, { maxKeys: 4, noNullPrototype: true }),
  meta: fc.dictionary(
    fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/),
    fc.stringMatching(/^[!-~](?: {0,3}[!-~]){0,6}$/),
    {
      maxKeys: 3,
      noNullPrototype: true,
    },
  ),
  body: fc.uint8Array({ maxLength: 40 }),
  payload: fc.constantFrom(undefined, 'UNSIGNED-PAYLOAD'),
  expires: fc.constantFrom(undefined, 60),
  hasToken: fc.boolean(),
  hasStubToken: fc.boolean(),
});
type Generated = typeof request extends fc.Arbitrary<infer T> ? T : never;

function unsigned(g: Generated): Unsigned {
  const query = Object.entries(g.query).map(([name, value]) => `${encode(name)}=${encode(value)}`);
  const path = `/${g.path.map(encode).join('/')}${g.isFolder && g.path.length > 0 ? '/' : ''}`;
  const { expires, payload } = g;
  const isPresigned = expires !== undefined;
  // Its signer takes a body of unknown hash for S3 only.
  const body =
    g.method === 'GET' || (isPresigned && g.service !== 's3') ? Buffer.alloc(0) : Buffer.from(g.body);
  return {
    host: `${g.service}.amazonaws.com`,
    service: g.service,
    method: g.method,
    target: query.length > 0 ? `${path}?${query.join('&')}` : path,
    headers: Object.fromEntries(Object.entries(g.meta).map(([name, value]) => [`x-amz-meta-${name}`, value])),
    body,
    ...(payload !== undefined && !isPresigned && { payload }),
    ...(isPresigned && { expires }),
  };
}

describe('what can be read in two ways is refused, though it is signed', () => {
  const time = timeText(Date.now());
  const signed = (more: readonly string[]): Signed => {
    const headers = ['Host', 's3.amazonaws.com', 'X-Amz-Date', time, 'X-Amz-Content-Sha256', EMPTY, ...more];
    const signedHeaders = ['host', 'x-amz-content-sha256', 'x-amz-date'];
    const scope = { time, region: REGION, service: 's3' };
    const canon = { service: 's3', signedHeaders, payload: EMPTY };
    const hash = canonicalHash({ method: 'GET', target: '/', headers }, canon);
    const signature = new Signer(stub, scope).request(hash);
    const value = `AWS4-HMAC-SHA256 Credential=${mine.AccessKeyId}/${scopeText(scope)}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
    return {
      method: 'GET',
      target: '/',
      headers: [...headers, 'Authorization', value],
      body: Buffer.alloc(0),
      signature,
    };
  };

  test('once it is read in one way', () => expect(placement.verify(outOf(signed([])), stub, key)).toBe(true));

  test.each<[name: string, more: readonly string[]]>([
    ['a second hash', ['x-amz-content-sha256', 'UNSIGNED-PAYLOAD']],
    ['the same hash twice', ['X-AMZ-CONTENT-SHA256', EMPTY]],
    ['a second time', ['x-amz-date', time]],
  ])('%s', (_, more) =>
    expect(() => placement.verify(outOf(signed(more)), stub, key)).toThrow(
      expect.objectContaining({ code: 'invalid_signature' }) as Error,
    ),
  );
});

describe('against AWS’s own signer', () => {
  test('what it signs with the stub is accepted, and what goes out is what it would have signed with the credential', async () => {
    await fc.assert(
      fc.asyncProperty(request, async g => {
        const keys = g.hasToken ? { ...real, SessionToken: 'IQoJ/token+of=real' } : real;
        const client = g.hasStubToken ? { ...mine, SessionToken: key.sessionToken(stub) } : mine;
        const out = outOf(await signAs(client, unsigned(g)));
        expect(placement.find(out)).toEqual([mine.AccessKeyId]);
        expect(placement.verify(out, stub, key)).toBe(true);
        const sent = resigned(out, new Secret('aws', JSON.stringify(keys)));
        expect(await awsFault(sent, keys)).toBeUndefined();
        expect(JSON.stringify([sent.target, sent.headers])).not.toContain(mine.AccessKeyId);
      }),
      { numRuns: 150 },
    );
  });

  test('one changed character of what is signed is refused', async () => {
    await fc.assert(
      fc.asyncProperty(request, fc.nat(), async (g, n) => {
        const signed = await signAs(mine, unsigned(g));
        const changed = changedAt(signed, n);
        expect(() => verified(outOf(changed))).toThrow(Refusal);
      }),
      { numRuns: 150 },
    );
  });
});

function verified(out: Outbound): void {
  expect(placement.verify(out, stub, key)).toBe(true);
}

/** Another method, path, query, header or body; one that means the same to no server. */
function changedAt(signed: Signed, n: number): Signed {
  const { target, headers, body } = signed;
  const ways: (Signed | undefined)[] = [
    { ...signed, method: 'PATCH' },
    { ...signed, target: target.replace('/', '/x') },
    { ...signed, target: `${target}${target.includes('?') ? '&' : '?'}x=y` },
    { ...signed, headers: [...headers, 'x-amz-acl', 'public-read'] },
    { ...signed, headers: headers.map((text, i) => (i === 1 ? `x${text}` : text)) },
    // One whose hash is told is checked on its way.
    body.length > 0 && !headers.includes('x-amz-content-sha256') && !target.includes('X-Amz-Signature')
      ? { ...signed, body: randomBytes(body.length + 1) }
      : undefined,
  ];
  const possible = ways.filter(way => way !== undefined);
  return possible[n % possible.length] as Signed;
}

test('a header in UTF-8 is signed byte by byte', async () => {
  // What its bytes are in latin1 holds a no-break space.
  const signed = await signAs(mine, { host: 's3.amazonaws.com', headers: { 'x-amz-meta-a': 'à la à' } });
  const headers = signed.headers.map(text => Buffer.from(text).toString('latin1'));
  expect(placement.verify(outOf({ ...signed, headers }), stub, key)).toBe(true);
});

test('a value that holds no AWS keys is told to the operator, and signs nothing', async () => {
  const out = outOf(await signAs(mine, { host: 's3.amazonaws.com' }));
  const refusal = (() => {
    try {
      return placement.inject(out, stub, new Secret('aws', 'not JSON at all'));
    } catch (error) {
      return error;
    }
  })();
  expect(refusal).toMatchObject({ code: 'credential_unavailable' });
  expect(String((refusal as Refusal).cause)).toContain('credential "aws" holds no AWS keys');
  expect(String((refusal as Refusal).cause)).not.toContain('not JSON');
});
