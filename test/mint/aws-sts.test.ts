import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { minters } from '../../src/mint/index.ts';
import { VaultError } from '../../src/types.ts';
import { closing } from '../e2e/scene.ts';
import { isolateAws, useKeys } from '../support/aws-environment.ts';
import { leaks } from '../support/canary.ts';
import { tempFolder } from '../support/temp.ts';
import {
  assumedXml,
  awsKeys,
  type AwsServer,
  REGION,
  refuseXml,
  startAws,
} from '../support/upstreams/aws.ts';
import { type Desk, deskOf, openDesk, principal, source } from './desk.ts';

const ROLE = 'arn:aws:iam::123456789012:role/agents';

beforeEach(() => isolateAws());
afterEach(() => vi.unstubAllEnvs());

async function server(): Promise<AwsServer> {
  const aws = closing(await startAws());
  aws.roles.set(ROLE, {});
  return aws;
}

const optionsAt = (aws: AwsServer, more: object = {}) => ({
  role_arn: ROLE,
  region: REGION,
  endpoint: `http://${aws.address}`,
  ...more,
});

async function scene(more: object = {}): Promise<{ aws: AwsServer; desk: Desk; long: string }> {
  const aws = await server();
  const desk = deskOf('aws-sts', optionsAt(aws, more));
  const long = JSON.stringify(aws.newKeys());
  desk.vault.set('api', long);
  return { aws, desk, long };
}

function expectNothingTold(aws: AwsServer, desk: Desk): void {
  const told = desk.told();
  for (const keys of aws.keys.values())
    for (const part of [keys.SecretAccessKey, keys.SessionToken ?? keys.SecretAccessKey])
      expect(leaks(told, part)).toEqual([]);
  expect(told).not.toContain('sesame');
}

