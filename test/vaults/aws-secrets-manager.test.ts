import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { SecretCache } from '../../src/vaults/cache.ts';
import { envNames } from '../../src/vaults/env.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { type AwsKeys, type AwsServer, REGION, refuse, startAws } from '../support/upstreams/aws.ts';
import { awsNowhere, isolateAws, useKeys } from '../support/aws-environment.ts';
import { cleanEnv, runOk } from '../support/clients.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';

const ARN = `arn:aws:secretsmanager:${REGION}:123456789012:secret:ci/github-AbCdEf`;
const ROLE = 'arn:aws:iam::123456789012:role/stubgate';
const ref = (id: string, rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'aws', id, ...rest });
const soon = () => AbortSignal.timeout(10_000);

beforeEach(() => isolateAws());
afterEach(() => vi.unstubAllEnvs());

async function server(hosts?: readonly string[]): Promise<{ aws: AwsServer; keys: AwsKeys }> {
  const aws = await startAws(hosts && { hosts });
  onTestFinished(() => aws.close());
  const keys = aws.newKeys();
  useKeys(keys);
  aws.store('ci/github', '{"token":"sesame-1","deep":{"er":"sesame-2"}}');
  return { aws, keys };
}

function vaultAt(aws: AwsServer, options: object = {}): Vault {
  const endpoint = `http://${aws.address}`;
  return vaultTypes.build('aws-secrets-manager', {
    region: REGION,
    endpoint,
    sts_endpoint: endpoint,
    ...options,
  });
}

const value = async (vault: Vault, source: SecretRef): Promise<string> =>
  (await vault.read(source, soon())).reveal();

/** The error, which holds no secret, no key and no cause that could. */
async function failure(
  vault: Vault,
  source = ref('ci/github'),
  until = soon(),
  keys?: AwsKeys,
): Promise<VaultError> {
  const error: unknown = await vault.read(source, until).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(message.startsWith('aws:')).toBe(true);
  const told = `${message} ${stack} ${JSON.stringify(error)} ${Object.keys(error as object).join()}`;
  expect(told).not.toContain('sesame');
  if (keys) for (const key of Object.values(keys)) expect(told).not.toContain(key);
  expect(cause).toBeUndefined();
  expect(Object.keys(error as object).toSorted()).toEqual(['kind', 'name']);
  return error as VaultError;
}

describe('reading', () => {
  it('gives the text, a field, bytes that are text, by name and by ARN, with the id of the version', async () => {
    const { aws } = await server();
    const stored = aws.store('ci/github', '{"token":"sesame-3"}');
    aws.store('bytes', Buffer.from('sesame-bytes-ü'));
    aws.store('rds!db-1', 'sesame-rds');
    const vault = vaultAt(aws);
    const whole = await vault.read(ref('ci/github'), soon());
    expect([whole.reveal(), whole.version]).toEqual(['{"token":"sesame-3"}', stored.id]);
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-3');
    expect(await value(vault, ref(ARN, { field: 'token' }))).toBe('sesame-3');
    expect(await value(vault, ref('bytes'))).toBe('sesame-bytes-ü');
    expect(await value(vault, ref('rds!db-1'))).toBe('sesame-rds');
  });

  it('takes a version by its id and by its stage', async () => {
    const { aws } = await server();
    const first = aws.secrets.get('ci/github')?.[0]?.id ?? '';
    const second = aws.store('ci/github', '{"token":"sesame-3"}').id;
    const vault = vaultAt(aws);
    const of = async (version: string) => {
      const secret = await vault.read(ref('ci/github', { version, field: 'token' }), soon());
      return [secret.reveal(), secret.version];
    };
    expect(await of(first)).toEqual(['sesame-1', first]);
    expect(await of('AWSPREVIOUS')).toEqual(['sesame-1', first]);
    expect(await of('AWSCURRENT')).toEqual(['sesame-3', second]);
  });

  it('sees what was rotated at the next read', async () => {
    const { aws } = await server();
    const vault = vaultAt(aws);
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
    aws.store('ci/github', '{"token":"sesame-4"}');
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-4');
  });

  it('takes the region from the environment, and signs with a session token', async () => {
    const { aws } = await server();
    useKeys(aws.newKeys(true));
    vi.stubEnv('AWS_REGION', REGION);
    expect(await value(vaultAt(aws, { region: undefined }), ref('ci/github', { field: 'token' }))).toBe(
      'sesame-1',
    );
    expect(aws.requests[0]?.headers.authorization).toContain('x-amz-security-token');
  });

  it('obeys no proxy variable', async () => {
    const { aws } = await server();
    for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy'])
      vi.stubEnv(name, 'http://127.0.0.1:1');
    expect(await value(vaultAt(aws), ref('ci/github', { field: 'token' }))).toBe('sesame-1');
  });

  it('names the variables of the gate’s identity, for no sandbox to inherit', () => {
    const vaults = new Map([['aws', vaultTypes.build('aws-secrets-manager', { region: REGION })]]);
    const names = envNames([], vaults);
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
      expect(names).toContain(name);
    expect(names).not.toContain('AWS_REGION');
  });
});

