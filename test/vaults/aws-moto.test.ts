import { request } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { minters } from '../../src/mint/index.ts';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { signedIdentity } from '../../src/vaults/hashicorp/aws.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { openDesk, principal, source } from '../mint/desk.ts';
import { isolateAws, useKeys } from '../support/aws-environment.ts';
import { canary } from '../support/canary.ts';
import { type Moto, motoServer, motoUser, startMoto } from '../support/moto.ts';
import { type AwsKeys, awsKeys, REGION } from '../support/upstreams/aws.ts';

const ROLE = 'arn:aws:iam::123456789012:role/agents';
const ref = (rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'aws', id: 'ci/github', ...rest });
const soon = () => AbortSignal.timeout(20_000);

if (motoServer === undefined) console.warn('skipped, not installed: moto_server');

describe.skipIf(motoServer === undefined)('against moto, which checks signatures and policies', () => {
  const [first, second] = [canary('sesame-'), canary('sesame-')];
  let moto: Moto;
  let reader: AwsKeys;
  let nobody: AwsKeys;
  let arn = '';
  let firstId = '';

  beforeAll(async () => {
    moto = await startMoto();
    const created = JSON.parse(
      await moto.call('secretsmanager', 'CreateSecret', {
        Name: 'ci/github',
        SecretString: `{"token":"${first}"}`,
      }),
    ) as { ARN: string; VersionId: string };
    ({ ARN: arn, VersionId: firstId } = created);
    await moto.call('secretsmanager', 'PutSecretValue', {
      SecretId: 'ci/github',
      SecretString: `{"token":"${second}"}`,
    });
    await moto.call('secretsmanager', 'CreateSecret', {
      Name: 'bytes',
      SecretBinary: Buffer.from(first).toString('base64'),
    });
    await moto.call('iam', 'CreateRole', {
      RoleName: 'agents',
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: '*' } }],
      }),
    });
    await moto.call('iam', 'PutRolePolicy', {
      RoleName: 'agents',
      PolicyName: 'p',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 'secretsmanager:GetSecretValue', Resource: '*' }],
      }),
    });
    reader = await motoUser(moto, 'reader', ['secretsmanager:GetSecretValue', 'sts:AssumeRole']);
    nobody = await motoUser(moto, 'nobody', ['s3:ListAllMyBuckets']);
    await moto.guard();
  }, 60_000);
  afterAll(() => moto?.stop());
  beforeEach(() => {
    isolateAws();
    useKeys(reader);
  });
  afterEach(() => vi.unstubAllEnvs());

  const endpoint = () => `http://127.0.0.1:${moto.port}`;
  const vault = (options: object = {}): Vault =>
    vaultTypes.build('aws-secrets-manager', {
      region: REGION,
      endpoint: endpoint(),
      sts_endpoint: endpoint(),
      ...options,
    });
  const value = async (of: Vault, source: SecretRef) => (await of.read(source, soon())).reveal();
  const failure = async (of: Vault, source: SecretRef): Promise<VaultError> => {
    const error: unknown = await of.read(source, soon()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(VaultError);
    expect(`${(error as VaultError).stack}`).not.toContain('sesame');
    return error as VaultError;
  };

  it('reads by name, ARN, field, version and stage', async () => {
    const aws = vault();
    expect(await value(aws, ref({ field: 'token' }))).toBe(second);
    expect(await value(aws, ref({ id: arn, field: 'token' }))).toBe(second);
    expect(await value(aws, ref({ version: 'AWSPREVIOUS', field: 'token' }))).toBe(first);
    expect(await value(aws, ref({ version: firstId, field: 'token' }))).toBe(first);
    expect(await value(aws, ref({ id: 'bytes' }))).toBe(first);
  });

  it('tells of a secret that is not there, of no permission, and of wrong keys', async () => {
    expect((await failure(vault(), ref({ id: 'gone' }))).message).toContain('there is no such secret');
    useKeys(nobody);
    expect((await failure(vault(), ref())).message).toContain('allow secretsmanager:GetSecretValue');
    // moto says so in XML here, with nothing but the status that the SDK reads.
    useKeys({ ...reader, SecretAccessKey: awsKeys().SecretAccessKey });
    expect((await failure(vault(), ref())).message).toContain('check the gate’s keys');
    useKeys(awsKeys());
    expect((await failure(vault(), ref())).message).toContain('check the gate’s keys');
  });

  it('reads as a role that it assumes', async () => {
    expect(await value(vault({ role_arn: ROLE }), ref({ field: 'token' }))).toBe(second);
    useKeys(nobody);
    expect((await failure(vault({ role_arn: ROLE }), ref())).message).toContain(
      'cannot be assumed (AccessDenied)',
    );
  });

  it.each([true, false])(
    'mints keys of a role that read what it may read; from a vault: %s',
    async isVaulted => {
      const options = {
        role_arn: ROLE,
        region: REGION,
        endpoint: endpoint(),
        session_name: 'ci-{label.run}',
      };
      const desk = openDesk({ ...source(minters.build('aws-sts', options)), isVaulted });
      desk.vault.set('api', JSON.stringify(reader));
      const minted = JSON.parse((await desk.get(principal('s', { run: '7' }))).reveal()) as AwsKeys;
      useKeys(minted);
      expect(await value(vault(), ref({ field: 'token' }))).toBe(second);
      desk.vault.set('api', JSON.stringify(nobody));
      useKeys(nobody);
      const other = openDesk({ ...source(minters.build('aws-sts', options)), isVaulted });
      other.vault.set('api', JSON.stringify(nobody));
      expect((await other.refusal(principal('s', { run: '8' }))).message).toContain('(AccessDenied)');
    },
  );

  it.each([undefined, REGION])('knows who signed a login for HashiCorp Vault: region %s', async region => {
    const login = await signedIdentity({ role: 'r', region, server_id: 'vault.corp' });
    const decoded = (name: string) => Buffer.from(login[name] ?? '', 'base64').toString();
    const send = (headers: Record<string, string>) =>
      new Promise<string>((resolve, reject) => {
        const outgoing = request(
          { host: '127.0.0.1', port: moto.port, method: 'POST', path: '/', headers },
          incoming => {
            const chunks: Buffer[] = [];
            incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
            incoming.on('end', () => resolve(Buffer.concat(chunks).toString()));
          },
        );
        outgoing.on('error', reject);
        outgoing.end(decoded('iam_request_body'));
      });
    const headers = JSON.parse(decoded('iam_request_headers')) as Record<string, string>;
    expect(await send(headers)).toContain(':user/reader');
    expect(await send({ ...headers, 'X-Vault-AWS-IAM-Server-ID': 'other' })).not.toContain(':user/reader');
  });
});
