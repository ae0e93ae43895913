import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type Gate, startGate } from '../../src/app.ts';
import { configText } from '../../src/cli/presets/write.ts';
import { signAs, wireOf } from '../support/aws-client.ts';
import { leaks } from '../support/canary.ts';
import type { Peer } from '../support/peer.ts';
import { testCa } from '../support/pki.ts';
import { openTls, type Proxy, readReply } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { type RawUpstream, startRaw } from '../support/upstream.ts';
import { awsFault } from '../support/upstreams/aws-signed.ts';
import { NAMES, preset } from './presets-context.ts';

/**
 * One request for each credential, as the vendor's documentation of its API has it; {credential} is where the credential
 * stands, Basic(user:password) is RFC 7617.
 */
const REQUESTS: Readonly<Record<string, [host: string, request: string, field?: string]>> = {
  openai: ['api.openai.com', 'POST /v1/responses', 'Authorization: Bearer {openai}'],
  anthropic: ['api.anthropic.com', 'POST /v1/messages', 'x-api-key: {anthropic}'],
  'google-gemini': [
    'generativelanguage.googleapis.com',
    'POST /v1beta/models/gemini-2.5-flash:generateContent',
    'x-goog-api-key: {google-gemini}',
  ],
  'google-gemini, in the query': [
    'generativelanguage.googleapis.com',
    'POST /v1beta/models/gemini-2.5-flash:generateContent?key={google-gemini}',
  ],
  mistral: ['api.mistral.ai', 'POST /v1/chat/completions', 'Authorization: Bearer {mistral}'],
  cohere: ['api.cohere.com', 'POST /v2/chat', 'Authorization: Bearer {cohere}'],
  groq: ['api.groq.com', 'POST /openai/v1/chat/completions', 'Authorization: Bearer {groq}'],
  openrouter: ['openrouter.ai', 'POST /api/v1/chat/completions', 'Authorization: Bearer {openrouter}'],
  perplexity: ['api.perplexity.ai', 'POST /chat/completions', 'Authorization: Bearer {perplexity}'],
  deepseek: ['api.deepseek.com', 'POST /chat/completions', 'Authorization: Bearer {deepseek}'],
  xai: ['api.x.ai', 'POST /v1/chat/completions', 'Authorization: Bearer {xai}'],
  together: ['api.together.xyz', 'POST /v1/chat/completions', 'Authorization: Bearer {together}'],
  fireworks: ['api.fireworks.ai', 'POST /inference/v1/chat/completions', 'Authorization: Bearer {fireworks}'],
  replicate: ['api.replicate.com', 'POST /v1/predictions', 'Authorization: Bearer {replicate}'],
  huggingface: [
    'huggingface.co',
    'GET /acme/model/resolve/main/a.json',
    'authorization: Bearer {huggingface}',
  ],
  elevenlabs: ['api.elevenlabs.io', 'POST /v1/text-to-speech/x', 'xi-api-key: {elevenlabs}'],
  'azure-openai': [
    'your-resource.openai.azure.com',
    'POST /openai/deployments/gpt/chat/completions?api-version=2024-10-21',
    'api-key: {azure-openai}',
  ],
  github: ['api.github.com', 'GET /user', 'Authorization: Bearer {github}'],
  'github, by its older clients': ['api.github.com', 'GET /user', 'Authorization: token {github}'],
  'github, git': [
    'github.com',
    'GET /acme/app.git/info/refs?service=git-upload-pack',
    'Authorization: Basic(x-access-token:{github})',
  ],
  gitlab: ['gitlab.com', 'GET /api/v4/projects/acme%2Ftools%2Fapp/issues', 'PRIVATE-TOKEN: {gitlab}'],
  'gitlab, OAuth': ['gitlab.com', 'GET /api/v4/user', 'Authorization: Bearer {gitlab}'],
  'gitlab, git': [
    'gitlab.com',
    'GET /acme/tools/app.git/info/refs?service=git-upload-pack',
    'Authorization: Basic(oauth2:{gitlab})',
  ],
  bitbucket: ['api.bitbucket.org', 'GET /2.0/repositories/acme/app', 'Authorization: Bearer {bitbucket}'],
  'bitbucket, git': [
    'bitbucket.org',
    'GET /acme/app.git/info/refs?service=git-upload-pack',
    'Authorization: Basic(x-token-auth:{bitbucket})',
  ],
  azure: [
    'management.azure.com',
    'GET /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/resources?api-version=2021-04-01',
    'Authorization: Bearer {azure}',
  ],
  gcp: ['storage.googleapis.com', 'GET /storage/v1/b/BUCKET/o', 'Authorization: Bearer {gcp}'],
  cloudflare: ['api.cloudflare.com', 'GET /client/v4/zones', 'Authorization: Bearer {cloudflare}'],
  vercel: ['api.vercel.com', 'GET /v9/projects', 'Authorization: Bearer {vercel}'],
  netlify: ['api.netlify.com', 'GET /api/v1/sites', 'Authorization: Bearer {netlify}'],
  digitalocean: ['api.digitalocean.com', 'GET /v2/account', 'Authorization: Bearer {digitalocean}'],
  slack: ['slack.com', 'POST /api/chat.postMessage', 'Authorization: Bearer {slack}'],
  discord: ['discord.com', 'POST /api/v10/channels/CHANNEL/messages', 'Authorization: Bot {discord}'],
  telegram: ['api.telegram.org', 'POST /bot{telegram}/sendMessage'],
  linear: ['api.linear.app', 'POST /graphql', 'Authorization: {linear}'],
  jira: ['your-site.atlassian.net', 'GET /rest/api/3/myself', 'Authorization: Basic(me@acme.test:{jira})'],
  notion: ['api.notion.com', 'GET /v1/users/me', 'Authorization: Bearer {notion}'],
  airtable: ['api.airtable.com', 'GET /v0/BASE/Tasks', 'Authorization: Bearer {airtable}'],
  datadog: ['http-intake.logs.datadoghq.com', 'POST /api/v2/logs', 'DD-API-KEY: {datadog}'],
  'datadog-app': [
    'api.datadoghq.com',
    'GET /api/v1/query?query=x',
    'DD-API-KEY: {datadog}\r\nDD-APPLICATION-KEY: {datadog-app}',
  ],
  sentry: ['sentry.io', 'GET /api/0/organizations/ORGANIZATION/issues/', 'Authorization: Bearer {sentry}'],
  pagerduty: ['api.pagerduty.com', 'GET /incidents', 'Authorization: Token token={pagerduty}'],
  stripe: ['api.stripe.com', 'GET /v1/customers', 'Authorization: Bearer {stripe}'],
  twilio: [
    'api.twilio.com',
    'POST /2010-04-01/Accounts/AC00/Messages.json',
    'Authorization: Basic(AC00:{twilio})',
  ],
  sendgrid: ['api.sendgrid.com', 'POST /v3/mail/send', 'Authorization: Bearer {sendgrid}'],
  'pypi-upload': [
    'registry.twine.test:8443',
    'POST /repository/twine/',
    'Authorization: Basic(__token__:{pypi-upload})',
  ],
};

