import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Reason, REASONS } from '../../src/errors.ts';
import { REGION, type Signed, signAs, type Unsigned, wireOf } from '../support/aws-client.ts';
import { leaks } from '../support/canary.ts';
import { awsFault, type AwsKeys, chunkedBody, ChunkSigner } from '../support/upstreams/aws-signed.ts';
import { play } from './case.ts';
import { openScene, type Scene } from './scene.ts';

const [HOST, OTHER, MUST] = ['a.wild.test', 'ports.test', 'query.test'];
const RULE = { as: 'aws-sigv4', regions: [REGION], services: ['s3', 'sts'], max_body: '64KiB' };
const FOREIGN = { AccessKeyId: 'AKIAFOREIGNFOREIGN00', SecretAccessKey: 'f'.repeat(40) };
const REAL = {
  AccessKeyId: 'AKIAREALREALREALREAL',
  SecretAccessKey: `s+/${'Ab1'.repeat(12)}=`,
  SessionToken: `IQoJ${'b3JpZ2lu/+x'.repeat(30)}==`,
};
const HASH = 'x-amz-content-sha256';

let scene: Scene;
let mine: AwsKeys;
let theirs: AwsKeys;
let theirEnv: Readonly<Record<string, string>>;
const keysOf = (stubs: Readonly<Record<string, string>>): AwsKeys => ({
  AccessKeyId: stubs['AWS_ACCESS_KEY_ID'] ?? '',
  SecretAccessKey: stubs['AWS_SECRET_ACCESS_KEY'] ?? '',
});
beforeAll(async () => {
  scene = await openScene({
    credentials: { aws: { secret: JSON.stringify(REAL), env: 'AWS_ACCESS_KEY_ID', shape: 'aws-session' } },
    rules: () => [
      { name: 'aws', hosts: [HOST, OTHER], inject: [{ credential: 'aws', ...RULE }] },
      { name: 'signed', hosts: [MUST], inject: [{ credential: 'aws', ...RULE, required: true }] },
    ],
  });
  mine = keysOf(scene.session.env);
  theirEnv = (await scene.gate.session()).env;
  theirs = keysOf(theirEnv);
});
afterAll(() => scene.close());

/** Of the session’s stub, for clients that insist on one. */
const token = (of = scene.session.env): string => of['AWS_SESSION_TOKEN'] ?? '';

const sign = (wanted: Partial<Unsigned> = {}, keys = mine): Promise<Signed> =>
  signAs(keys, { host: HOST, target: '/bucket/key', ...wanted });
const put = (wanted: Partial<Unsigned> = {}): Promise<Signed> =>
  sign({ method: 'PUT', body: 'the body', ...wanted });
/** Without a hash of the body in its head. */
const post = (wanted: Partial<Unsigned> = {}): Promise<Signed> =>
  sign({
    method: 'POST',
    service: 'sts',
    target: '/',
    body: 'Action=GetCallerIdentity',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    ...wanted,
  });
const sha256 = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');
const presign = (wanted: Partial<Unsigned> = {}): Promise<Signed> => sign({ expires: 300, ...wanted });

const withField = (signed: Signed, ...field: readonly string[]): Signed => ({
  ...signed,
  headers: [...signed.headers, ...field],
});
const replaced = (signed: Signed, name: string, change: (value: string) => string): Signed => ({
  ...signed,
  headers: signed.headers.map((text, i) =>
    signed.headers[i - 1]?.toLowerCase() === name ? change(text) : text,
  ),
});
const without = (signed: Signed, name: string): Signed => ({
  ...signed,
  headers: signed.headers.filter((_, i, all) => all[i - (i % 2)]?.toLowerCase() !== name),
});
const retarget = (signed: Signed, change: (target: string) => string): Signed => ({
  ...signed,
  target: change(signed.target),
});
const later = (seconds: number): Date => new Date(Date.now() + seconds * 1000);
const authorizationOf = (signed: Signed): string =>
  signed.headers[signed.headers.indexOf('authorization') + 1] ?? '';

