import { expect, test } from 'vitest';
import { awsJson } from '../../src/capture/aws-json.ts';
import { handouts, replaced } from '../../src/capture/read.ts';
import { sts } from '../../src/capture/sts.ts';
import type { CapturePlace } from '../../src/types.ts';

const [ID, KEY, TOKEN] = ['ASIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG+bPx', 'AQoDYXdzEPT//=='];
const VALUE = { AccessKeyId: ID, SecretAccessKey: KEY, SessionToken: TOKEN };
const STUBS = '"AccessKeyId":"id(S)","SecretAccessKey":"S","SessionToken":"token(S)"';
const KEYS = `"AccessKeyId":"${ID}","SecretAccessKey":"${KEY}","SessionToken":"${TOKEN}"`;
const ids = {
  accessKeyId: (stub: string) => `id(${stub})`,
  sessionToken: (stub: string) => `token(${stub})`,
};

interface Got {
  readonly value?: unknown;
  /** s */
  readonly life?: number;
  readonly body: string;
}

function read(place: CapturePlace, text: string, type = 'application/json', status = 200): Got {
  const answer = { headers: ['Content-Type', type], body: Buffer.from(text) };
  const found = handouts([{ credential: 'role', place }], answer, status);
  const body = replaced(
    answer,
    found.map(({ handout }) => [handout, 'S'] as const),
    ids,
  ).body.toString();
  const { value, lifeMs } = found[0]?.handout ?? {};
  return {
    ...(value !== undefined && { value: JSON.parse(value) as unknown }),
    ...(lifeMs !== undefined && { life: Math.round(lifeMs / 1000) }),
    body,
  };
}

const ofSts = sts.build({});
const inSts = (keys: string, more = ''): string =>
  `{"AssumeRoleResponse":{"AssumeRoleResult":{"AssumedRoleUser":{"Arn":"a"},"Credentials":{${keys}}${more}},"ResponseMetadata":{"RequestId":"r"}}}`;
const seconds = Math.floor(Date.now() / 1000) + 3600;

test.each<[what: string, keys: string, written: string, life?: number]>([
  ['plain', KEYS, STUBS],
  ['that end, in seconds', `${KEYS},"Expiration":${seconds}.0`, `${STUBS},"Expiration":${seconds}.0`, 3600],
  ['that end at null', `${KEYS},"Expiration":null`, `${STUBS},"Expiration":null`],
  [
    'in escapes and white space',
    `\n "SessionToken" : "${TOKEN.replaceAll('=', String.raw`\u003d`)}" ,"AccessKeyId":"${ID}","SecretAccessKey":"${KEY.replace('/', String.raw`\/`)}"`,
    '\n "SessionToken" : "token(S)" ,"AccessKeyId":"id(S)","SecretAccessKey":"S"',
  ],
])('STS in JSON: one set of keys, %s', (_, keys, written, life) => {
  const got = read(ofSts, inSts(keys));
  expect(got).toMatchObject({ value: VALUE, body: inSts(written) });
  expect(Math.abs((got.life ?? -1) - (life ?? -1))).toBeLessThanOrEqual(1);
});

test('STS in XML: they end when it says', () => {
  const expiration = new Date(seconds * 1000).toISOString();
  const xml = `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>${ID}</AccessKeyId><SecretAccessKey>${KEY}</SecretAccessKey><SessionToken>${TOKEN}</SessionToken><Expiration>${expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`;
  expect(Math.abs((read(ofSts, xml, 'text/xml').life ?? 0) - 3600)).toBeLessThanOrEqual(1);
  expect(() => read(ofSts, xml.replace(expiration, 'soon'), 'text/xml')).toThrow();
});

test.each([
  '{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Arn":"a"},"ResponseMetadata":{}}}',
  '{}',
  '[]',
  'null',
])('STS in JSON: passes %s, which hands out nothing', text =>
  expect(read(ofSts, text)).toEqual({ body: text }),
);

test('STS in JSON: passes an error', () => {
  const text = '{"Error":{"Code":"AccessDenied","Message":"no","Type":"Sender"},"RequestId":"r"}';
  expect(read(ofSts, text, 'application/json', 403)).toEqual({ body: text });
});

