import { expect, test } from 'vitest';
import { cleanEnv, needs, type Ran, run, runOk } from '../support/clients.ts';
import { motoServer } from '../support/moto.ts';
import { startMoto } from '../support/signed-moto.ts';
import type { Upstream } from '../support/upstream.ts';
import { type AwsKeys, startAws } from '../support/upstreams/aws.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const REGION = 'eu-west-1';
const at = (name: string): string => `${name}.${REGION}.amazonaws.com`;
const HOSTS = ['sts', 'secretsmanager', 's3'].map(at);
const ROLE = 'arn:aws:iam::123456789012:role/deploy';

async function scene(upstream: Upstream, keys: AwsKeys): Promise<Sandbox> {
  const signed = { as: 'aws-sigv4', regions: [REGION] };
  const box = await sandbox({
    credentials: { aws: { secret: JSON.stringify(keys), env: 'AWS_ACCESS_KEY_ID', shape: 'aws' } },
    captured: { role: 'aws-session' },
    rules: [
      {
        name: 'sts',
        hosts: [at('sts')],
        inject: [
          { credential: 'aws', ...signed, services: ['sts'] },
          { credential: 'role', ...signed, services: ['sts'] },
        ],
        capture: [{ credential: 'role', at: 'sts' }],
      },
      {
        name: 'work',
        hosts: HOSTS.slice(1),
        inject: [{ credential: 'role', ...signed, services: ['s3', 'secretsmanager'] }],
      },
    ],
    upstreams: Object.fromEntries(HOSTS.map(host => [host, upstream])),
  });
  const aws = { AWS_REGION: REGION, AWS_DEFAULT_REGION: REGION, AWS_STS_REGIONAL_ENDPOINTS: 'regional' };
  return { ...box, env: cleanEnv({ ...box.env, ...aws }) };
}

const ASSUME = `
import boto3, json
from botocore.config import Config
sts = boto3.client('sts')
got = sts.assume_role(RoleArn='${ROLE}', RoleSessionName='sandbox')['Credentials']
keys = {'aws_access_key_id': got['AccessKeyId'], 'aws_secret_access_key': got['SecretAccessKey'], 'aws_session_token': got['SessionToken']}
`;

function expectKept(keys: readonly AwsKeys[], { gate }: Sandbox, ...ran: readonly Ran[]): void {
  for (const secret of keys.flatMap(one => Object.values(one) as string[]))
    for (const shown of [...ran.map(({ output }) => output), gate.auditText(), JSON.stringify(gate.logs)])
      expectClean(shown, secret);
}

needs('python3-boto3')('boto3 assumes a role, and reads a secret with the keys that it got', async () => {
  const aws = closing(await startAws({ hosts: HOSTS }));
  aws.roles.set(ROLE, {});
  aws.store('db', 'the value');
  const mine = aws.newKeys();
  const box = await scene(aws, mine);
  const ran = await runOk(
    '/usr/bin/python3',
    [
      '-c',
      `${ASSUME}
print(boto3.client('secretsmanager', **keys).get_secret_value(SecretId='db')['SecretString'])
print(json.dumps(got, default=str))`,
    ],
    { env: box.env },
  );
  const [value, printed = ''] = ran.stdout.split('\n');
  expect(value).toBe('the value');
  const stub = JSON.parse(printed) as AwsKeys;
  expect(stub.AccessKeyId).toMatch(/^AKIA[A-Z2-7]{16}$/);
  expect(stub.SecretAccessKey).toMatch(/^\w{40}$/);
  const { by, keys } = aws.assumed[0] as (typeof aws.assumed)[number];
  expect(by).toBe(mine.AccessKeyId);
  // Signed with the role's own keys, session token included: the stand-in refuses any other.
  expect(aws.requests.at(-1)?.headers['x-amz-security-token']).toBe(keys.SessionToken);
  expectKept([mine, keys], box, ran);
  const lines = await box.gate.audit(2);
  expect(lines.map(({ captured, injected }) => [captured, injected.map(one => one.credential)])).toEqual([
    [[{ credential: 'role', at: 'sts Credentials' }], ['aws']],
    [undefined, ['role']],
  ]);
});

