import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { closing } from '../e2e/scene.ts';
import { signAs, wireOf } from '../support/aws-client.ts';
import { isolateAws, useKeys } from '../support/aws-environment.ts';
import { leaks } from '../support/canary.ts';
import { startTestGate, type TestSession } from '../support/gate.ts';
import { openTls, readReply } from '../support/raw-client.ts';
import { startHttp } from '../support/upstream.ts';
import { awsFault, type AwsKeys } from '../support/upstreams/aws-signed.ts';
import { REGION, startAws } from '../support/upstreams/aws.ts';

const HOST = `s3.${REGION}.amazonaws.com`;
const STS = `sts.${REGION}.amazonaws.com`;
const ROLE = 'arn:aws:iam::123456789012:role/agents';

beforeEach(() => isolateAws());
afterEach(() => vi.unstubAllEnvs());

/** The gate assumes a role for each session, and signs with its keys what the sandbox signed with stubs. */
async function scene() {
  const sts = closing(await startAws({ hosts: [STS] }));
  sts.roles.set(ROLE, {});
  useKeys(sts.newKeys());
  /** Answers whose keys a request was signed with, and shows them. */
  const s3 = closing(
    await startHttp({ hosts: [HOST] }, async ({ method, url, rawHeaders, body }, response) => {
      const request = { method, target: url, headers: rawHeaders, body };
      const faults = await Promise.all(sts.assumed.map(({ keys }) => awsFault(request, keys)));
      const by = faults.indexOf(undefined);
      response.end(`signed with ${by}: ${JSON.stringify(sts.assumed[by]?.keys)} ${rawHeaders.join(' ')}`);
    }),
  );
  const gate = await startTestGate({
    credentials: {},
    rules: [
      {
        name: 's3',
        hosts: [HOST],
        inject: [{ credential: 'aws', as: 'aws-sigv4', regions: [REGION], services: ['s3'] }],
      },
    ],
    upstreams: { [HOST]: s3, [STS]: sts },
    config: {
      credentials: {
        aws: {
          stub: { env: 'AWS_ACCESS_KEY_ID', shape: 'aws' },
          mint: { type: 'aws-sts', role_arn: ROLE, region: REGION, session_name: 'run-{label.run}' },
        },
      },
    },
  });
  onTestFinished(() => gate.stop());
  const get = async (session: TestSession) => {
    const { AWS_ACCESS_KEY_ID: AccessKeyId = '', AWS_SECRET_ACCESS_KEY: SecretAccessKey = '' } = session.env;
    const mine: AwsKeys = { AccessKeyId, SecretAccessKey };
    const peer = await openTls(session.proxy, gate.ca, HOST);
    await peer.send(wireOf(await signAs(mine, { host: HOST, target: '/bucket/key' })));
    const reply = await readReply(peer);
    peer.finish();
    return { mine, text: reply.body.toString() };
  };
  return { sts, gate, get };
}

test('each session signs with stubs; what arrives is signed with the keys of its own role, which never come back', async () => {
  const { sts, gate, get } = await scene();
  for (const run of ['1', '2']) {
    const { mine, text } = await get(await gate.session({ labels: { run } }));
    const { keys, asked } = sts.assumed[Number(run) - 1] ?? {};
    expect(asked?.['RoleSessionName']).toBe(`run-${run}`);
    expect(text).toContain(
      `signed with ${Number(run) - 1}: {"AccessKeyId":"${mine.AccessKeyId}","SecretAccessKey":"${mine.SecretAccessKey}"`,
    );
    for (const part of Object.values(keys ?? {})) expect(leaks(text, part)).toEqual([]);
  }
  expect(sts.assumed).toHaveLength(2);
});
