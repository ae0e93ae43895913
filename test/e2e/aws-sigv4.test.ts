import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cleanEnv, type Env, needs, run, type Ran, runOk } from '../support/clients.ts';
import { type LocalGate, startTestGate } from '../support/gate.ts';
import { motoServer } from '../support/moto.ts';
import { type Moto, startMoto } from '../support/signed-moto.ts';
import { expectClean } from './scene.ts';

const REGION = 'eu-west-1';
const SERVICES = ['s3', 'sts', 'secretsmanager', 'dynamodb'];
const BUCKET = 'bucket-of-the-gate';
const at = (name: string): string => `${name}.${REGION}.amazonaws.com`;
const S3 = at('s3');
const WRONG = 'secretsmanager.us-east-1.amazonaws.com';
const HOSTS = [...SERVICES.map(at), `${BUCKET}.${S3}`];
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

let moto: Moto;
let gate: LocalGate;
let env: Env;

beforeAll(async () => {
  if (motoServer === undefined) return;
  moto = await startMoto([...HOSTS, WRONG]);
  const rule = { as: 'aws-sigv4', regions: [REGION, 'us-east-1'], services: SERVICES };
  const wrong = JSON.stringify({ ...moto.keys, SecretAccessKey: 'x'.repeat(40) });
  gate = await startTestGate({
    credentials: {
      aws: { secret: JSON.stringify(moto.keys), env: 'AWS_ACCESS_KEY_ID', shape: 'aws' },
      wrong: { secret: wrong, env: 'WRONG_ACCESS_KEY_ID', shape: 'aws' },
    },
    rules: [
      { name: 'aws', hosts: HOSTS, allow_range: true, inject: [{ credential: 'aws', ...rule }] },
      { name: 'wrong', hosts: [WRONG], inject: [{ credential: 'wrong', ...rule }] },
    ],
    upstreams: Object.fromEntries([...HOSTS, WRONG].map(host => [host, moto])),
  });
  const session = await gate.session();
  env = cleanEnv({
    ...session.env,
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_STS_REGIONAL_ENDPOINTS: 'regional',
  });
});
afterAll(async () => {
  await gate?.stop();
  await moto?.close();
});

/** `needs` for tests against moto, which no Debian machine need have. */
function withMoto(...clients: readonly string[]): ReturnType<typeof needs> {
  if (motoServer !== undefined) return needs(...clients);
  return (name, body) => {
    test.skip(`${name} (not installed: moto_server)`, body);
  };
}

function clean(ran: Ran): string {
  for (const secret of Object.values(moto.keys)) expectClean(ran.output, secret);
  return ran.stdout;
}
const python = async (program: string): Promise<string> =>
  clean(await runOk('/usr/bin/python3', ['-c', program], { env }));
const aws = async (...args: readonly string[]): Promise<string> =>
  clean(await runOk('/usr/bin/aws', args, { env }));
const curl = async (...args: readonly string[]): Promise<string> =>
  clean(await runOk('curl', ['-sS', '--fail-with-body', ...args], { env }));

const SETUP = `
import boto3, json
from botocore.config import Config
s3 = boto3.client('s3', config=Config(signature_version='s3v4'))
buckets = [bucket['Name'] for bucket in s3.list_buckets()['Buckets']]
if '${BUCKET}' not in buckets:
    s3.create_bucket(Bucket='${BUCKET}', CreateBucketConfiguration={'LocationConstraint': '${REGION}'})
`;
const KEYS = `
keys = ['plain', 'a b', 'a+b', 'ünï/日本', 'x//y', 'til~de', '100%', "q'(u)o*te!", 'a=b&c?d#e', 'semi;colon,at@', '%2F', '%41', '🙂.txt', 'tail/']
`;