needs('python3-boto3')(
  'the keys are worth nothing elsewhere, and what hands out other secrets is not asked',
  async () => {
    const aws = closing(await startAws({ hosts: HOSTS }));
    aws.roles.set(ROLE, {});
    const box = await scene(aws, aws.newKeys());
    const other = await box.gate.session();
    const denied = await run(
      '/usr/bin/python3',
      [
        '-c',
        `${ASSUME}
def refused(client, call, **more):
    try:
        getattr(client, call)(**more)
    except Exception as error:
        print(type(error).__name__, str(error)[:200])
    else:
        raise SystemExit('not refused')
import os
refused(sts, 'decode_authorization_message', EncodedMessage='x')
os.environ['HTTPS_PROXY'] = os.environ['https_proxy'] = '${other.proxyUrl}'
refused(boto3.client('secretsmanager', config=Config(retries={'max_attempts': 0}), **keys), 'get_secret_value', SecretId='db')
`,
      ],
      { env: box.env },
    );
    expect(denied.code, denied.output).toBe(0);
    expect(aws.given).toEqual([]);
    const raw = await run(
      '/usr/bin/python3',
      [
        '-c',
        `
import boto3, requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
for action in ['GetWebIdentityToken', 'GetDelegatedAccessToken', 'AssumeRole&Action=GetCallerIdentity']:
    request = AWSRequest('POST', 'https://${at('sts')}/', data='Action=' + action + '&Version=2011-06-15', headers={'content-type': 'application/x-www-form-urlencoded'})
    SigV4Auth(boto3.Session().get_credentials(), 'sts', '${REGION}').add_auth(request)
    print(requests.post(request.url, data=request.data, headers=dict(request.headers)).json()['error']['code'])
`,
      ],
      { env: box.env },
    );
    expect(raw.stdout, raw.output).toBe('rule_denies\n'.repeat(3));
  },
);

needs('python3-boto3')('keys that STS hands out in JSON are captured, too', async () => {
  const aws = closing(await startAws({ hosts: HOSTS }));
  aws.roles.set(ROLE, {});
  aws.store('db', 'the value');
  const mine = aws.newKeys();
  const box = await scene(aws, mine);
  const ran = await runOk(
    '/usr/bin/python3',
    [
      '-c',
      `
import boto3, json, requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
request = AWSRequest('POST', 'https://${at('sts')}/', data='Action=AssumeRole&RoleArn=${ROLE}&RoleSessionName=xy', headers={'content-type': 'application/x-www-form-urlencoded', 'accept': 'application/json'})
SigV4Auth(boto3.Session().get_credentials(), 'sts', '${REGION}').add_auth(request)
answer = requests.post(request.url, data=request.data, headers=dict(request.headers)).json()
got = answer['AssumeRoleResponse']['AssumeRoleResult']['Credentials']
keys = {'aws_access_key_id': got['AccessKeyId'], 'aws_secret_access_key': got['SecretAccessKey'], 'aws_session_token': got['SessionToken']}
print(boto3.client('secretsmanager', **keys).get_secret_value(SecretId='db')['SecretString'])
print(json.dumps(got))`,
    ],
    { env: box.env },
  );
  expect(ran.stdout.split('\n')[0]).toBe('the value');
  const { keys } = aws.assumed[0] as (typeof aws.assumed)[number];
  expect(aws.requests.at(-1)?.headers['x-amz-security-token']).toBe(keys.SessionToken);
  expectKept([mine, keys], box, ran);
});

const withMoto = motoServer === undefined ? test.skip : needs('python3-boto3');

withMoto(
  'boto3 on Moto: who is it, a bucket, an object',
  async () => {
    const moto = closing(await startMoto(HOSTS));
    const box = await scene(moto, moto.keys);
    const ran = await runOk(
      '/usr/bin/python3',
      [
        '-c',
        `${ASSUME}
print(boto3.client('sts', **keys).get_caller_identity()['Arn'])
s3 = boto3.client('s3', config=Config(signature_version='s3v4', s3={'addressing_style': 'path'}), **keys)
s3.create_bucket(Bucket='made-by-a-role', CreateBucketConfiguration={'LocationConstraint': '${REGION}'})
s3.put_object(Bucket='made-by-a-role', Key='k', Body=b'text')
print(s3.get_object(Bucket='made-by-a-role', Key='k')['Body'].read().decode())`,
      ],
      { env: box.env },
    );
    expect(ran.stdout).toMatch(/assumed-role\/deploy\/sandbox\ntext\n$/);
    expect(moto.faults).toEqual([]);
    expectKept([moto.keys], box, ran);
  },
  60_000,
);