/** A body in chunks that are signed, and what becomes of it. */
async function streamed(
  change: (body: Buffer) => Buffer = body => body,
  { trailer, sizes = [20_000, 300, 1] }: { trailer?: string; sizes?: readonly number[] } = {},
): Promise<Signed> {
  const word = `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${trailer === undefined ? '' : '-TRAILER'}`;
  const signed = await put({ body: '', payload: word, headers: { 'content-encoding': 'aws-chunked' } });
  const time = signed.headers[signed.headers.indexOf('x-amz-date') + 1] ?? '';
  const signer = new ChunkSigner(mine.SecretAccessKey, time, REGION, 's3', signed.signature);
  const data = sizes.map((size, i) => Buffer.alloc(size, 'abc'[i % 3]));
  return { ...signed, body: change(chunkedBody(signer, data, trailer)) };
}
const TRAILER = 'x-amz-checksum-crc32c:sOO8/Q==';

interface Refused {
  host?: string;
  /** What the upstream gets; default not even a connection. */
  upstream?: RegExp;
}
type Attack = readonly [name: string, make: () => Promise<Signed>, reason: Reason, how?: Refused];

async function attack([, make, reason, { host = HOST, upstream } = {}]: Attack): Promise<void> {
  const send = wireOf(await make());
  const { status } = REASONS[reason];
  await play(scene, { name: '', host, send, status, reason, ...(upstream && { upstream }) });
}
const attacks = (name: string, list: readonly Attack[]): void => {
  describe(name, () => {
    test.each(list.map(one => [one[0], one] as const))('%s', (_, one) => attack(one));
  });
};

attacks('a signature is used for something else', [
  [
    'at another host',
    () => sign({ host: OTHER }).then(s => replaced(s, 'host', () => HOST)),
    'invalid_signature',
  ],
  ['at another host, with its Host', () => sign({ host: OTHER }), 'host_mismatch'],
  ['with another method', () => sign().then(s => ({ ...s, method: 'DELETE' })), 'invalid_signature'],
  ['with another path', () => sign().then(s => retarget(s, t => `${t}2`)), 'invalid_signature'],
  ['with another query', () => sign().then(s => retarget(s, t => `${t}?acl`)), 'invalid_signature'],
  ['with %2F for a slash', () => sign().then(s => retarget(s, () => '/bucket%2Fkey')), 'invalid_signature'],
  ['in a region that no rule signs for', () => sign({ region: 'us-east-1' }), 'rule_denies'],
  ['for a service that no rule signs for', () => sign({ service: 'ec2' }), 'rule_denies'],
  [
    'in another region, after the signing',
    () =>
      sign({ region: 'us-east-1' }).then(s =>
        replaced(s, 'authorization', v => v.replace('us-east-1', REGION)),
      ),
    'invalid_signature',
  ],
  [
    'for another service, after the signing',
    () => sign().then(s => replaced(s, 'authorization', v => v.replace('/s3/', '/sts/'))),
    'invalid_signature',
  ],
  ['16 minutes later', () => sign({ date: later(-16 * 60) }), 'invalid_signature'],
  ['16 minutes before its time', () => sign({ date: later(16 * 60) }), 'invalid_signature'],
  [
    'with a fresh date',
    () =>
      sign({ date: later(-60) }).then(s =>
        replaced(s, 'x-amz-date', () => new Date().toISOString().replace(/[-:]|\.\d{3}/g, '')),
      ),
    'invalid_signature',
  ],
]);

attacks('fields are added, changed or left out', [
  [
    'an x-amz field that is not signed',
    () => sign().then(s => withField(s, 'X-Amz-Acl', 'public-read')),
    'invalid_signature',
  ],
  [
    'one more value of a signed field',
    () => sign({ headers: { 'x-amz-meta-a': '1' } }).then(s => withField(s, 'x-amz-meta-a', '2')),
    'invalid_signature',
  ],
  [
    'another value of a signed field',
    () =>
      sign({ headers: { 'content-type': 'text/plain' } }).then(s =>
        replaced(s, 'content-type', () => 'text/html'),
      ),
    'invalid_signature',
  ],
  [
    'a signed field is left out',
    () => sign({ headers: { 'x-amz-meta-a': '1' } }).then(s => without(s, 'x-amz-meta-a')),
    'invalid_signature',
  ],
  [
    'Host is not signed',
    () => sign().then(s => replaced(s, 'authorization', v => v.replace('host;', ''))),
    'invalid_signature',
  ],
  [
    'a second date',
    () => sign().then(s => withField(s, 'x-amz-date', '20260101T000000Z')),
    'invalid_signature',
  ],
  ['a second hash', () => sign().then(s => withField(s, HASH, 'UNSIGNED-PAYLOAD')), 'invalid_signature'],
  ['no hash for S3', () => sign({ payload: false }), 'invalid_signature'],
  ['a hash that is a word of nobody', () => put({ payload: 'ANYTHING' }), 'invalid_signature'],
  ['events of a stream', () => put({ payload: 'STREAMING-AWS4-HMAC-SHA256-EVENTS' }), 'invalid_signature'],
  [
    'names in another order',
    () => sign().then(s => replaced(s, 'authorization', v => v.replace(`host;${HASH}`, `${HASH};host`))),
    'invalid_signature',
  ],
  [
    'a name twice',
    () => sign().then(s => replaced(s, 'authorization', v => v.replace('host;', 'host;host;'))),
    'invalid_signature',
  ],
]);