describe('an identity', () => {
  it('assumes a role with the external id, and reads as that role', async () => {
    const { aws, keys } = await server();
    aws.roles.set(ROLE, { externalId: 'corp-7' });
    const vault = vaultAt(aws, { role_arn: ROLE, external_id: 'corp-7' });
    for (let i = 0; i < 3; i++)
      expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
    expect(aws.assumed).toHaveLength(1);
    expect(aws.assumed[0]).toMatchObject({ by: keys.AccessKeyId, asked: { RoleSessionName: 'stubgate' } });
    const [, read] = aws.requests;
    expect(read?.headers.authorization).toContain(`Credential=${aws.assumed[0]?.keys.AccessKeyId}/`);
  });

  it('is a web identity (IRSA), whose token is read anew', async () => {
    const { aws } = await server();
    useKeys(undefined);
    const token = join(tempFolder('irsa'), 'token');
    vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', token);
    vi.stubEnv('AWS_ROLE_ARN', ROLE);
    writeFileSync(token, 'sesame.old.token');
    aws.roles.set(ROLE, { webIdentity: 'sesame.new.token' });
    const vault = vaultAt(aws);
    expect((await failure(vault)).message).toContain('cannot be had (InvalidIdentityToken)');
    writeFileSync(token, 'sesame.new.token');
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
    expect(aws.assumed.map(({ action }) => action)).toEqual(['AssumeRoleWithWebIdentity']);
  });

  it('is that of a container', async () => {
    const { aws } = await server();
    const { AccessKeyId, SecretAccessKey, SessionToken: Token } = aws.newKeys(true);
    useKeys(undefined);
    const container = await startHttp({}, ({ headers, url }, response) => {
      const isRight = url === '/creds' && headers.authorization === 'sesame-container';
      response.statusCode = isRight ? 200 : 403;
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ AccessKeyId, SecretAccessKey, Token, Expiration: '2099-01-01T00:00:00Z' }),
      );
    });
    onTestFinished(() => container.close());
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `http://${container.address}/creds`);
    vi.stubEnv('AWS_CONTAINER_AUTHORIZATION_TOKEN', 'sesame-container');
    const vault = vaultAt(aws);
    for (let i = 0; i < 3; i++)
      expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
    expect(container.requests).toHaveLength(1);
  });

  it('is a profile’s, of its file as it is now', async () => {
    const { aws, keys } = await server();
    useKeys(aws.newKeys());
    const write = ({ AccessKeyId, SecretAccessKey }: AwsKeys): void =>
      writeFileSync(
        process.env['AWS_SHARED_CREDENTIALS_FILE'] ?? '',
        `[ci]\naws_access_key_id = ${AccessKeyId}\naws_secret_access_key = ${SecretAccessKey}\n`,
      );
    write(keys);
    const vault = vaultAt(aws, { profile: 'ci' });
    await value(vault, ref('ci/github'));
    expect(aws.requests.at(-1)?.headers.authorization).toContain(keys.AccessKeyId);
    aws.keys.delete(keys.AccessKeyId);
    const next = aws.newKeys();
    write(next);
    await value(vault, ref('ci/github'));
    expect(aws.requests.at(-1)?.headers.authorization).toContain(next.AccessKeyId);
  });

  it('that hangs is given up, and asked for again at the next read', async () => {
    const { aws, keys } = await server();
    useKeys(undefined);
    const container = await startHttp({}, () => {});
    onTestFinished(() => container.close());
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `http://${container.address}/creds`);
    const vault = vaultAt(aws);
    expect((await failure(vault)).message).toMatch(/AWS identity cannot be had/);
    useKeys(keys);
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
  });

  it('tells of a role that may not be assumed', async () => {
    const { aws, keys } = await server();
    const error = await failure(vaultAt(aws, { role_arn: ROLE }), ref('ci/github'), soon(), keys);
    expect(error.message).toContain(
      'the role of "role_arn" cannot be assumed (AccessDenied); let its trust policy',
    );
  });

  it('that is missing is told, and looked for again at the next read', async () => {
    const { aws, keys } = await server();
    useKeys(undefined);
    const vault = vaultAt(aws);
    const error = await failure(vault);
    expect([error.kind, error.message]).toEqual([
      'unavailable',
      expect.stringContaining(
        'AWS identity cannot be had (CredentialsProviderError); give the gate a web identity',
      ),
    ]);
    expect(aws.requests).toEqual([]);
    useKeys(keys);
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
  });

  it('that was rotated is taken up by the same read', async () => {
    const { aws, keys } = await server();
    const vault = vaultAt(aws);
    await value(vault, ref('ci/github'));
    aws.keys.delete(keys.AccessKeyId);
    useKeys(aws.newKeys());
    expect(await value(vault, ref('ci/github', { field: 'token' }))).toBe('sesame-1');
  });

  it('that AWS does not know is told, once', async () => {
    const { aws, keys } = await server();
    aws.keys.clear();
    const error = await failure(vaultAt(aws), ref('ci/github'), soon(), keys);
    expect([error.kind, error.message]).toEqual([
      'unavailable',
      expect.stringContaining('does not know the gate’s keys (UnrecognizedClient); renew them'),
    ]);
    expect(aws.requests).toHaveLength(1);
  });
});