describe('keys of a role', () => {
  it('are asked for with a signature by the pair in the vault, and are JSON of three parts', async () => {
    const { aws, desk, long } = await scene({ duration: '15m' });
    const before = Date.now();
    const token = await desk.get();
    const [one] = aws.assumed;
    expect(token.reveal()).toBe(
      `{"AccessKeyId":"${one?.keys.AccessKeyId}","SecretAccessKey":"${one?.keys.SecretAccessKey}","SessionToken":"${one?.keys.SessionToken}"}`,
    );
    expect(one?.by).toBe((JSON.parse(long) as { AccessKeyId: string }).AccessKeyId);
    expect(one?.asked).toEqual({
      Action: 'AssumeRole',
      Version: '2011-06-15',
      RoleArn: ROLE,
      RoleSessionName: 'stubgate',
      DurationSeconds: '900',
    });
    const end = Date.parse(token.version?.replace('expires ', '') ?? '');
    expect(Math.abs(end - before - 900_000)).toBeLessThan(5_000);
    expect((await desk.get()).equals(token)).toBe(true);
    expect(aws.assumed).toHaveLength(1);
    expectNothingTold(aws, desk);
  });

  it('are asked for again shortly before they end', async () => {
    const { aws, desk } = await scene();
    await desk.get();
    desk.now = Date.now() + 3_570_000;
    await desk.get();
    expect(aws.assumed).toHaveLength(2);
  });

  it('carry session name, tags, policies and external id as written', async () => {
    const { aws, desk } = await scene({
      session_name: 'ci',
      tags: { team: 'a b', 'cost:center': '7' },
      policy: { Version: '2012-10-17', Statement: [] },
      policy_arns: ['arn:aws:iam::aws:policy/ReadOnlyAccess'],
      external_id: 'corp-7',
    });
    aws.roles.set(ROLE, { externalId: 'corp-7' });
    await desk.get();
    expect(aws.assumed[0]?.asked).toMatchObject({
      RoleSessionName: 'ci',
      'Tags.member.1.Key': 'team',
      'Tags.member.1.Value': 'a b',
      'Tags.member.2.Key': 'cost:center',
      'Tags.member.2.Value': '7',
      Policy: '{"Version":"2012-10-17","Statement":[]}',
      'PolicyArns.member.1.arn': 'arn:aws:iam::aws:policy/ReadOnlyAccess',
      ExternalId: 'corp-7',
    });
  });

  it('are shared by sessions that STS sees alike, and others get their own', async () => {
    const { aws, desk } = await scene({
      session_name: 'ci-{label.run}-{sub}',
      tags: { repo: 'acme/{label.repo}', agent: '{act}' },
    });
    const who = (run: string, repo = 'w') => ({
      ...principal(run, { run, repo, more: run }),
      sub: 'octo@example.com',
      act: 'bot',
    });
    const first = await desk.get(who('1'));
    expect((await desk.get({ ...who('1'), session: 'other' })).equals(first)).toBe(true);
    expect((await desk.get(who('2'))).equals(first)).toBe(false);
    expect((await desk.get(who('1', 'x'))).equals(first)).toBe(false);
    expect(aws.assumed.map(({ asked }) => [asked['RoleSessionName'], asked['Tags.member.1.Value']])).toEqual([
      ['ci-1-octo@example.com', 'acme/w'],
      ['ci-2-octo@example.com', 'acme/w'],
      ['ci-1-octo@example.com', 'acme/x'],
    ]);
    expect(aws.assumed[0]?.asked['Tags.member.2.Value']).toBe('bot');
  });

  it('have a session name in STS’s characters, different for what differs', async () => {
    const { aws, desk } = await scene({ session_name: 'ci-{label.run}' });
    for (const run of [
      'a/b',
      'a b',
      'ü',
      'x'.repeat(100),
      `${'x'.repeat(100)}y`,
      'x\r\nHost: evil',
      '&RoleArn=a',
    ])
      await desk.get(principal('s', { run }));
    const names = aws.assumed.map(({ asked }) => asked['RoleSessionName'] ?? '');
    for (const name of names) expect(name).toMatch(/^ci-[\w+=,.@-]{1,61}$/);
    expect(new Set(names).size).toBe(7);
    expect(names[0]).toMatch(/^ci-a-b-[0-9a-f]{12}$/);
    expect(new Set(aws.assumed.map(({ asked }) => asked['RoleArn']))).toEqual(new Set([ROLE]));
  });

  it.each([
    ['no label', { session_name: '{label.run}' }, {}, 'the session has no label "run"'],
    ['an inherited label', { session_name: '{label.constructor}' }, {}, 'has no label "constructor"'],
    ['an empty label', { tags: { a: '{label.run}' } }, { run: '' }, 'the session has no label "run"'],
    ['no sub', { tags: { a: '{sub}' } }, {}, 'the session has no "sub"'],
    [
      'a tag that STS would not take',
      { tags: { a: '{label.run}' } },
      { run: 'a*' },
      'give no value for the tag "a"',
    ],
    [
      'a tag that is too long',
      { tags: { a: '{label.run}' } },
      { run: 'x'.repeat(257) },
      'no value for the tag "a"',
    ],
  ])('are refused to a session with %s, and nothing is asked', async (_, options, labels, words) => {
    const { aws, desk } = await scene(options);
    const error = await desk.refusal(principal('s', labels));
    expect([error.kind, error.message]).toEqual(['missing', expect.stringContaining(words)]);
    expect(aws.requests).toEqual([]);
  });
});