attacks('more than one signature', [
  [
    'the same twice',
    () => sign().then(s => withField(s, 'Authorization', authorizationOf(s))),
    'malformed_request',
  ],
  [
    'somebody else’s behind it',
    async () => withField(await sign(), 'Authorization', authorizationOf(await sign({}, FOREIGN))),
    'malformed_request',
  ],
  [
    'in the header and in the query',
    async () => ({ ...(await sign()), target: (await presign()).target }),
    'stub_misplaced',
  ],
  [
    'somebody else’s in the query',
    async () => ({
      ...(await sign()),
      target: (await presign({})).target.replace(mine.AccessKeyId, FOREIGN.AccessKeyId),
    }),
    'invalid_signature',
  ],
  [
    'a bearer token beside it',
    () => sign().then(s => withField(s, 'Authorization', 'Bearer x')),
    'malformed_request',
  ],
  [
    'an old one of version 2 in the query',
    () => sign({ target: '/b?AWSAccessKeyId=AKIAFOREIGNFOREIGN00&Signature=x&Expires=1' }),
    'invalid_signature',
  ],
  [
    'a parameter of it in another case',
    () => presign().then(s => retarget(s, t => `${t}&x-amz-credential=${FOREIGN.AccessKeyId}`)),
    'invalid_signature',
  ],
  [
    'a parameter of it twice',
    () => presign().then(s => retarget(s, t => `${t}&X-Amz-Expires=604800`)),
    'invalid_signature',
  ],
]);

attacks('somebody else’s keys', [
  ['in the header', () => sign({}, FOREIGN), 'foreign_credential'],
  ['in the query', () => signAs(FOREIGN, { host: HOST, expires: 60 }), 'foreign_credential'],
  [
    'of version 2',
    async () =>
      withField(without(await sign(), 'authorization'), 'Authorization', `AWS ${FOREIGN.AccessKeyId}:c2ln`),
    'foreign_credential',
  ],
  [
    'of version 2 in the query',
    async () => ({
      ...without(await sign(), 'authorization'),
      target: '/b?AWSAccessKeyId=AKIAFOREIGNFOREIGN00&Signature=x&Expires=1',
    }),
    'foreign_credential',
  ],
  ['their session token', () => sign({}, { ...mine, SessionToken: 'theirs' }), 'foreign_credential'],
  [
    'their session token in the query',
    () => signAs({ ...mine, SessionToken: 'theirs' }, { host: HOST, expires: 60 }),
    'foreign_credential',
  ],
  [
    'their session token alone',
    async () => withField(without(await sign(), 'authorization'), 'X-Amz-Security-Token', 'theirs'),
    'foreign_credential',
  ],
  ['another session’s token', () => sign({}, { ...mine, SessionToken: token(theirEnv) }), 'stub_misplaced'],
  [
    'the session’s token twice',
    async () =>
      withField(await sign({}, { ...mine, SessionToken: token() }), 'x-amz-security-token', token()),
    'foreign_credential',
  ],
  [
    'the session’s token alone',
    async () => withField(without(await sign(), 'authorization'), 'X-Amz-Security-Token', token()),
    'stub_misplaced',
  ],
  [
    'the session’s token, not signed',
    async () => withField(await sign(), 'X-Amz-Security-Token', token()),
    'invalid_signature',
  ],
  ['another session’s', () => sign({}, theirs), 'stub_misplaced'],
  [
    'the session’s id with another key',
    () => sign({}, { ...mine, SecretAccessKey: FOREIGN.SecretAccessKey }),
    'invalid_signature',
  ],
  [
    'the session’s id with the real key',
    () => sign({}, { ...mine, SecretAccessKey: REAL.SecretAccessKey }),
    'invalid_signature',
  ],
  ['the real ones', () => sign({}, REAL), 'secret_in_request'],
  [
    'the real key in a body whose hash is not told',
    () =>
      post({ service: 'sts' }).then(s => ({
        ...s,
        body: Buffer.from(`x=${encodeURIComponent(REAL.SecretAccessKey)}`),
      })),
    'secret_in_request',
  ],
  [
    'the real token in a field',
    () => sign().then(s => withField(s, 'X-Note', REAL.SessionToken)),
    'secret_in_request',
  ],
  ['the real id alone', () => sign({}, { ...FOREIGN, AccessKeyId: REAL.AccessKeyId }), 'secret_in_request'],
  [
    'none, where they are required',
    async () => without(await sign({ host: MUST }), 'authorization'),
    'stub_missing',
    { host: MUST },
  ],
  [
    'of another algorithm',
    async () => replaced(await sign(), 'authorization', v => v.replace('HMAC-SHA256', 'ECDSA-P256-SHA256')),
    'invalid_signature',
  ],
]);

