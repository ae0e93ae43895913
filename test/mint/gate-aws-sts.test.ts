import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { isolateAws, useKeys } from '../support/aws-environment.ts';
import { leaks } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { request } from '../support/raw-client.ts';
import { startEcho } from '../support/upstream.ts';
import { awsKeys, REGION, startAws } from '../support/upstreams/aws.ts';

const HOST = 'api.corp.test';
const STS = `sts.${REGION}.amazonaws.com`;
const ROLE = 'arn:aws:iam::123456789012:role/agents';

beforeEach(() => isolateAws());
afterEach(() => vi.unstubAllEnvs());

/** A gate that mints keys at AWS's own name, which `upstream.resolve` leads to the stand-in. */
async function scene(from: string | undefined, mint: object) {
  const aws = closing(await startAws({ hosts: [STS] }));
  aws.roles.set(ROLE, {});
  const upstream = closing(await startEcho({ hosts: [HOST] }));
  const gate = await startTestGate({
    credentials: {},
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'aws', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream, [STS]: aws },
    config: {
      credentials: {
        aws: {
          ...(from !== undefined && { from }),
          stub: { env: 'AWS_STUB' },
          mint: { type: 'aws-sts', role_arn: ROLE, region: REGION, ...mint },
        },
      },
    },
  });
  onTestFinished(() => gate.stop());
  return { aws, upstream, gate };
}

async function get(gate: LocalGate, session: TestSession) {
  const stub = session.env['AWS_STUB'] ?? '';
  const head = `GET /x HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${stub}`;
  return { stub, ...(await request(session.proxy, gate.ca, HOST, head)) };
}

test('the gate’s own identity mints keys for each session, by the gate’s own way to upstreams', async () => {
  const { aws, upstream, gate } = await scene(undefined, {
    session_name: 'run-{label.run}',
    tags: { by: '{act}' },
  });
  const own = aws.newKeys();
  useKeys(own);
  const sessions = [
    await gate.session({ labels: { run: '1' }, act: 'bot' }),
    await gate.session({ labels: { run: '2' }, act: 'bot' }),
  ];
  for (const session of [...sessions, ...sessions]) {
    const { reply, bytes, stub } = await get(gate, session);
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toContain(`Bearer ${stub}`);
    for (const { keys } of aws.assumed) expect(leaks(bytes, JSON.stringify(keys))).toEqual([]);
  }
  expect(
    aws.assumed.map(({ asked, by }) => [asked['RoleSessionName'], asked['Tags.member.1.Value'], by]),
  ).toEqual([
    ['run-1', 'bot', own.AccessKeyId],
    ['run-2', 'bot', own.AccessKeyId],
  ]);
  const sent = aws.assumed.map(({ keys }) => `Bearer ${JSON.stringify(keys)}`);
  expect(upstream.requests.map(({ headers }) => headers.authorization)).toEqual([...sent, ...sent]);
  const none = await gate.session({ labels: {}, act: 'bot' });
  const { reply } = await get(gate, none);
  expect(reply.status).toBe(503);
  expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code: 'credential_unavailable' } });
  const told = `${gate.auditText()} ${inspect(gate.logs, { depth: 12 })}`;
  for (const keys of aws.keys.values()) expect(leaks(told, keys.SecretAccessKey)).toEqual([]);
  const [line] = await gate.audit(5);
  expect(line?.injected).toEqual([
    { credential: 'aws', placement: 'header authorization', version: expect.stringMatching(/^expires 20/) },
  ]);
});

test('a role that is refused is told to the operator, not to the sandbox', async () => {
  const { aws, upstream, gate } = await scene('env:TEST_AWS_PAIR', {});
  const pair = awsKeys();
  vi.stubEnv('TEST_AWS_PAIR', JSON.stringify(pair));
  const { reply, bytes } = await get(gate, await gate.session());
  expect(reply.status).toBe(503);
  expect(bytes.toString()).not.toMatch(/sts|amazonaws|role/i);
  expect(upstream.requests).toEqual([]);
  const told = inspect(gate.logs, { depth: 12 });
  expect(told).toContain(`https://${STS}/ refused it (InvalidClientTokenId)`);
  expect(leaks(told, pair.SecretAccessKey)).toEqual([]);
  expect(aws.assumed).toEqual([]);
});