describe('a fault', () => {
  it.each([
    ['no such secret', ref('gone'), 'missing', 'there is no such secret, or no such version, in eu-west-1'],
    ['no such version', ref('ci/github', { version: 'NONE' }), 'missing', 'no such version'],
    ['no permission', ref('denied'), 'missing', 'allow secretsmanager:GetSecretValue on the secret'],
    ['a key of KMS', ref('locked'), 'missing', 'allow kms:Decrypt on the key'],
    [
      'another region',
      ref(ARN.replace(REGION, 'us-east-1')),
      'missing',
      'is in us-east-1, but its vault in eu-west-1',
    ],
    ['bytes that are no text', ref('binary'), 'missing', 'is not UTF-8 text; store it again'],
    ['no such field', ref('ci/github', { field: 'other' }), 'missing', 'has no field "other"'],
    ['no JSON', ref('plain', { field: 'token' }), 'missing', 'the secret is not JSON'],
    ['a control character', ref('control'), 'missing', 'holds a control character'],
  ] as const)('is told: %s', async (_, source, kind, words) => {
    const { aws, keys } = await server();
    aws.store('binary', Buffer.from([0xff, 0xfe, 0x00]));
    aws.store('plain', 'sesame');
    aws.store('control', 'sesame\u0000');
    const error = await failure(vaultAt(aws), source, soon(), keys);
    expect([error.kind, error.message]).toEqual([kind, expect.stringContaining(words)]);
  });

  it.each([
    ['ResourceNotFoundException', 400, 'missing', 'there is no such secret'],
    ['DecryptionFailure', 400, 'missing', 'KMS cannot decrypt it'],
    ['InvalidRequestException', 400, 'missing', 'it is marked for deletion'],
    ['InvalidParameterException', 400, 'missing', 'is not a name, an ARN or a version'],
    ['ExpiredTokenException', 400, 'unavailable', '(ExpiredToken); renew them'],
    ['InvalidSignatureException', 403, 'unavailable', '(InvalidSignature); renew them, and check the clock'],
    ['ThrottlingException', 400, 'unavailable', 'AWS is asked too often'],
    ['InternalServiceError', 500, 'unavailable', 'AWS failed (500)'],
    ['sesame', 400, 'unavailable', 'AWS refused it (400)'],
    ['sesame', 302, 'unavailable', 'is not that of AWS'],
    ['sesame', 503, 'unavailable', 'AWS failed (503)'],
  ] as const)('is told: %s, %i', async (type, status, kind, words) => {
    const { aws, keys } = await server();
    aws.fault = (_, response) => {
      refuse(response, type, status, 'sesame sesame');
      return true;
    };
    const error = await failure(vaultAt(aws), ref('ci/github'), soon(), keys);
    expect([error.kind, error.message]).toEqual([kind, expect.stringContaining(words)]);
  });

  it.each([
    ['text', 'sesame'],
    ['a cut object', '{"SecretString":"sesame'],
    ['another type', '{"SecretString":["sesame"]}'],
    ['nothing', ''],
    ['an empty object', '{}'],
    ['null', 'null'],
    ['another object', '{"Name":"sesame"}'],
    ['HTML', '<html>sesame</html>'],
  ])('an answer of 200 with %s gives no secret', async (_, body) => {
    const { aws, keys } = await server();
    aws.fault = (__, response) => {
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(body);
      return true;
    };
    await failure(vaultAt(aws), ref('ci/github'), soon(), keys);
  });

  it('a huge answer is given up', async () => {
    const { aws, keys } = await server();
    let sent = 0;
    aws.fault = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
      const more = (): void => {
        while (!response.destroyed && response.write(`"${'sesame'.repeat(10_000)}`)) sent++;
        if (!response.destroyed) response.once('drain', more);
      };
      more();
      return true;
    };
    const error = await failure(vaultAt(aws), ref('ci/github'), soon(), keys);
    expect(error.message).toContain('larger than 1048576 bytes');
    expect(aws.requests).toHaveLength(1);
    expect(sent).toBeLessThan(1000);
  });

  it.each([
    ['ThrottlingException', 400],
    ['InternalServiceError', 500],
  ])('that passes is waited for: %s', async (type, status) => {
    const { aws } = await server();
    let left = 2;
    aws.fault = (_, response) => {
      if (left-- <= 0) return false;
      refuse(response, type, status);
      return true;
    };
    expect(await value(vaultAt(aws), ref('ci/github', { field: 'token' }))).toBe('sesame-1');
    expect(aws.requests).toHaveLength(3);
  });

  it('a connection that is cut is tried again', async () => {
    const { aws } = await server();
    let left = 1;
    aws.fault = (_, response) => {
      if (left-- <= 0) return false;
      response.destroy();
      return true;
    };
    expect(await value(vaultAt(aws), ref('ci/github', { field: 'token' }))).toBe('sesame-1');
  });

  it('a server that hangs ends with the read’s own time', async () => {
    const { aws, keys } = await server();
    aws.fault = () => true;
    const began = performance.now();
    const error = await failure(vaultAt(aws), ref('ci/github'), AbortSignal.timeout(300), keys);
    expect([error.kind, error.message]).toEqual([
      'unavailable',
      expect.stringContaining('no answer in time'),
    ]);
    expect(performance.now() - began).toBeLessThan(3_000);
    expect((await failure(vaultAt(aws), ref('ci/github'), AbortSignal.abort())).kind).toBe('unavailable');
  });

  it('a certificate that is not trusted is told, whatever NODE_TLS_REJECT_UNAUTHORIZED says', async () => {
    const { aws, keys } = await server(['127.0.0.1']);
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const endpoint = `https://${aws.address}`;
    const error = await failure(vaultAt(aws, { endpoint }), ref('ci/github'), soon(), keys);
    expect(error.message).toMatch(/certificate is not trusted \([A-Z_]+\); check "endpoint", or add its CA/);
    expect(aws.requests).toEqual([]);
  });

  it('a server that is not there is told', async () => {
    const { aws, keys } = await server();
    await aws.close();
    onTestFinished(() => {});
    const error = await failure(vaultAt(aws), ref('ci/github'), soon(), keys);
    expect(error.message).toContain('AWS cannot be reached (ECONNREFUSED)');
  });
});