attacks('a presigned URL', [
  ['that has expired', () => presign({ date: later(-301) }), 'invalid_signature'],
  ['that is of the future', () => presign({ date: later(16 * 60) }), 'invalid_signature'],
  [
    'that lives longer than it was signed for',
    () => presign({ date: later(-301) }).then(s => retarget(s, t => t.replace('Expires=300', 'Expires=600'))),
    'invalid_signature',
  ],
  [
    'that lives for more than a week',
    () => presign().then(s => retarget(s, t => t.replace('Expires=300', 'Expires=604801'))),
    'invalid_signature',
  ],
  [
    'for another key',
    () => presign().then(s => retarget(s, t => t.replace('/key', '/yek'))),
    'invalid_signature',
  ],
  [
    'with another header',
    () => presign().then(s => withField(s, 'x-amz-acl', 'public-read')),
    'invalid_signature',
  ],
  [
    'without its signature',
    () => presign().then(s => retarget(s, t => t.replace(/&X-Amz-Signature=\w+/, ''))),
    'invalid_signature',
  ],
]);

/** What of it may have gone up: never its end. */
const CUT = /^(?![^]*(?:\n0;chunk|The body))/;
attacks('a body that was not signed', [
  [
    'with another hash',
    () => put().then(s => ({ ...s, body: Buffer.from('The body') })),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'none, where one was signed',
    () => put().then(s => ({ ...s, body: Buffer.alloc(0) })),
    'invalid_signature',
  ],
  [
    'whose hash is not told',
    () => post().then(s => ({ ...s, body: Buffer.from('Action=AssumeRoleWithSAML') })),
    'invalid_signature',
  ],
  ['whose hash is not told, too large', () => post({ body: 'x'.repeat(65_537) }), 'body_too_large'],
  [
    'with a changed chunk',
    () => streamed(b => Buffer.from(b.toString('latin1').replace('bbb', 'bbc'), 'latin1')),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with the signature of a chunk changed',
    () => streamed(b => Buffer.from(b.toString('latin1').replace(/signature=./, 'signature=g'), 'latin1')),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'without its last chunk',
    () => streamed(b => b.subarray(0, b.lastIndexOf('0;chunk'))),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with a chunk left out',
    () => streamed(b => b.subarray(b.indexOf('12c;chunk'))),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with more behind its last chunk',
    () => streamed(b => Buffer.concat([b, Buffer.from('0\r\n\r\n')])),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with a chunk that is too large',
    () => streamed(undefined, { sizes: [65_537] }),
    'body_too_large',
    { upstream: CUT },
  ],
  [
    'that is not chunked',
    () => streamed(() => Buffer.from('the body')),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with another trailer',
    () =>
      streamed(b => Buffer.from(b.toString('latin1').replace('sOO8', 'sOO9'), 'latin1'), {
        trailer: TRAILER,
      }),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with a trailer that is not signed',
    () =>
      streamed(b => Buffer.concat([b.subarray(0, b.indexOf('x-amz-trailer')), Buffer.from('\r\n')]), {
        trailer: TRAILER,
      }),
    'invalid_signature',
    { upstream: CUT },
  ],
  [
    'with a trailer that nobody told of',
    () => streamed(b => Buffer.concat([b.subarray(0, -2), Buffer.from(`${TRAILER}\r\n\r\n`)])),
    'invalid_signature',
    { upstream: CUT },
  ],
]);