const presets = NAMES.map(preset);
const hosts = presets
  .flatMap(({ rules }) => rules.flatMap(rule => rule.hosts))
  .filter(host => !/\*/.test(host));
const issuers = ['login.microsoftonline.com', 'oauth2.googleapis.com'];
const credentials = Object.assign(
  {},
  ...presets.map(one => one.credentials),
) as (typeof presets)[0]['credentials'];
const secretOf = (name: string): string => `real-${name}-4Xq9ZbT0aLm7`;

const AWS_KEYS = { AccessKeyId: 'AKIAREALREALREALREAL', SecretAccessKey: 'r/+'.repeat(13) };

let upstream: RawUpstream;
let gate: Gate;
let proxy: Proxy;
let stubs: ReadonlyMap<string, string>;
let variables: Readonly<Record<string, string>>;
/** Requests to issuers, by host. */
const asked = new Map<string, string>();

beforeAll(async () => {
  const serve = async (peer: Peer): Promise<void> => {
    for (;;) await answer(peer, await peer.head());
  };
  upstream = await startRaw({ hosts: [...hosts, ...issuers] }, serve);
  for (const [name, { variable, from }] of Object.entries(credentials))
    vi.stubEnv(from?.replace(/^env:|#.*$/g, '') ?? variable, secretOf(name));
  vi.stubEnv('AWS_KEYS', JSON.stringify(AWS_KEYS));
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  vi.stubEnv('GCP_KEY', JSON.stringify({ private_key: pem }));
  gate = await startAll();
  const { session, token } = await gate.createSession({ profile: 'default' });
  stubs = session.stubs;
  variables = gate.stubEnvironment(session);
  const authorization = `Basic ${btoa(`${session.session}:${token}`)}`;
  proxy = { port: gate.address.port, authorization };
});

afterAll(async () => {
  await gate.stop();
  await upstream.close();
  vi.unstubAllEnvs();
});

/** The configuration as `init` writes it, but for where it listens and where the hosts are. */
async function startAll(): Promise<Gate> {
  const dir = tempFolder('presets');
  const file = join(dir, 'stubgate.yaml');
  const resolve = Object.fromEntries([...hosts, ...issuers].map(host => [host, upstream.address]));
  const ca = (await testCa()).file;
  const text = configText(presets).replace(/127\.0\.0\.1:808[01]/g, '127.0.0.1:0');
  writeFileSync(file, `${text}\nupstream: ${JSON.stringify({ ca_file: ca, resolve })}\n`);
  const quiet = () => undefined;
  return startGate({ configFile: file, log: { debug: quiet, info: quiet, warn: quiet, error: quiet } });
}

async function answer(peer: Peer, head: string): Promise<void> {
  const length = Number(/^content-length: (\d+)\r$/im.exec(head)?.[1] ?? 0);
  const sent = (await peer.bytes(length)).toString('latin1');
  const host = /^host: (.+)\r$/im.exec(head)?.[1] ?? '';
  let body = '{"ok":true}';
  if (issuers.includes(host)) {
    asked.set(host, head.slice(0, head.indexOf(' HTTP')) + ' ' + sent);
    const name = host === issuers[0] ? 'azure' : 'gcp';
    body = JSON.stringify({ access_token: secretOf(name), token_type: 'Bearer', expires_in: 3600 });
  }
  await peer.send(
    `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}

/** The request with what `valueOf` gives for each credential. */
function written(
  [host, request, field]: (typeof REQUESTS)[string],
  valueOf: (name: string) => string,
): string {
  const filled = (text: string): string => text.replace(/\{([\w-]+)\}/g, (_, name: string) => valueOf(name));
  const fields = filled(field ?? '').replace(/Basic\((.*?)\)/g, (_, pair: string) => `Basic ${btoa(pair)}`);
  const body = request.startsWith('POST') ? '{"text":"hello"}' : '';
  const rest = body === '' ? '' : `Content-Type: application/json\r\ncontent-length: ${body.length}\r\n`;
  return `${filled(request)} HTTP/1.1\r\nHost: ${host}\r\n${fields === '' ? '' : `${fields}\r\n`}${rest}\r\n${body}`;
}

it('has a request for each credential of each preset', () => {
  const tried = Object.keys(REQUESTS).filter(name => !name.includes(','));
  expect([...tried, 'aws'].toSorted()).toEqual(Object.keys(credentials).toSorted());
});

it.each(Object.keys(REQUESTS))(
  '%s: the upstream receives the credential where its API wants it',
  async name => {
    const row = REQUESTS[name] as (typeof REQUESTS)[string];
    const { hostname, port } = new URL(`https://${row[0]}`);
    const connection = await openTls(proxy, gate.authority.rootPem, hostname, Number(port || 443));
    await connection.send(written(row, credential => stubs.get(credential) ?? ''));
    const reply = await readReply(connection);
    expect([reply.status, reply.body.toString()]).toEqual([200, '{"ok":true}']);
    const received = upstream.connections.map(peer => peer.received.toString('latin1'));
    expect(received.filter(text => text.endsWith(written(row, secretOf)))).toHaveLength(1);
    for (const secret of Object.keys(credentials))
      expect(leaks(connection.received, secretOf(secret))).toEqual([]);
    connection.cut();
  },
);

it.each([
  ['s3', 'GET', 'your-bucket.s3.eu-west-1.amazonaws.com', '/your-prefix/key', ''],
  ['sts', 'POST', 'sts.eu-west-1.amazonaws.com', '/', 'Action=GetCallerIdentity&Version=2011-06-15'],
])(
  'aws: %s gets a request that is signed with the real keys',
  async (service, method, host, target, body) => {
    const { AWS_ACCESS_KEY_ID: AccessKeyId = '', AWS_SECRET_ACCESS_KEY: SecretAccessKey = '' } = variables;
    const headers = body === '' ? {} : { 'content-type': 'application/x-www-form-urlencoded' };
    const mine = { AccessKeyId, SecretAccessKey };
    const signed = await signAs(mine, { service, method, host, target, headers, body });
    const connection = await openTls(proxy, gate.authority.rootPem, host);
    await connection.send(wireOf(signed));
    expect((await readReply(connection)).status).toBe(200);
    const received = upstream.connections.at(-1)?.received.toString('latin1') ?? '';
    const [head = '', sent = ''] = received.split('\r\n\r\n');
    const [line, ...fields] = head.split('\r\n');
    expect([line, sent]).toEqual([`${method} ${target} HTTP/1.1`, body]);
    const pairs = fields.flatMap(field => [field.split(': ')[0] ?? '', field.slice(field.indexOf(': ') + 2)]);
    const seen = { method, target, headers: pairs, body: Buffer.from(sent) };
    expect(await awsFault(seen, AWS_KEYS)).toBeFalsy();
    expect(await awsFault(seen, mine)).toBeTruthy();
    connection.cut();
  },
);

it('asks the issuers as they document it', () => {
  expect(asked.get('login.microsoftonline.com')).toBe(
    `POST /TENANT/oauth2/v2.0/token grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com%2F.default&client_id=CLIENT_ID&client_secret=${secretOf('azure')}`,
  );
  expect(asked.get('oauth2.googleapis.com')).toMatch(
    /^POST \/token grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ[\w-]+\.[\w-]+\.[\w-]+&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fdevstorage.read_only$/,
  );
});