it('keeps no process alive', async () => {
  const { aws, keys } = await server();
  const options = { region: REGION, endpoint: `http://${aws.address}` };
  const use = `
    const { vaultTypes } = await import(${JSON.stringify(new URL('../../src/vaults/index.ts', import.meta.url))});
    const vault = vaultTypes.build('aws-secrets-manager', ${JSON.stringify(options)});
    const read = () => vault.read({ vault: 'aws', id: 'ci/github' }, AbortSignal.timeout(600_000));
    console.log((await read()).equals(await read()));`;
  const env = {
    ...awsNowhere(),
    AWS_ACCESS_KEY_ID: keys.AccessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.SecretAccessKey,
  };
  const ran = await runOk(process.execPath, ['--input-type=module', '-e', use], {
    env: cleanEnv(env),
    timeout: 20_000,
  });
  expect(ran.output).toBe('true\n');
});

it('needs a region, written or in the environment', () => {
  const build = () => vaultTypes.build('aws-secrets-manager', {});
  expect(build).toThrow('is missing; write one such as eu-west-1, or set AWS_REGION where the gate starts');
  vi.stubEnv('AWS_REGION', 'nowhere');
  expect(build).toThrow('is missing');
  vi.stubEnv('AWS_REGION', REGION);
  expect(build).not.toThrow();
});

it('10,000 first requests read once, and a failure is not asked for again at once', async () => {
  const { aws } = await server();
  const cache = new SecretCache({
    vaults: new Map([['aws', vaultAt(aws)]]),
    credentials: new Map(
      ['ci/github', 'denied'].map(id => [id, { name: id, ref: ref(id), ttlMs: 60_000 }] as const),
    ),
  });
  const all = await Promise.all(Array.from({ length: 10_000 }, async () => cache.get('ci/github')));
  expect(new Set(all).size).toBe(1);
  expect(aws.given).toEqual(['ci/github']);
  const refused = await Promise.allSettled(Array.from({ length: 10_000 }, async () => cache.get('denied')));
  expect(refused.every(({ status }) => status === 'rejected')).toBe(true);
  expect(aws.requests).toHaveLength(2);
});