const action = (text: string, more: Partial<Unsigned> = {}): Promise<Signed> =>
  post({ body: text, headers: { 'content-type': 'application/x-www-form-urlencoded' }, ...more });
attacks('STS is asked for credentials', [
  ['in the body', () => action('Action=AssumeRole&RoleArn=x'), 'rule_denies'],
  [
    'in a body whose hash is told',
    () => action('Action=GetSessionToken', { payload: sha256('Action=GetSessionToken') }),
    'rule_denies',
  ],
  [
    'in a body that is not signed',
    () => action('Action=GetSessionToken', { payload: 'UNSIGNED-PAYLOAD' }),
    'rule_denies',
  ],
  [
    'in the query',
    () => sign({ service: 'sts', target: '/?Action=GetFederationToken&Name=x' }),
    'rule_denies',
  ],
  ['in a presigned URL', () => presign({ service: 'sts', target: '/?Action=AssumeRole' }), 'rule_denies'],
  ['behind a harmless action', () => action('Action=GetCallerIdentity&Action=AssumeRole'), 'rule_denies'],
  [
    'behind a harmless action in the query',
    () => action('Action=AssumeRole', { target: '/?Action=GetCallerIdentity' }),
    'rule_denies',
  ],
  ['in another case', () => action('Action=GetCallerIdentity&action=AssumeRole'), 'rule_denies'],
  ['encoded', () => action('%41ction=Assume%52ole'), 'rule_denies'],
  [
    'by a header',
    () =>
      action('Action=GetCallerIdentity', {
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'x-amz-target': 'AWSSecurityTokenServiceV20110615.AssumeRole',
        },
      }),
    'rule_denies',
  ],
  [
    'by a path',
    () => action('Action=GetCallerIdentity', { target: '/service/Sts/operation/AssumeRole' }),
    'rule_denies',
  ],
  [
    'in a body of another type',
    () => action('Action=GetCallerIdentity', { headers: { 'content-type': 'application/json' } }),
    'rule_denies',
  ],
  ['without a word', () => action(''), 'rule_denies'],
]);

attacks('a stub stands where it does not belong', [
  [
    'the secret access key in a field',
    () => sign().then(s => withField(s, 'User-Agent', mine.SecretAccessKey)),
    'stub_misplaced',
  ],
  [
    'the access key id in a field',
    () => sign().then(s => withField(s, 'User-Agent', mine.AccessKeyId)),
    'stub_misplaced',
  ],
  ['the access key id in the path', () => sign({ target: `/b/${mine.AccessKeyId}` }), 'stub_misplaced'],
  [
    'the access key id in base64',
    () => sign({ target: `/b/${Buffer.from(`a:${mine.AccessKeyId}`).toString('base64url')}` }),
    'stub_misplaced',
  ],
  [
    'the secret access key as bearer',
    async () =>
      withField(without(await sign(), 'authorization'), 'Authorization', `Bearer ${mine.SecretAccessKey}`),
    'stub_misplaced',
  ],
]);

/** Parts of the request as the upstream received it. */
function received(mark: ReturnType<Scene['upstream']['mark']>) {
  const text = scene.upstream.since(mark);
  const [head = '', body = ''] = text.split(/\r\n\r\n(.*)/s);
  const [line = '', ...fields] = head.split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const headers = fields.flatMap(field => field.split(/: (.*)/s).slice(0, 2));
  return { text, method, target, headers, body: Buffer.from(body, 'latin1') };
}

