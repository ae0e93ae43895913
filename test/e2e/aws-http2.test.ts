import { expect, onTestFinished, test } from 'vitest';
import { REGION, type Signed, signAs, type Unsigned, wireOf } from '../support/aws-client.ts';
import { ask, openH2, startH2 } from '../support/h2.ts';
import { openTls, readReply } from '../support/raw-client.ts';
import { startHttp, type Upstream } from '../support/upstream.ts';
import { awsFault, type AwsKeys, chunkedBody, ChunkSigner } from '../support/upstreams/aws-signed.ts';
import { closing, expectClean, sandbox } from './scene.ts';

const HOST = 's3.eu-west-1.amazonaws.com';
const REAL = {
  AccessKeyId: 'AKIAREALREALREALREAL',
  SecretAccessKey: 'r/+'.repeat(13),
  SessionToken: 'a-session-token-of-AWS',
};

type Version = 'HTTP/1.1' | 'HTTP/2';

/** Answers what it finds wrong with a signature, and echoes the credential. */
async function upstreamOf(version: Version): Promise<Upstream> {
  const answer = async (method: string, target: string, headers: readonly string[], body: Buffer) =>
    `${await awsFault({ method, target, headers, body }, REAL)} ${headers.join(' ')}`;
  if (version === 'HTTP/1.1')
    return startHttp({ hosts: [HOST] }, async ({ method, url, rawHeaders, body }, response) => {
      response.end(await answer(method, url, rawHeaders, body));
    });
  return startH2({ hosts: [HOST] }, (stream, received) => {
    stream.on('end', () => {
      const { ':method': method = '', ':path': path = '', ':authority': host = '' } = received.headers;
      const fields = ['host', host, ...received.raw.slice(8)];
      void answer(method, path, fields, received.body).then(text => stream.end(text));
    });
  });
}

async function scene(version: Version) {
  const inject = { credential: 'aws', as: 'aws-sigv4', regions: [REGION], services: ['s3', 'dynamodb'] };
  const box = await sandbox({
    credentials: { aws: { secret: JSON.stringify(REAL), env: 'AWS_ACCESS_KEY_ID', shape: 'aws' } },
    rules: [{ name: 'aws', hosts: [HOST], inject: [inject] }],
    upstreams: { [HOST]: closing(await upstreamOf(version)) },
  });
  const { AWS_ACCESS_KEY_ID: AccessKeyId = '', AWS_SECRET_ACCESS_KEY: SecretAccessKey = '' } =
    box.session.env;
  return { ...box, mine: { AccessKeyId, SecretAccessKey } };
}

async function chunks(keys: AwsKeys): Promise<Signed> {
  const payload = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
  const signed = await signAs(keys, { host: HOST, method: 'PUT', target: '/b/k', payload });
  const time = signed.headers[signed.headers.indexOf('x-amz-date') + 1] ?? '';
  const signer = new ChunkSigner(keys.SecretAccessKey, time, REGION, 's3', signed.signature);
  return { ...signed, body: chunkedBody(signer, [Buffer.alloc(70_000, 'x'), Buffer.from('y')]) };
}
const plain =
  (wanted: Partial<Unsigned>) =>
  (keys: AwsKeys): Promise<Signed> =>
    signAs(keys, { host: HOST, target: '/b/a%20key', ...wanted });
const REQUESTS: readonly (readonly [string, (keys: AwsKeys) => Promise<Signed>])[] = [
  ['a signed head', plain({})],
  ['a presigned URL', plain({ expires: 60 })],
  ['a body whose hash is told', plain({ method: 'PUT', body: Buffer.alloc(100_000, 'z') })],
  ['a body whose hash is not told', plain({ service: 'dynamodb', method: 'POST', body: '{"a":1}' })],
  ['a body in chunks', chunks],
];

const LEGS: readonly (readonly [Version, Version])[] = [
  ['HTTP/1.1', 'HTTP/2'],
  ['HTTP/2', 'HTTP/1.1'],
  ['HTTP/2', 'HTTP/2'],
];

for (const [client, server] of LEGS) {
  test.each(REQUESTS)(`${client} to ${server}: %s is signed anew`, async (_, make) => {
    const box = await scene(server);
    const signed = await make(box.mine);
    let shown: string;
    if (client === 'HTTP/2') {
      const session = await openH2(box.session.proxy, box.gate.ca, HOST);
      onTestFinished(() => session.destroy());
      const { method, target, headers, body } = signed;
      const fields = Object.fromEntries(
        headers.flatMap((name, i) => (i % 2 === 0 && i > 0 ? [[name, headers[i + 1]]] : [])),
      );
      const head = { ...fields, ':method': method, ':path': target, ':authority': HOST };
      const reply = await ask(session, head, body.length > 0 ? body : undefined);
      shown = reply.body.toString();
    } else {
      const peer = await openTls(box.session.proxy, box.gate.ca, HOST);
      onTestFinished(() => peer.cut());
      await peer.send(wireOf(signed));
      shown = (await readReply(peer)).body.toString();
    }
    expect(shown).toMatch(/^undefined host s3/);
    for (const secret of Object.values(REAL)) expectClean(shown, secret);
    if (!signed.target.includes('X-Amz')) expect(shown).toContain(`Credential=${box.mine.AccessKeyId}/`);
    const [line] = await box.gate.audit(1);
    expect(line).toMatchObject({ status: 200, stubs_seen: 1, injected: [{ credential: 'aws' }] });
  });
}