test.each<[string, string]>([
  ['a part that is missing', inSts(KEYS.replace(/,"SessionToken".*/, ''))],
  ['a part that is empty', inSts(KEYS.replace(TOKEN, ''))],
  ['a part that is null', inSts(KEYS.replace(`"${TOKEN}"`, 'null'))],
  ['a part that is a number', inSts(KEYS.replace(`"${TOKEN}"`, '12345678'))],
  ['a part twice', inSts(`${KEYS},"SessionToken":"${TOKEN}"`)],
  ['a part in two spellings', inSts(`${KEYS},"sessionToken":"${TOKEN}"`)],
  ['a part in another case', inSts(`${KEYS},"SESSIONTOKEN":"${TOKEN}"`)],
  ['one more secret', inSts(`${KEYS},"Password":"abcdefgh"`)],
  ['keys beside it', inSts(KEYS, `,"Copy":{"SecretAccessKey":"${KEY}"}`)],
  ['keys in a list', inSts(KEYS, `,"Copy":[[{"SecretKey":"${KEY}"}]]`)],
  ['keys under an escaped name', inSts(KEYS, String.raw`,"Copy":{"Secret\u0041ccessKey":"wJalrXUtnFEMI"}`)],
  ['keys that a later member hides', inSts(KEYS, `,"x":{"SecretAccessKey":"${KEY}"},"x":1`)],
  [
    'two results',
    inSts(KEYS).replace('"ResponseMetadata"', `"OtherResult":{"Credentials":{${KEYS}}},"ResponseMetadata"`),
  ],
  ['another end', inSts(`${KEYS},"Expiration":"tomorrow"`)],
  ['keys in another form', inSts(KEYS.replace('wJalr', 'wJa r'))],
  ['keys elsewhere', `{"Credentials":{${KEYS}}}`],
  ['what is not JSON', inSts(KEYS).slice(0, -1)],
  ['too many levels', `${'['.repeat(200_000)}${']'.repeat(200_000)}`],
])('STS in JSON: refuses %s', (_, text) => expect(() => read(ofSts, text)).toThrow());

const lower = `"accessKeyId":"${ID}","secretAccessKey":"${KEY}","sessionToken":"${TOKEN}"`;
test.each<[service: string, pointer: string, type: string, text: string, written: string]>([
  [
    'IAM Identity Center',
    '/roleCredentials',
    'application/json',
    `{"roleCredentials":{${lower},"expiration":${seconds}000}}`,
    `{"roleCredentials":{"accessKeyId":"id(S)","secretAccessKey":"S","sessionToken":"token(S)","expiration":${seconds}000}}`,
  ],
  [
    'Cognito',
    '/Credentials',
    'application/x-amz-json-1.1',
    `{"Credentials":{"AccessKeyId":"${ID}","Expiration":${seconds},"SecretKey":"${KEY}","SessionToken":"${TOKEN}"},"IdentityId":"i"}`,
    `{"Credentials":{"AccessKeyId":"id(S)","Expiration":${seconds},"SecretKey":"S","SessionToken":"token(S)"},"IdentityId":"i"}`,
  ],
  [
    'Roles Anywhere',
    '/credentialSet/0/credentials',
    'application/json; charset=UTF-8',
    `{"credentialSet":[{"credentials":{${lower},"expiration":"${new Date(seconds * 1000).toISOString()}"}}]}`,
    `{"credentialSet":[{"credentials":{"accessKeyId":"id(S)","secretAccessKey":"S","sessionToken":"token(S)","expiration":"${new Date(seconds * 1000).toISOString()}"}}]}`,
  ],
])('keys of %s at %s', (_, pointer, type, text, written) => {
  const got = read(awsJson.build({ pointer }), text, type);
  expect(got).toMatchObject({ value: VALUE, body: written });
  expect(Math.abs((got.life ?? 0) - 3600)).toBeLessThanOrEqual(1);
});

test('keys at another place than the rule says are withheld, and so is an answer without', () => {
  const place = awsJson.build({ pointer: '/roleCredentials' });
  expect(() => read(place, `{"other":{${lower}}}`)).toThrow();
  expect(() => read(place, `{"roleCredentials":"${KEY}"}`)).toThrow();
  expect(() => read(place, '{"other":1}')).toThrow();
});