const MANY = Buffer.alloc(200_000, 'stubgate ');
const GOOD: readonly (readonly [string, () => Promise<Signed>])[] = [
  ['in the header', () => sign()],
  [
    'in the header, for a service that is not S3',
    () => sign({ service: 'sts', target: '/?Action=GetCallerIdentity' }),
  ],
  ['with a body and its hash', () => put()],
  ['with a large body and its hash', () => put({ body: MANY })],
  ['with an empty body', () => put({ body: '' })],
  ['with a body whose hash is not told', () => post()],
  ['with a body that is not signed', () => put({ payload: 'UNSIGNED-PAYLOAD' })],
  [
    'with a body in chunks that are not signed',
    async () => ({
      ...(await put({ payload: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER', body: '' })),
      body: Buffer.from(`3\r\nabc\r\n0\r\n${TRAILER}\r\n\r\n`),
    }),
  ],
  ['with a body in chunks', () => streamed()],
  ['with a body in chunks and a trailer', () => streamed(undefined, { trailer: TRAILER })],
  ['in the header, with a session token', () => sign({}, { ...mine, SessionToken: token() })],
  ['in the query, with a session token', () => sign({ expires: 60 }, { ...mine, SessionToken: token() })],
  ['in the query', () => presign()],
  ['in the query, with a body', () => presign({ method: 'PUT', body: MANY })],
  [
    'in the query, for a service that is not S3',
    () => presign({ service: 'sts', target: '/?Action=GetCallerIdentity' }),
  ],
  ['in the query, an hour ago', () => presign({ date: later(-3600), expires: 7200 })],
  ['ten minutes ago', () => sign({ date: later(-600) })],
  [
    'a Range and an Accept-Encoding that do not go on as they came',
    () => sign({ headers: { range: 'bytes=0-1', 'accept-encoding': 'exotic, gzip' } }),
  ],
];

describe('what is signed well is signed anew', () => {
  test.each(GOOD)('%s', async (_, make) => {
    const mark = scene.upstream.mark();
    const signed = await make();
    const send = wireOf(signed);
    await play(scene, {
      name: '',
      host: HOST,
      send,
      splits: [7, send.length - signed.body.length + 1, send.length - 3].filter(at => at < send.length),
      status: 200,
      body: 'ok',
      upstream: /./,
      audit: {
        stubs_seen: JSON.stringify(signed).includes(token()) ? 2 : 1,
        bytes_in: send.length,
        rule: 'aws',
      },
    });
    const { text, ...sent } = received(mark);
    // A good request of another client came behind it.
    const end = sent.body.indexOf('GET /good ');
    const body = end < 0 ? sent.body : sent.body.subarray(0, end);
    expect(await awsFault({ ...sent, body }, REAL)).toBeUndefined();
    for (const part of [mine.AccessKeyId, mine.SecretAccessKey, token(), signed.signature])
      expect(text).not.toContain(part);
    expect(leaks(text, REAL.SecretAccessKey)).toEqual([]);
    expect(text.split(REAL.AccessKeyId)).toHaveLength(2);
    if (signed.target.includes('chunk') || signed.headers.includes('aws-chunked')) return;
    expect(sha256(body)).toBe(sha256(signed.body));
  });

  test('what is not signed goes on as it came', async () => {
    const send = 'GET /bucket/public HTTP/1.1\r\nHost: a.wild.test\r\n\r\n';
    await play(scene, {
      name: '',
      host: HOST,
      send,
      status: 200,
      body: 'ok',
      upstream: send,
      audit: { injected: [] },
    });
  });
});

describe('what comes back', () => {
  const echo = (text: string): string =>
    `HTTP/1.1 403 Forbidden\r\nX-Echo: ${text}\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  test('holds no part of the keys, but the stub’s', async () => {
    const { AccessKeyId, SecretAccessKey, SessionToken } = REAL;
    const shown = `${AccessKeyId} ${SecretAccessKey} ${SessionToken} ${encodeURIComponent(SecretAccessKey)}`;
    const body = `${mine.AccessKeyId} ${mine.SecretAccessKey} ${token()} ${mine.SecretAccessKey}`;
    await play(scene, {
      name: '',
      host: HOST,
      send: wireOf(await presign()),
      answer: echo(shown),
      status: 403,
      body,
      headers: [['x-echo', body]],
      upstream: /./,
      audit: { scrubbed: 8 },
    });
  });

  test('the URL that went up comes back without the id of the keys', async () => {
    await play(scene, {
      name: '',
      host: HOST,
      send: wireOf(await presign()),
      answer: async (peer, request) => {
        await peer.send(echo(request.split(' ')[1] ?? ''));
      },
      status: 403,
      upstream: /./,
      body: s => {
        const credential = `${mine.AccessKeyId}%2F`;
        const url = /X-Amz-Credential=(\w+%2F)/.exec(s.upstream.since({ chunks: 0, connections: 0 }))?.[1];
        expect(url).toBe(`${REAL.AccessKeyId}%2F`);
        return scene.upstream
          .since({ chunks: 0, connections: 0 })
          .split('GET ')
          .at(-1)!
          .split(' ')[0]!
          .replace(/AKIAREALREALREALREAL%2F/, credential)
          .replace(/&X-Amz-Security-Token=[^&]+/, `&X-Amz-Security-Token=${token()}`);
      },
    });
  });
});