withMoto('python3-boto3')('boto3 puts, gets, lists and deletes objects with any name', async () => {
  const shown = await python(`${SETUP}${KEYS}
for key in keys:
    s3.put_object(Bucket='${BUCKET}', Key='odd/' + key, Body=key.encode(), Metadata={'name': 'a  b'}, ContentType='text/plain')
    got = s3.get_object(Bucket='${BUCKET}', Key='odd/' + key)
    assert got['Body'].read() == key.encode(), key
found = [o['Key'] for page in s3.get_paginator('list_objects_v2').paginate(Bucket='${BUCKET}', Prefix='odd/', PaginationConfig={'PageSize': 5}) for o in page['Contents']]
assert sorted(found) == sorted('odd/' + key for key in keys), found
s3.copy_object(Bucket='${BUCKET}', Key='copy', CopySource={'Bucket': '${BUCKET}', 'Key': 'odd/a b'})
for key in keys:
    s3.delete_object(Bucket='${BUCKET}', Key='odd/' + key)
print(s3.get_object(Bucket='${BUCKET}', Key='copy', Range='bytes=2-2')['Body'].read())
`);
  expect(shown).toBe("b'b'\n");
});

withMoto('python3-boto3')('boto3 uploads in parts, and a body of many megabytes', async () => {
  const shown = await python(`${SETUP}
import io
from boto3.s3.transfer import TransferConfig
body = bytes(range(256)) * 4096 * 12
s3.upload_fileobj(io.BytesIO(body), '${BUCKET}', 'parts', Config=TransferConfig(multipart_threshold=5*1024*1024, multipart_chunksize=5*1024*1024))
s3.put_object(Bucket='${BUCKET}', Key='whole', Body=body)
for key in ('parts', 'whole'):
    out = io.BytesIO()
    s3.download_fileobj('${BUCKET}', key, out)
    assert out.getvalue() == body
print(s3.head_object(Bucket='${BUCKET}', Key='parts')['ETag'][-3:-1])
`);
  expect(shown).toBe('-3\n');
});

withMoto('python3-boto3', 'curl')('URLs that boto3 presigned are served, until they expire', async () => {
  const shown = await python(`${SETUP}${KEYS}
s3 = boto3.client('s3', endpoint_url='https://${S3}', config=Config(signature_version='s3v4'))
for key in keys:
    params = {'Bucket': '${BUCKET}', 'Key': 'pre/' + key}
    print(s3.generate_presigned_url('put_object', Params=params))
    print(s3.generate_presigned_url('get_object', Params={**params, 'ResponseContentDisposition': 'attachment; filename="ä b"'}))
print(s3.generate_presigned_url('get_object', Params={'Bucket': '${BUCKET}', 'Key': 'pre/plain'}, ExpiresIn=1))
print(boto3.client('sts').generate_presigned_url('get_caller_identity', HttpMethod='GET'))
`);
  const urls = shown.trim().split('\n');
  const [short = '', sts = ''] = urls.splice(-2);
  for (let i = 0; i < urls.length; i += 2) {
    await curl('-X', 'PUT', '--data-binary', `text ${i}`, '-H', 'content-type:', urls[i] as string);
    expect(await curl(urls[i + 1] as string)).toBe(`text ${i}`);
  }
  // Moto cannot tell whom it is for, but the signature was checked.
  await curl(sts);
  expect(moto.requests.at(-1)?.headers.host).toBe(at('sts'));
  expect(moto.faults).toEqual([]);
  await new Promise(resolve => setTimeout(resolve, 2100));
  const late = await run('curl', ['-sS', short], { env });
  expect(JSON.parse(late.stdout)).toMatchObject({
    error: { code: 'invalid_signature', message: 'The presigned URL has expired' },
  });
});

withMoto('python3-boto3')('boto3 reads STS, Secrets Manager and DynamoDB', async () => {
  const shown = await python(`
import boto3
print(boto3.client('sts').get_caller_identity()['Arn'])
manager = boto3.client('secretsmanager')
manager.create_secret(Name='from/boto3', SecretString='täst')
print(manager.get_secret_value(SecretId='from/boto3')['SecretString'])
dynamo = boto3.client('dynamodb')
dynamo.create_table(TableName='table', KeySchema=[{'AttributeName': 'k', 'KeyType': 'HASH'}],
    AttributeDefinitions=[{'AttributeName': 'k', 'AttributeType': 'S'}], BillingMode='PAY_PER_REQUEST')
dynamo.put_item(TableName='table', Item={'k': {'S': 'x'}, 'v': {'S': 'y'}})
print(dynamo.get_item(TableName='table', Key={'k': {'S': 'x'}})['Item']['v']['S'])
`);
  expect(shown).toBe('arn:aws:iam::123456789012:user/gate\ntäst\ny\n');
});