describe('who asks', () => {
  it('may be a pair with a session token, as credential_process prints it', async () => {
    const { aws, desk } = await scene();
    const keys = aws.newKeys(true);
    desk.vault.set('api', JSON.stringify({ Version: 1, ...keys, Expiration: '2099-01-01T00:00:00Z' }));
    await desk.get();
    expect(aws.assumed[0]?.by).toBe(keys.AccessKeyId);
  });

  it.each([null, ''])('may be a pair whose session token is %j', async SessionToken => {
    const { aws, desk } = await scene();
    desk.vault.set('api', JSON.stringify({ ...aws.newKeys(), SessionToken }));
    await desk.get();
    expect(aws.assumed).toHaveLength(1);
  });

  it('may be a web identity token, which is sent without a signature', async () => {
    const { aws, desk } = await scene({ web_identity: true });
    aws.roles.set(ROLE, { webIdentity: 'sesame.jwt.token' });
    useKeys(aws.newKeys());
    desk.vault.set('api', 'sesame.jwt.token\n');
    const token = await desk.get();
    expect(token.reveal()).toContain(aws.assumed[0]?.keys.SecretAccessKey);
    expect(aws.assumed[0]?.asked).toMatchObject({ Action: 'AssumeRoleWithWebIdentity' });
    desk.vault.set('api', 'sesame.other.token');
    desk.now = Date.now() + 3_599_000;
    await desk.get();
    expectNothingTold(aws, desk);
  });

  it('is the gate itself without `from`: no vault is read', async () => {
    const aws = await server();
    const keys = aws.newKeys();
    useKeys(keys);
    const minter = minters.build('aws-sts', optionsAt(aws));
    const desk = openDesk({ ...source(minter), isVaulted: false });
    await desk.get();
    expect(aws.assumed[0]?.by).toBe(keys.AccessKeyId);
    expect(desk.reads).toEqual([]);
    expect(minter.variables).toContain('AWS_SECRET_ACCESS_KEY');
    expectNothingTold(aws, desk);
  });

  it('is looked for anew when AWS does not know it any more', async () => {
    const aws = await server();
    const keys = aws.newKeys();
    useKeys(keys);
    const desk = openDesk({
      ...source(minters.build('aws-sts', optionsAt(aws, { session_name: '{label.run}' }))),
      isVaulted: false,
    });
    await desk.get(principal('1', { run: 'r1' }));
    aws.keys.delete(keys.AccessKeyId);
    expect((await desk.refusal(principal('2', { run: 'r2' }))).message).toContain('(InvalidClientTokenId)');
    useKeys(aws.newKeys());
    await desk.get(principal('3', { run: 'r3' }));
  });

  it('is a web identity of the gate’s (IRSA), asked for at the same STS, once for many sessions', async () => {
    const aws = await server();
    const own = 'arn:aws:iam::123456789012:role/stubgate';
    const token = join(tempFolder('irsa'), 'token');
    writeFileSync(token, 'sesame.jwt.token');
    vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', token);
    vi.stubEnv('AWS_ROLE_ARN', own);
    aws.roles.set(own, { webIdentity: 'sesame.jwt.token' });
    const minter = minters.build('aws-sts', optionsAt(aws, { session_name: '{label.run}' }));
    const desk = openDesk({ ...source(minter), isVaulted: false });
    for (const run of ['r1', 'r2', 'r3']) await desk.get(principal(run, { run }));
    const [first, ...others] = aws.assumed;
    expect(first?.action).toBe('AssumeRoleWithWebIdentity');
    expect(others.map(({ action, by }) => [action, by])).toEqual(
      [1, 2, 3].map(() => ['AssumeRole', first?.keys.AccessKeyId]),
    );
    expectNothingTold(aws, desk);
  });

  it('is told to be nobody where there is no identity', async () => {
    const aws = await server();
    const desk = openDesk({ ...source(minters.build('aws-sts', optionsAt(aws))), isVaulted: false });
    expect((await desk.refusal()).message).toContain('AWS identity cannot be had (CredentialsProviderError)');
    expect(aws.requests).toEqual([]);
  });

  it.each([
    ['text', 'sesame-sesame'],
    ['half a pair', '{"AccessKeyId":"AKIASESAMESESAMESESA"}'],
    ['a list', '["sesame"]'],
    ['null', 'null'],
    ['numbers', '{"AccessKeyId":1234567890123456,"SecretAccessKey":1234567890123456}'],
    ['a line break', '{"AccessKeyId":"AKIASESAMESESAMESESA","SecretAccessKey":"sesamesesamesesame\\n1"}'],
  ])('is not %s', async (_, text) => {
    const { aws, desk } = await scene();
    desk.vault.set('api', text);
    const error = await desk.refusal();
    expect([error.kind, error.message]).toEqual([
      'missing',
      expect.stringContaining('is no pair of keys; store'),
    ]);
    expect(aws.requests).toEqual([]);
    expect(desk.told()).not.toMatch(/sesame/i);
  });

  it('is read from the vault again when AWS refuses the pair', async () => {
    const { aws, desk, long } = await scene();
    aws.keys.clear();
    const next = aws.newKeys();
    const get = desk.vault.get.bind(desk.vault);
    let reads = 0;
    desk.vault.get = name => (reads++ === 0 ? long : get(name));
    desk.vault.set('api', JSON.stringify(next));
    await desk.get();
    expect(aws.assumed.map(({ by }) => by)).toEqual([next.AccessKeyId]);
  });
});

