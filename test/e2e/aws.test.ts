import { expect, test } from 'vitest';
import { awsNowhere } from '../support/aws-environment.ts';
import { canary, leaks } from '../support/canary.ts';
import { spawnTestGate } from '../support/process.ts';
import { request } from '../support/raw-client.ts';
import { type Handler, startHttp } from '../support/upstream.ts';
import { type AwsKeys, REGION, refuse, startAws } from '../support/upstreams/aws.ts';
import { closing, ECHO_HOST, enter } from './scene.ts';

/** A gate whose one credential is in AWS Secrets Manager, and whose identity is in its environment. */
async function scene(handler: Handler) {
  const aws = closing(await startAws());
  const own = aws.newKeys();
  const upstream = closing(await startHttp({ hosts: [ECHO_HOST] }, handler));
  const box = await enter(
    await spawnTestGate(
      {
        rules: [
          { name: 'api', hosts: [ECHO_HOST], paths: ['/me'], inject: [{ credential: 'api', as: 'bearer' }] },
        ],
        upstreams: { [ECHO_HOST]: upstream },
        config: {
          vaults: { aws: { type: 'aws-secrets-manager', region: REGION, endpoint: `http://${aws.address}` } },
          credentials: {
            api: {
              from: `aws:arn:aws:secretsmanager:${REGION}:123456789012:secret:ci/api-AbCdEf?version=AWSCURRENT#token`,
              stub: { env: 'API_KEY' },
            },
          },
        },
      },
      {
        ...awsNowhere(),
        AWS_ACCESS_KEY_ID: own.AccessKeyId,
        AWS_SECRET_ACCESS_KEY: own.SecretAccessKey,
        // The gate itself obeys none of these.
        HTTPS_PROXY: 'http://127.0.0.1:1',
        HTTP_PROXY: 'http://127.0.0.1:1',
        NODE_USE_ENV_PROXY: '1',
        AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      },
    ),
  );
  const stub = box.env['API_KEY'] ?? '';
  const get = (path = '/me') =>
    request(
      box.session.proxy,
      box.gate.ca,
      ECHO_HOST,
      `GET ${path} HTTP/1.1\r\nHost: ${ECHO_HOST}\r\nAuthorization: Bearer ${stub}`,
    );
  const expectNowhere = (texts: readonly string[]): void => {
    const told = `${JSON.stringify(box.gate.logs)}${box.gate.auditText()}`;
    for (const text of texts) expect(leaks(told, text)).toEqual([]);
  };
  return { ...box, aws, own, upstream, stub, get, expectNowhere };
}

const secretsOf = (own: AwsKeys): string[] => [own.SecretAccessKey];

test('a secret in AWS is read once for two hundred first requests, and again after a 401', async () => {
  const [first, second] = [canary('key-'), canary('key-')];
  let accepted = first;
  const box = await scene(({ headers: { authorization = '' } }, response) => {
    response.statusCode = authorization === `Bearer ${accepted}` ? 200 : 401;
    response.end(`you sent ${authorization}`);
  });
  const { aws, upstream, stub, get } = box;
  const one = aws.store('ci/api', JSON.stringify({ token: first }));
  expect((await get('/other')).reply.status).toBe(403);
  expect(aws.requests).toEqual([]);

  const exchanges = await Promise.all(Array.from({ length: 200 }, () => get()));
  for (const { reply, bytes } of exchanges) {
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toBe(`you sent Bearer ${stub}`);
    expect(leaks(bytes, first)).toEqual([]);
  }
  expect(new Set(upstream.requests.map(({ headers }) => headers.authorization))).toEqual(
    new Set([`Bearer ${first}`]),
  );
  expect(aws.given).toEqual(['ci/api']);

  accepted = second;
  const two = aws.store('ci/api', JSON.stringify({ token: second }));
  const { reply, bytes } = await get();
  expect([reply.status, reply.body.toString()]).toEqual([200, `you sent Bearer ${stub}`]);
  expect(upstream.requests.slice(-2).map(({ headers }) => headers.authorization)).toEqual([
    `Bearer ${first}`,
    `Bearer ${second}`,
  ]);
  expect(leaks(bytes, second)).toEqual([]);
  const lines = await box.gate.audit(202);
  expect(new Set(lines.flatMap(({ injected }) => injected.map(({ version }) => version)))).toEqual(
    new Set([one.id, two.id]),
  );
  box.expectNowhere([first, second, ...secretsOf(box.own)]);
});

test('a vault that refuses or fails gives credential_unavailable, tells the operator why, and recovers', async () => {
  const secret = canary('key-');
  const box = await scene((_, response) => void response.end('ok'));
  const { aws, upstream, get } = box;
  aws.store('ci/api', JSON.stringify({ token: secret }));
  aws.fault = (_, response) => {
    refuse(response, 'AccessDeniedException', 400, `sesame ${secret}`);
    return true;
  };
  const { reply, bytes } = await get();
  expect(reply.status).toBe(503);
  expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code: 'credential_unavailable' } });
  expect(bytes.toString()).not.toMatch(/aws|secretsmanager|kms/i);
  const told = JSON.stringify(box.gate.logs);
  expect(told).toContain('#token: AWS denies it; allow secretsmanager:GetSecretValue on the secret');
  expect(told).not.toContain('sesame');
  expect(upstream.requests).toEqual([]);
  box.expectNowhere([secret, ...secretsOf(box.own)]);
});