withMoto('aws')('the AWS CLI copies, lists, streams and presigns', async () => {
  await python(SETUP);
  const file = join(env['HOME'] as string, 'file name.bin');
  const bytes = Buffer.alloc(20 * 1024 * 1024, 'stubgate');
  writeFileSync(file, bytes);
  await aws('s3', 'cp', '--only-show-errors', file, `s3://${BUCKET}/cli/`);
  expect(await aws('s3', 'ls', `s3://${BUCKET}/cli/`)).toMatch(/ 20971520 file name\.bin\n$/);
  const ran = await runOk('/usr/bin/aws', ['s3', 'cp', `s3://${BUCKET}/cli/file name.bin`, '-'], { env });
  expect(Buffer.from(ran.stdout).equals(bytes)).toBe(true);
  const url = await aws('s3', 'presign', `s3://${BUCKET}/cli/file name.bin`, '--region', REGION);
  expect((await curl(url.trim())).length).toBe(bytes.length);
  expect(await aws('sts', 'get-caller-identity', '--query', 'Arn')).toContain('user/gate');
});

withMoto('curl')('curl signs with --aws-sigv4', async () => {
  const user = `${env['AWS_ACCESS_KEY_ID']}:${env['AWS_SECRET_ACCESS_KEY']}`;
  const signed = (service: string): string[] => [
    '--aws-sigv4',
    `aws:amz:${REGION}:${service}`,
    '--user',
    user,
  ];
  const shown = await curl(
    ...signed('sts'),
    '-d',
    'Action=GetCallerIdentity&Version=2011-06-15',
    `https://${at('sts')}/`,
  );
  expect(shown).toContain('<Arn>arn:aws:iam::123456789012:user/gate</Arn>');
});

withMoto()('the AWS SDK for JavaScript reads STS and Secrets Manager', async () => {
  const program = `
import https from 'node:https';
import { STSClient, GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { SecretsManagerClient, CreateSecretCommand, GetSecretValueCommand } from '@aws-sdk/client-secrets-manager';
const requestHandler = { httpsAgent: new https.Agent({ proxyEnv: process.env }) };
console.log((await new STSClient({ requestHandler }).send(new GetCallerIdentityCommand({}))).Arn);
const manager = new SecretsManagerClient({ requestHandler });
await manager.send(new CreateSecretCommand({ Name: 'from-js', SecretString: 'täst' }));
console.log((await manager.send(new GetSecretValueCommand({ SecretId: 'from-js' }))).SecretString);
`;
  const args = ['--input-type=module', '-e', program];
  const ran = await runOk(process.execPath, args, { env, cwd: ROOT });
  expect(clean(ran)).toBe('arn:aws:iam::123456789012:user/gate\ntäst\n');
});

withMoto('python3-boto3', 'aws')(
  'Moto finds the signatures right, too, and those of other keys wrong',
  async () => {
    await moto.checkToo();
    expect(moto.faults).toEqual([]);
    expect(await aws('secretsmanager', 'list-secrets', '--query', 'SecretList[0].Owner')).toBe('null\n');
    expect(await aws('s3api', 'list-buckets', '--query', 'Buckets[0].Owner')).toBe('null\n');
    const keys = {
      AWS_ACCESS_KEY_ID: env['WRONG_ACCESS_KEY_ID'] as string,
      AWS_SECRET_ACCESS_KEY: env['WRONG_SECRET_ACCESS_KEY'] as string,
    };
    const args = ['secretsmanager', 'list-secrets', '--region', 'us-east-1'];
    const ran = await run('/usr/bin/aws', args, { env: { ...env, ...keys } });
    expect(clean(ran)).toBe('');
    expect(ran.stderr).toContain('SignatureDoesNotMatch');
    expect(moto.faults).toEqual(['SignatureDoesNotMatch']);
  },
);