describe('a fault', () => {
  it.each([
    ['AccessDenied', 403, 'missing', 'let the trust policy of "role_arn" name who asks'],
    ['ExpiredToken', 403, 'missing', 'check that the keys or the token are still good'],
    ['SignatureDoesNotMatch', 403, 'missing', '(SignatureDoesNotMatch)'],
    ['ValidationError', 400, 'missing', 'check "duration"'],
    ['MalformedPolicyDocument', 400, 'missing', 'check "policy"'],
    ['PackedPolicyTooLarge', 400, 'missing', 'shorten "policy"'],
    ['RegionDisabledException', 403, 'missing', 'activate STS in that region'],
    ['Throttling', 400, 'unavailable', 'AWS is asked too often'],
    ['InternalFailure', 500, 'unavailable', 'AWS failed (500)'],
    ['sesame', 400, 'missing', 'refused it (400)'],
    ['constructor', 400, 'missing', 'refused it (400); check that the keys'],
    ['sesame', 302, 'unavailable', 'no redirect is followed'],
  ] as const)('is told: %s, %i', async (code, status, kind, words) => {
    const { aws, desk } = await scene();
    aws.fault = (_, response) => {
      response.setHeader('location', `http://${aws.address}/sesame`);
      refuseXml(response, code, status);
      return true;
    };
    const error = await desk.refusal();
    expect([error.kind, error.message]).toEqual([kind, expect.stringContaining(words)]);
    expect(error).toBeInstanceOf(VaultError);
    expectNothingTold(aws, desk);
  });

  const whole = awsKeys(true);
  const later = '2099-01-01T00:00:00Z';
  it.each([
    ['text', 'sesame'],
    ['nothing', ''],
    ['JSON', '{"AssumeRoleResponse":{"sesame":1}}'],
    ['cut XML', assumedXml('AssumeRole', whole, later).slice(0, 400)],
    ['no key', assumedXml('AssumeRole', { ...whole, SecretAccessKey: '' }, later)],
    [
      'a key with a quote',
      assumedXml('AssumeRole', { ...whole, SecretAccessKey: 'sesame"sesame"sesame' }, later),
    ],
    [
      'a line break in a token',
      assumedXml('AssumeRole', { ...whole, SessionToken: 'sesame\nsesame' }, later),
    ],
    ['no end', assumedXml('AssumeRole', whole, 'sesame')],
    ['an end in the past', assumedXml('AssumeRole', whole, '2020-01-01T00:00:00Z')],
    [
      'an entity bomb',
      `<!DOCTYPE a [<!ENTITY b "sesame">]>${assumedXml('AssumeRole', { ...whole, SecretAccessKey: '&b;&b;&b;&b;' }, later)}`,
    ],
  ])('an answer with %s gives no keys', async (_, text) => {
    const { aws, desk } = await scene();
    aws.fault = (__, response) => {
      response.writeHead(200, { 'content-type': 'text/xml' });
      response.end(text);
      return true;
    };
    await desk.refusal();
    expect(leaks(desk.told(), whole.SecretAccessKey)).toEqual([]);
    expectNothingTold(aws, desk);
  });

  it('that passes is waited for', async () => {
    const { aws, desk } = await scene();
    let left = 2;
    aws.fault = (_, response) => {
      if (left-- <= 0) return false;
      refuseXml(response, left === 1 ? 'Throttling' : 'InternalFailure', left === 1 ? 400 : 500);
      return true;
    };
    await desk.get();
    expect(aws.requests).toHaveLength(3);
  });

  it('a server that hangs ends with the mint’s time', async () => {
    const aws = await server();
    const desk = deskOf('aws-sts', optionsAt(aws), 200);
    desk.vault.set('api', JSON.stringify(aws.newKeys()));
    aws.fault = () => true;
    const error = await desk.refusal();
    expect([error.kind, error.message]).toEqual(['unavailable', expect.stringContaining('within 200 ms')]);
    aws.fault = undefined;
    desk.now = Date.now() + 3_000;
    await desk.get();
  });
});

it('needs a region, written or in the environment', () => {
  const build = () => minters.build('aws-sts', { role_arn: ROLE });
  expect(build).toThrow('is missing; write one such as eu-west-1, or set AWS_REGION where the gate starts');
  vi.stubEnv('AWS_REGION', REGION);
  expect(build).not.toThrow();
});
